// Tables of simulated runtimes.
#include "env/sparse_latency.h"

#include <map>
#include <string>
#include <vector>

#include "env/backend/backends.h"
#include "env/exec/layer_inputs.h"
#include "env/graph/layer_weights.h"
#include "env/graph/zoo.h"
#include "env/prune/sparse_mask.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

class SparseLatencyTest : public ::testing::Test {
 protected:
  SparseLatencyTest()
      : graph_(BuildNetwork("vgg-small", {.in_channels = 1, .height = 28, .width = 28}).value()),
        layers_(ListLayerWeights(graph_).value()) {
    std::vector<NodeId> nodes;
    for (const LayerWeights& layer : layers_) nodes.push_back(layer.node);
    std::vector<float> image(28 * 28);
    for (size_t i = 0; i < image.size(); ++i) image[i] = static_cast<float>(i % 5) - 2;
    inputs_ = LayerInputs(graph_, nodes, image, {}).value();
  }

  absl::StatusOr<LatencyTable> Simulate(const std::string& backend,
                                        const SimulateOptions& options) const {
    return SimulateTable(graph_, **FindBackend(backend), options, inputs_, [](int64_t, int64_t) {});
  }

  const Graph graph_;
  const std::vector<LayerWeights> layers_;
  std::map<NodeId, std::vector<float>> inputs_;
};

TEST_F(SparseLatencyTest, RowsAreWhatTheModelSaysOfThePrunedLayer) {
  const auto table = Simulate("cambricon_x", {.points = 4});
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->setting.device, "simulated");
  EXPECT_EQ(table->setting.runtime, "cambricon_x");
  const LayerWeights& layer = layers_[3];
  int rows = 0;
  for (const LatencyRow& row : table->rows) {
    if (row.layer != SparseKind(layer, {}, false)) continue;
    ++rows;
    const SparseDecision decision{.target = layer.name, .kept = row.in};
    const SparseMask mask = SelectWeights(layer, decision, {}, {}).value();
    const BackendCost cost = (*FindBackend("cambricon_x"))
                                 ->Cost(ApplyMask(layer, mask), {inputs_.at(layer.node)})
                                 .value();
    EXPECT_DOUBLE_EQ(row.median_us, cost.microseconds) << row.in;
    EXPECT_EQ(row.out, 256);
  }
  EXPECT_EQ(rows, 4);
}

TEST_F(SparseLatencyTest, ATableIsASearchesCost) {
  const SimulateOptions options{.points = 6};
  const LatencyTable table = Simulate("cambricon_x", options).value();
  const Grouping grouping = WeightGroups(graph_, options.space).value();
  const auto cost = SimulatedCost(graph_, grouping, options.space, table);
  ASSERT_TRUE(cost.ok()) << cost.status();
  double whole = 0;
  for (const LatencyRow& row : table.rows) whole += row.in == row.out ? row.median_us : 0;
  std::vector<int64_t> kept(grouping.groups.size(), 256);
  EXPECT_NEAR(static_cast<double>((*cost)->Evaluate(kept)), 1000 * whole, layers_.size());
  std::vector<int64_t> half(grouping.groups.size(), 128);
  EXPECT_LT((*cost)->Evaluate(half), (*cost)->Evaluate(kept));
}

TEST_F(SparseLatencyTest, LinearLayersAlone) {
  const LatencyTable table = Simulate("eie", {.points = 3, .linear_only = true}).value();
  for (const LatencyRow& row : table.rows) {
    const bool linear = row.layer.find(" fc") != std::string::npos;
    EXPECT_EQ(row.median_us > 0.002, linear) << row.layer;
  }
}

TEST_F(SparseLatencyTest, WhatHasNoCycleModelIsNoTarget) {
  EXPECT_THAT(Simulate("csr", {}).status().message(), HasSubstr("backend csr has no cycle model"));
  EXPECT_THAT(Simulate("eie", {.points = 1}).status().message(), HasSubstr("1 points"));
}

}  // namespace
}  // namespace amc
