#include "env/prune/criterion.h"

#include <cmath>

#include "env/prune/pruner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CriterionTest, WeightNormsOfEveryProducerInQuadrature) {
  // Two 1x1 convolutions of one input channel into two, added: both make the group's channels.
  GraphBuilder b;
  const TensorId x = b.Input({kDynamic, 2, 4, 4});
  const TensorId left = b.Conv(x, 2, 1), right = b.Conv(x, 2, 1);
  b.Head(b.Op("Relu", {b.Op("Add", {left, right})}));
  const auto set = [&](size_t node, std::vector<float> values) {
    Tensor& weight = b.graph.tensor(b.graph.nodes[node].inputs[1]);
    weight = MakeFloats(weight.name, weight.shape, values);
  };
  set(0, {1, -2, 0.5, 0});
  set(1, {2, 2, 0, -1});
  const absl::StatusOr<Grouping> grouping = BuildGroups(b.graph);
  ASSERT_TRUE(grouping.ok()) << grouping.status();
  ASSERT_EQ(grouping->groups.size(), 1);
  EXPECT_THAT(*WeightNorms(b.graph, *grouping, 0, 1),
              ElementsAre(DoubleNear(5, 1e-6), DoubleNear(std::sqrt(1.25), 1e-6)));
  EXPECT_THAT(*WeightNorms(b.graph, *grouping, 0, 2),
              ElementsAre(DoubleNear(std::sqrt(13), 1e-6), DoubleNear(std::sqrt(1.25), 1e-6)));
}

TEST(CriterionTest, WeightNormsOfLinearLayersInBothLayouts) {
  for (const bool transposed : {true, false}) {
    GraphBuilder b;
    const TensorId hidden =
        b.Linear(b.Op("Flatten", {b.Input({kDynamic, 2, 1, 1})}), 3, transposed);
    b.Output(b.Linear(b.Op("Relu", {hidden}), 2, transposed));
    Tensor& weight = b.graph.tensor(b.graph.nodes[1].inputs[1]);
    const std::vector<float> rows = {3, 4, 0, 1, 2, 0};  // outputs x inputs
    const std::vector<float> columns = {3, 0, 2, 4, 1, 0};
    weight = MakeFloats(weight.name, weight.shape, transposed ? rows : columns);
    const absl::StatusOr<Grouping> grouping = BuildGroups(b.graph);
    ASSERT_TRUE(grouping.ok()) << grouping.status();
    ASSERT_EQ(grouping->groups.size(), 1);
    EXPECT_THAT(*WeightNorms(b.graph, *grouping, 0, 2), ElementsAre(5, 1, 2));
  }
}

TEST(CriterionTest, SelectsTheBestAndTheLowerIndexOnTies) {
  PruneGroup group;
  group.channels = 5;
  EXPECT_THAT(SelectChannels(group, {1, 3, 2, 3, 2}, 3), ElementsAre(1, 2, 3));
  EXPECT_THAT(SelectChannels(group, {1, 1, 1, 1, 1}, 2), ElementsAre(0, 1));
}

TEST(CriterionTest, SelectsAsManyFromEveryCell) {
  PruneGroup group;
  group.channels = 6;
  group.cells = 2;
  group.cell_of_channel = {0, 0, 0, 1, 1, 1};
  EXPECT_THAT(SelectChannels(group, {9, 8, 7, 1, 2, 3}, 4), ElementsAre(0, 1, 4, 5));
}

TEST(CriterionTest, RefusesCountsThatDoNotFit) {
  Grouping grouping;
  grouping.groups.resize(2);
  grouping.groups[0].name = "conv3";
  grouping.groups[0].channels = 64;
  grouping.groups[1].name = "conv4";
  grouping.groups[1].channels = 8;
  grouping.groups[1].cells = 4;
  const auto message = [&](std::vector<int64_t> kept) {
    const absl::Status status = CheckKept(grouping, kept);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_TRUE(CheckKept(grouping, {64, 4}).ok());
  EXPECT_THAT(message({64}), HasSubstr("1 kept counts for 2 groups"));
  EXPECT_THAT(message({70, 8}), HasSubstr("conv3: 70 channels kept of 64"));
  EXPECT_THAT(message({0, 8}), HasSubstr("conv3: 0 channels kept of 64"));
  EXPECT_THAT(message({64, 6}), HasSubstr("conv4: 6 channels kept, not a multiple of its 4"));
}

TEST(CriterionTest, NamesGoThereAndBack) {
  for (const char* name : {"l1", "l2", "energy", "greedy"}) {
    const absl::StatusOr<Criterion> criterion = ParseCriterion(name);
    ASSERT_TRUE(criterion.ok()) << criterion.status();
    EXPECT_EQ(CriterionName(*criterion), name);
  }
  for (const char* name : {"none", "fast", "strong"}) {
    const absl::StatusOr<Reconstruction> reconstruction = ParseReconstruction(name);
    ASSERT_TRUE(reconstruction.ok()) << reconstruction.status();
    EXPECT_EQ(ReconstructionName(*reconstruction), name);
  }
  EXPECT_THAT(std::string(ParseCriterion("l3").status().message()), HasSubstr("l3"));
  EXPECT_THAT(std::string(ParseReconstruction("").status().message()), HasSubstr("strong"));
}

}  // namespace
}  // namespace amc
