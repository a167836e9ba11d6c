// Runs small graphs in tests.
#pragma once

#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "env/exec/network.h"
#include "env/graph/graph.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc::testing {

// The network's output for `batch` images, batch norms unfolded; a failure gives nothing.
inline std::vector<float> RunGraph(const Graph& graph, const std::vector<float>& images,
                                   int64_t batch = 1,
                                   ExecOptions options = {.fold_batch_norm = false}) {
  absl::StatusOr<std::unique_ptr<Network>> network = Network::Create(graph, options);
  EXPECT_TRUE(network.ok()) << network.status();
  if (!network.ok()) return {};
  absl::StatusOr<std::vector<float>> output = (*network)->Run(images, batch);
  EXPECT_TRUE(output.ok()) << output.status();
  return output.ok() ? *std::move(output) : std::vector<float>();
}

// 1, 2, 3, ...
inline std::vector<float> Counting(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 1.0F);
  return values;
}

inline std::vector<float> Noise(int64_t count, uint64_t seed = 7) {
  Rng rng(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(rng.Normal());
  return values;
}

inline void ExpectNear(const std::vector<float>& actual, const std::vector<float>& expected,
                       double tolerance = 1e-5) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], tolerance * std::max(1.0, std::abs(double{expected[i]})))
        << "element " << i;
  }
}

}  // namespace amc::testing
