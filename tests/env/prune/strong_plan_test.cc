#include "env/prune/strong_plan.h"

#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;

constexpr int64_t kNoLimit = 1 << 20;

// A residual block: stem, then conv a -> bn -> relu -> conv b -> bn, plus the stem, relu, head.
class StrongPlanTest : public ::testing::Test {
 protected:
  StrongPlanTest() {
    stem_ = b_.Op("Relu", {b_.Conv(b_.Input({kDynamic, 3, 8, 8}), 6, 3, 1, "stem")});
    const TensorId inner = b_.Op("Relu", {b_.BatchNorm(b_.Conv(stem_, 8, 3, 1, "a"))});
    sum_ = b_.Op("Add", {b_.BatchNorm(b_.Conv(inner, 6, 3, 1, "b")), stem_});
    b_.Head(b_.Op("Relu", {sum_}));
    grouping_ = *BuildGroups(b_.graph);
  }

  // Drops the last channel of the group that layer `name` makes.
  std::vector<Refit> PlanWithout(const std::string& name, int64_t max_features = kNoLimit) {
    ChannelSelection selection;
    for (const PruneGroup& group : grouping_.groups) {
      std::vector<int32_t>& all = selection.emplace_back(group.channels);
      std::iota(all.begin(), all.end(), 0);
      if (b_.graph.node(group.producers[0]).name == name) all.pop_back();
    }
    const absl::StatusOr<Graph> shrunk = Shrink(b_.graph, grouping_, selection);
    EXPECT_TRUE(shrunk.ok()) << shrunk.status();
    const absl::StatusOr<std::vector<Refit>> plan =
        PlanRefits(b_.graph, grouping_, selection, *shrunk, max_features);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return *plan;
  }

  std::vector<std::string> Names(const std::vector<Refit>& plan) const {
    std::vector<std::string> names;
    for (const Refit& refit : plan) names.push_back(b_.graph.node(refit.layer.node).name);
    return names;
  }

  GraphBuilder b_;
  TensorId stem_, sum_;
  Grouping grouping_;
};

TEST_F(StrongPlanTest, LayersBeforeTheFirstRemovedInputStayAsTheyAre) {
  const std::vector<Refit> plan = PlanWithout("a");
  ASSERT_EQ(plan.size(), 2);  // b lost an input, the head's input changed
  EXPECT_EQ(Names(plan)[0], "b");
}

TEST_F(StrongPlanTest, ABlocksLastLayerAimsAtTheSumLessTheShortcut) {
  const Refit refit = PlanWithout("a")[0];
  EXPECT_EQ(refit.target, sum_);
  EXPECT_EQ(refit.other, stem_);
  EXPECT_EQ(refit.low, 0);
  EXPECT_EQ(refit.high, std::numeric_limits<float>::infinity());
  EXPECT_THAT(refit.kept, ::testing::ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST_F(StrongPlanTest, LayersInsideABlockAimAtBatchNormsOutput) {
  const std::vector<Refit> plan = PlanWithout("stem");
  ASSERT_EQ(plan.size(), 3);
  EXPECT_EQ(Names(plan)[0], "a");
  EXPECT_EQ(plan[0].target, b_.graph.node(plan[0].layer.batch_norm).outputs[0]);
  EXPECT_EQ(plan[0].other, TensorId::kNone);
  EXPECT_EQ(plan[1].kept.size(), 5);  // the sum lost a channel with the stem
}

TEST_F(StrongPlanTest, LayersBeyondTheLimitAreLeftOutButTheirReadersAreNot) {
  const std::vector<Refit> plan = PlanWithout("stem", /*max_features=*/50);  // a: 45, b: 72
  ASSERT_EQ(plan.size(), 2);
  EXPECT_EQ(Names(plan)[0], "a");
  EXPECT_EQ(plan[1].layer.features, 5);
}

TEST_F(StrongPlanTest, NothingRemovedNothingPlanned) { EXPECT_TRUE(PlanWithout("none").empty()); }

TEST(StrongPlanClipTest, ClipBoundsTheTarget) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 8, 8}), 4, 3, 1, "first");
  const TensorId y = b.Conv(b.Op("Relu", {x}), 4, 3, 1, "second");
  const TensorId low = b.graph.AddTensor(MakeFloats("low", {}, {0.0f}));
  const TensorId high = b.graph.AddTensor(MakeFloats("high", {}, {6.0f}));
  b.Head(b.Op("Clip", {y, low, high}));
  const Grouping grouping = *BuildGroups(b.graph);
  const ChannelSelection selection = {{0, 2}, {0, 1, 2, 3}};
  const absl::StatusOr<Graph> shrunk = Shrink(b.graph, grouping, selection);
  ASSERT_TRUE(shrunk.ok()) << shrunk.status();
  const absl::StatusOr<std::vector<Refit>> plan =
      PlanRefits(b.graph, grouping, selection, *shrunk, kNoLimit);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->size(), 2);
  EXPECT_EQ((*plan)[0].low, 0);
  EXPECT_EQ((*plan)[0].high, 6);
}

}  // namespace
}  // namespace amc
