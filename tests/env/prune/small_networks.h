// Small networks, and how near two of them are, for tests of pruning.
#pragma once

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "env/exec/data_pack.h"
#include "env/exec/network.h"
#include "env/graph/graph.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc::testing {

// Of the whole reward split.
inline std::vector<float> RewardLogits(const Graph& graph, const DataPack& pack) {
  auto network = Network::Create(graph, {});
  EXPECT_TRUE(network.ok()) << network.status();
  const int64_t count = pack.size(Split::kReward);
  auto logits = (*network)->Run(pack.Images(Split::kReward, 0, count), count);
  EXPECT_TRUE(logits.ok()) << logits.status();
  return *logits;
}

// Root mean square of the difference, relative to the deviation of `expected`.
inline double RelativeError(const std::vector<float>& expected, const std::vector<float>& actual) {
  const auto n = static_cast<double>(expected.size());
  const double mean = std::accumulate(expected.begin(), expected.end(), 0.0) / n;
  double error = 0, spread = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(expected[i] - actual[i], 2);
    spread += std::pow(expected[i] - mean, 2);
  }
  return std::sqrt(error / spread);
}

inline void SetValues(Graph& graph, TensorId id, const std::vector<float>& values) {
  Tensor& tensor = graph.tensor(id);
  tensor = MakeFloats(tensor.name, tensor.shape, values);
}

// The same network with its batch norms folded into the convolutions before them, by hand.
inline Graph FoldBatchNorm(const Graph& graph) {
  Graph folded = graph;
  for (size_t i = 1; i < graph.nodes.size(); ++i) {
    const Node& norm = graph.nodes[i];
    if (norm.op != Op::kBatchNormalization) continue;
    const Node& layer = graph.nodes[i - 1];
    std::vector<float> weight = *Values<float>(graph, layer.inputs[1]);
    std::vector<float> bias = *Values<float>(graph, layer.inputs[2]);
    const auto of = [&](size_t input, size_t c) {
      return (*Values<float>(graph, norm.inputs[input]))[c];
    };
    const size_t slice = weight.size() / bias.size();
    for (size_t c = 0; c < bias.size(); ++c) {
      const float scale = of(1, c) / std::sqrt(of(4, c) + 1e-5f);
      for (size_t k = 0; k < slice; ++k) weight[c * slice + k] *= scale;
      bias[c] = (bias[c] - of(3, c)) * scale + of(2, c);
    }
    SetValues(folded, layer.inputs[1], weight);
    SetValues(folded, layer.inputs[2], bias);
    folded.nodes[i].op_type = "Identity";
    folded.nodes[i].op = Op::kIdentity;
    folded.nodes[i].inputs.resize(1);
  }
  return folded;
}

// Stem and two residual blocks, batch norm everywhere.
inline Graph ResidualNetwork() {
  GraphBuilder b;
  TensorId x = b.Op("Relu", {b.BatchNorm(b.Conv(b.Input({kDynamic, 3, 8, 8}), 8, 3, 1, "stem"))});
  for (const std::string block : {"first", "second"}) {
    TensorId y = b.Op("Relu", {b.BatchNorm(b.Conv(x, 12, 3, 1, block + ".a"))});
    y = b.BatchNorm(b.Conv(y, 8, 3, 1, block + ".b"));
    x = b.Op("Relu", {b.Op("Add", {y, x})});
  }
  b.Head(x);
  return b.graph;
}

}  // namespace amc::testing
