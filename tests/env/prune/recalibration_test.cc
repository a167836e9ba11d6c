// Statistics of changed networks, alone and against the original's.
#include "env/prune/recalibration.h"

#include <numeric>

#include "env/exec/prefix_cache.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"
#include "tests/env/prune/random_pack.h"
#include "tests/env/prune/small_networks.h"

namespace amc {
namespace {

using ::amc::testing::FoldBatchNorm;
using ::amc::testing::GraphBuilder;
using ::amc::testing::RandomPack;
using ::amc::testing::RelativeError;
using ::amc::testing::ResidualNetwork;
using ::amc::testing::RewardLogits;
using ::amc::testing::SetValues;
using ::testing::HasSubstr;

ChannelSelection KeepAll(const Grouping& grouping) {
  ChannelSelection selection;
  for (const PruneGroup& group : grouping.groups) {
    selection.emplace_back(group.channels);
    std::iota(selection.back().begin(), selection.back().end(), 0);
  }
  return selection;
}

size_t NodeCalled(const Graph& graph, const std::string& name) {
  size_t n = 0;
  while (n < graph.nodes.size() && graph.nodes[n].name != name) ++n;
  return n;
}

// `graph` with a layer whose weights and bias are doubled.
Graph ScaleLayer(const Graph& graph, const std::string& name) {
  Graph scaled = graph;
  const Node& layer = graph.nodes[NodeCalled(graph, name)];
  for (const TensorId id : {layer.inputs[1], layer.inputs[2]}) {
    std::vector<float> values = *Values<float>(graph, id);
    for (float& value : values) value *= 2;
    SetValues(scaled, id, values);
  }
  return scaled;
}

bool SameConstants(const Graph& a, const Graph& b, NodeId id) {
  const std::vector<TensorId>& inputs = a.node(id).inputs;
  return std::all_of(inputs.begin(), inputs.end(), [&](TensorId input) {
    return !a.tensor(input).is_constant || *a.tensor(input).data == *b.tensor(input).data;
  });
}

TEST(RecalibrationTest, OutputsOfTheLastBatchNormHaveItsMeanAndDeviation) {
  // One batch norm on the input with scale 2 and shift -1: afterwards mean -1, deviation 2.
  GraphBuilder b;
  const TensorId x = b.Input({kDynamic, 3, 8, 8});
  b.Output(b.BatchNorm(x));
  const Node norm = b.graph.nodes[0];
  SetValues(b.graph, norm.inputs[1], {2, 2, 2});
  SetValues(b.graph, norm.inputs[2], {-1, -1, -1});
  const RandomPack pack(150, 3, 8, 2);
  const absl::StatusOr<Rebuilt> rebuilt = Recalibrate(b.graph, {&pack, 10, 130}, {});
  ASSERT_TRUE(rebuilt.ok()) << rebuilt.status();
  const Graph& graph = rebuilt->graph;
  const std::vector<float> images = pack.Images(Split::kReconstruction, 10, 130);
  for (size_t c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (size_t n = 0; n < 130; ++n) {
      for (size_t i = 0; i < 64; ++i) {
        const double value = images[(n * 3 + c) * 64 + i];
        sum += value;
        squares += value * value;
      }
    }
    const double mean = sum / (130 * 64);
    EXPECT_NEAR((*Values<float>(graph, norm.inputs[3]))[c], mean, 1e-5);
    EXPECT_NEAR((*Values<float>(graph, norm.inputs[4]))[c], squares / (130 * 64) - mean * mean,
                1e-4);
  }
  EXPECT_EQ(*Values<float>(graph, norm.inputs[1]), (std::vector<float>{2, 2, 2}));
}

class AgainstReferenceTest : public ::testing::TestWithParam<bool> {
 protected:
  AgainstReferenceTest()
      : graph_(GetParam() ? FoldBatchNorm(ResidualNetwork()) : ResidualNetwork()),
        grouping_(*BuildGroups(graph_)),
        pack_(50, 3, 8, 2),
        images_{&pack_, 0, 50},
        reference_(*MeasureReference(graph_, images_, {})) {}

  absl::StatusOr<Rebuilt> Match(const Graph& changed, const PrefixStart& start = {}) {
    return RecalibrateAgainst(graph_, grouping_, KeepAll(grouping_), reference_, changed, images_,
                              {}, start);
  }

  const Graph graph_;
  const Grouping grouping_;
  const RandomPack pack_;
  const CalibrationSet images_;
  const ReferenceMoments reference_;
};

TEST_P(AgainstReferenceTest, AScaledLayerIsMadeUpFor) {
  // Doubling a convolution's weights and bias doubles what batch norm reads.
  const Graph scaled = ScaleLayer(graph_, "stem");
  const absl::StatusOr<Rebuilt> matched = Match(scaled);
  ASSERT_TRUE(matched.ok()) << matched.status();
  const std::vector<float> expected = RewardLogits(graph_, pack_);
  EXPECT_GT(RelativeError(expected, RewardLogits(scaled, pack_)), 0.1);
  EXPECT_LT(RelativeError(expected, RewardLogits(matched->graph, pack_)), 1e-3);
}

TEST_P(AgainstReferenceTest, WhatComesBeforeTheFirstChangeStaysToTheBit) {
  const absl::StatusOr<Rebuilt> same = Match(graph_);
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(same->work, 0);
  const Graph scaled = ScaleLayer(graph_, "second.a");
  const absl::StatusOr<Rebuilt> matched = Match(scaled);
  ASSERT_TRUE(matched.ok()) << matched.status();
  const size_t first = NodeCalled(graph_, "second.a");
  int changed = 0;
  for (size_t n = 0; n < graph_.nodes.size(); ++n) {
    EXPECT_TRUE(SameConstants(graph_, same->graph, graph_.node_id(n)));
    const bool is_same = SameConstants(scaled, matched->graph, graph_.node_id(n));
    if (n < first) {
      EXPECT_TRUE(is_same) << n;
    }
    changed += is_same ? 0 : 1;
  }
  EXPECT_GT(changed, 0);
}

TEST_P(AgainstReferenceTest, FromACutItGivesTheSameBitsForLessWork) {
  const Graph scaled = ScaleLayer(graph_, "second.a");
  const size_t first = NodeCalled(graph_, "second.a");
  const ExecOptions exec = {.batch_size = ExecOptions().batch_size, .fold_batch_norm = false};
  PrefixCache cache(graph_, {first}, pack_, Split::kReconstruction, 50, exec, int64_t{1} << 30);
  const PrefixStart start = *cache.StartOf(scaled);
  ASSERT_EQ(start.node, first);
  const Rebuilt whole = *Match(scaled);
  for (int pass = 0; pass < 2; ++pass) {  // what is kept is not used up
    const absl::StatusOr<Rebuilt> resumed = Match(scaled, start);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      EXPECT_TRUE(SameConstants(whole.graph, resumed->graph, graph_.node_id(n))) << n;
    }
    // Every block's layers cost 12 x 8 x 9 MACs at 64 positions, the stem 8 x 3 x 9.
    EXPECT_EQ(whole.work, 50 * 64 * (8 * 3 * 9 + 4 * 12 * 8 * 9));
    EXPECT_EQ(resumed->work, 50 * 64 * 2 * 12 * 8 * 9);
  }
}

TEST_P(AgainstReferenceTest, NamesTheNodeThatTheReferenceLacks) {
  const absl::Status status = RecalibrateAgainst(graph_, grouping_, KeepAll(grouping_), {},
                                                 ScaleLayer(graph_, "second.b"), images_, {})
                                  .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the reference does not have it"));
}

INSTANTIATE_TEST_SUITE_P(Folded, AgainstReferenceTest, ::testing::Bool());

}  // namespace
}  // namespace amc
