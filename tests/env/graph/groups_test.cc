// Which channels go together: known networks and one small graph per rule.
#include "env/graph/groups.h"

#include <chrono>
#include <numeric>

#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

Grouping Groups(const Graph& graph) {
  absl::StatusOr<Grouping> grouping = BuildGroups(graph);
  EXPECT_TRUE(grouping.ok()) << grouping.status();
  return grouping.ok() ? *std::move(grouping) : Grouping{};
}

std::vector<int64_t> Channels(const Grouping& grouping) {
  std::vector<int64_t> channels;
  for (const PruneGroup& group : grouping.groups) channels.push_back(group.channels);
  return channels;
}

auto BarrierWith(const std::string& where, const std::string& reason) {
  return AllOf(Field(&Barrier::where, HasSubstr(where)),
               Field(&Barrier::reason, HasSubstr(reason)));
}

// The slots of an axis as (group, index) pairs; -1 for whole ones.
std::vector<std::pair<int, int>> Slots(const Grouping& grouping, TensorId tensor, int dim) {
  std::vector<std::pair<int, int>> slots;
  const ChannelAxis* axis = grouping.FindAxis(tensor, dim);
  if (axis == nullptr) return slots;
  for (const ChannelRef& slot : axis->slots) {
    slots.emplace_back(slot.group, slot.group == ChannelRef::kWhole ? -1 : slot.index);
  }
  return slots;
}

Graph ZooGraph(const std::string& name, ZooOptions options = {}) {
  options.weightless = true;
  absl::StatusOr<Graph> graph = BuildNetwork(name, options);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return graph.ok() ? *std::move(graph) : Graph{};
}

std::vector<int64_t> ResidualGroups(const Grouping& grouping) {
  std::vector<int64_t> channels;
  for (const PruneGroup& group : grouping.groups) {
    if (group.residual) channels.push_back(group.channels);
  }
  return channels;
}

TEST(GroupsTest, ZeroPadShortcutsMakeThreeResidualGroups) {
  for (const auto& [name, blocks] : {std::pair("resnet20", 9), std::pair("resnet56", 27)}) {
    const Grouping grouping = Groups(ZooGraph(name));
    EXPECT_THAT(ResidualGroups(grouping), ElementsAre(16, 16, 32)) << name;
    EXPECT_EQ(grouping.groups.size(), blocks + 3) << name;
    EXPECT_EQ(grouping.groups[0].channels, 16);
    EXPECT_EQ(grouping.groups[0].producers.size(), 1 + blocks) << "stem and every block's end";
  }
}

TEST(GroupsTest, ZeroPadShortcutShiftsChannels) {
  const Graph graph = ZooGraph("resnet20");
  const Grouping grouping = Groups(graph);
  const PruneGroup& first = grouping.groups[0];
  for (const NodeId producer : first.producers) {
    const TensorId weight = graph.node(producer).inputs[1];
    const auto slots = Slots(grouping, weight, 0);
    const size_t offset = slots.size() == 16 ? 0 : slots.size() == 32 ? 8 : 24;
    for (int i = 0; i < 16; ++i) EXPECT_EQ(slots[i + offset], std::pair(0, i)) << slots.size();
  }
}

TEST(GroupsTest, PlainNetworkHasOneGroupPerLayerButTheLast) {
  const Grouping grouping = Groups(ZooGraph("plain20"));
  EXPECT_EQ(grouping.groups.size(), 19);
  EXPECT_THAT(ResidualGroups(grouping), IsEmpty());
  for (const PruneGroup& group : grouping.groups) {
    EXPECT_EQ(group.cells, 1);
    EXPECT_EQ(group.consumers.size(), 1);
  }
}

TEST(GroupsTest, GroupsStandInTheOrderOfTheirFirstConsumer) {
  for (const std::string& name : ZooNames()) {
    const Grouping grouping = Groups(ZooGraph(name));
    for (size_t g = 1; g < grouping.groups.size(); ++g) {
      EXPECT_LE(grouping.groups[g - 1].consumers[0], grouping.groups[g].consumers[0]) << name;
    }
  }
}

TEST(GroupsTest, NamesAreUniqueAndFindable) {
  const Grouping grouping = Groups(ZooGraph("resnet56"));
  for (size_t g = 0; g < grouping.groups.size(); ++g) {
    EXPECT_EQ(grouping.FindGroup(grouping.groups[g].name), static_cast<int>(g));
  }
  EXPECT_EQ(grouping.FindGroup("nobody"), -1);
}

TEST(GroupsTest, MobileNetV2TiesDepthwiseAndResiduals) {
  const Grouping grouping = Groups(ZooGraph("mobilenetv2"));
  // Table 2 of Sandler et al. 2018: 17 bottlenecks; the first has no expansion. Linear bottlenecks
  // with residuals share a group per stage: 16, 24, 32, 64, 96, 160, 320; then 1280 features.
  std::vector<int64_t> narrow;
  for (const PruneGroup& group : grouping.groups) {
    for (const NodeId producer : group.producers) EXPECT_NE(producer, NodeId::kNone);
  }
  EXPECT_EQ(grouping.groups.size(), 1 + 16 + 7 + 1);  // stem, expansions, bottlenecks, features
  EXPECT_THAT(ResidualGroups(grouping), ElementsAre(24, 32, 64, 96, 160));
}

TEST(GroupsTest, FlattenRepeatsEveryChannelOverItsPositions) {
  for (const bool transposed : {true, false}) {
    GraphBuilder b;
    const TensorId conv = b.Conv(b.Input({kDynamic, 3, 7, 7}), 4);
    b.Output(b.Linear(b.Op("Flatten", {conv}), 2, transposed));
    const Grouping grouping = Groups(b.graph);
    ASSERT_THAT(Channels(grouping), ElementsAre(4));
    const TensorId weight = b.graph.nodes.back().inputs[1];
    const auto slots = Slots(grouping, weight, transposed ? 1 : 0);
    ASSERT_EQ(slots.size(), 4 * 49);
    for (int s = 0; s < 4 * 49; ++s) EXPECT_EQ(slots[s], std::pair(0, s / 49));
    EXPECT_EQ(grouping.groups[0].axes.back().slots_per_channel, 49);
  }
}

TEST(GroupsTest, ProjectionShortcutSharesOneGroup) {
  GraphBuilder b;
  const TensorId stem = b.Conv(b.Input({kDynamic, 3, 8, 8}), 4);
  const TensorId branch = b.BatchNorm(b.Conv(b.Conv(stem, 5), 6));
  b.Head(b.Op("Relu", {b.Op("Add", {branch, b.BatchNorm(b.Conv(stem, 6, 1))})}));
  const Grouping grouping = Groups(b.graph);
  EXPECT_THAT(Channels(grouping), ElementsAre(4, 5, 6));
  EXPECT_EQ(grouping.groups[2].producers.size(), 2);
  EXPECT_EQ(grouping.groups[0].consumers.size(), 2);
}

TEST(GroupsTest, DepthwiseConvolutionTiesItsOutputsToItsInputs) {
  GraphBuilder b;
  const TensorId wide = b.Conv(b.Input({kDynamic, 3, 8, 8}), 4);
  const TensorId depthwise = b.Conv(wide, 8, 3, 4);  // multiplier 2
  b.Head(depthwise);
  const Grouping grouping = Groups(b.graph);
  ASSERT_THAT(Channels(grouping), ElementsAre(4));
  EXPECT_THAT(Slots(grouping, depthwise, 1),
              ElementsAre(std::pair(0, 0), std::pair(0, 0), std::pair(0, 1), std::pair(0, 1),
                          std::pair(0, 2), std::pair(0, 2), std::pair(0, 3), std::pair(0, 3)));
  EXPECT_EQ(grouping.groups[0].producers.size(), 1);
  EXPECT_FALSE(IsMixing(b.graph, b.graph.nodes[1]));
}

TEST(GroupsTest, ConvolutionOfOneInputChannelMixes) {
  GraphBuilder b;
  b.Head(b.Conv(b.Input({kDynamic, 1, 8, 8}), 4));
  EXPECT_TRUE(IsMixing(b.graph, b.graph.nodes[0]));
  EXPECT_THAT(Channels(Groups(b.graph)), ElementsAre(4));
}

TEST(GroupsTest, ConcatKeepsBranchesApartAndResidualTiesThem) {
  GraphBuilder b;
  const TensorId x = b.Input({kDynamic, 3, 8, 8});
  const TensorId joined = b.Op("Concat", {b.Conv(x, 2), b.Conv(x, 3)}, {{"axis", int64_t{1}}});
  const TensorId sum = b.Op("Add", {joined, b.Conv(x, 5)});
  b.Head(sum);
  const Grouping grouping = Groups(b.graph);
  EXPECT_THAT(Channels(grouping), ElementsAre(2, 3));
  EXPECT_THAT(ResidualGroups(grouping), ElementsAre(2, 3));
  EXPECT_THAT(Slots(grouping, sum, 1),
              ElementsAre(std::pair(0, 0), std::pair(0, 1), std::pair(1, 0), std::pair(1, 1),
                          std::pair(1, 2)));
}

TEST(GroupsTest, SqueezeExciteGateSharesTheGroupItScales) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 8, 8}), 6);
  const TensorId squeezed = b.Op("Relu", {b.Conv(b.Op("GlobalAveragePool", {x}), 2, 1)});
  b.Head(b.Op("Mul", {b.Op("HardSigmoid", {b.Conv(squeezed, 6, 1)}), x}));
  const Grouping grouping = Groups(b.graph);
  ASSERT_THAT(Channels(grouping), ElementsAre(6, 2));
  EXPECT_EQ(grouping.groups[0].producers.size(), 2);
  EXPECT_EQ(grouping.groups[0].consumers.size(), 2);  // the squeeze and the head
  EXPECT_THAT(ResidualGroups(grouping), IsEmpty());   // tied by a product, not by a sum
}

TEST(GroupsTest, GroupedConvolutionMakesCells) {
  GraphBuilder b;
  const TensorId wide = b.Conv(b.Input({kDynamic, 3, 8, 8}), 8, 1);
  b.Head(b.Conv(wide, 12, 3, 4));
  const Grouping grouping = Groups(b.graph);
  ASSERT_THAT(Channels(grouping), ElementsAre(8, 12));
  EXPECT_EQ(grouping.groups[0].cells, 4);
  EXPECT_THAT(grouping.groups[0].cell_of_channel, ElementsAre(0, 0, 1, 1, 2, 2, 3, 3));
  EXPECT_EQ(grouping.groups[1].cells, 4);
  const ChannelAxis* in = grouping.FindAxis(b.graph.nodes[1].inputs[1], 1);
  EXPECT_EQ(in->conv_groups, 4);
  EXPECT_EQ(in->slots.size(), 8);
}

TEST(GroupsTest, CellsOfTwoGroupedConvolutionsAreTheirCommonRefinement) {
  GraphBuilder b;
  const TensorId wide = b.Conv(b.Input({kDynamic, 3, 8, 8}), 12, 1);
  b.Head(b.Op("Add", {b.Conv(wide, 12, 3, 2), b.Conv(wide, 12, 3, 4)}));
  const Grouping grouping = Groups(b.graph);
  EXPECT_EQ(grouping.groups[0].cells, 4);
  EXPECT_THAT(grouping.groups[0].cell_of_channel, ElementsAre(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3));
}

TEST(GroupsTest, ConcatThatFillsConvolutionGroupsUnequallyStaysWhole) {
  GraphBuilder b;
  const TensorId x = b.Input({kDynamic, 3, 8, 8});
  const TensorId joined = b.Op("Concat", {b.Conv(x, 6), b.Conv(x, 2)}, {{"axis", int64_t{1}}});
  b.Head(b.Conv(joined, 8, 3, 2, "grouped"));
  const Grouping grouping = Groups(b.graph);
  EXPECT_THAT(Channels(grouping), ElementsAre(8));  // what the grouped convolution makes
  EXPECT_THAT(grouping.barriers, Contains(BarrierWith("grouped", "do not take equally many")));
}

TEST(GroupsTest, ChannelShuffleIsABarrier) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 4, 4}), 6);
  const TensorId split = b.Op("Reshape", {x, b.Ints({0, 2, 3, 4, 4})}, {}, "shuffle");
  const TensorId swapped =
      b.Op("Transpose", {split}, {{"perm", std::vector<int64_t>{0, 2, 1, 3, 4}}});
  b.Head(b.Op("Reshape", {swapped, b.Ints({0, 6, 4, 4})}));
  const Grouping grouping = Groups(b.graph);
  EXPECT_THAT(grouping.groups, IsEmpty());
  EXPECT_THAT(grouping.barriers, Contains(BarrierWith("shuffle", "splits dimension 1")));
}

TEST(GroupsTest, UnknownOperatorIsABarrierOnBothSides) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 4, 4}), 6);
  const TensorId mystery = b.Op("Mystery", {x}, {}, "riddle");
  b.graph.tensor(mystery).shape_known = true;
  b.graph.tensor(mystery).shape = {kDynamic, 6, 4, 4};
  b.Head(b.Conv(mystery, 5));
  const Grouping grouping = Groups(b.graph);
  EXPECT_THAT(Channels(grouping), ElementsAre(5));
  EXPECT_THAT(grouping.barriers, Contains(AllOf(BarrierWith("riddle", "Mystery is unknown"),
                                                Field(&Barrier::channels, 12))));
}

TEST(GroupsTest, WhatASubgraphMayReadByNameStaysWhole) {
  GraphBuilder b;
  const TensorId x = b.Input({kDynamic, 3, 4, 4});
  const TensorId captured = b.Conv(x, 6, 3, 1, "captured");
  const TensorId free = b.Conv(x, 5, 3, 1, "free");
  b.Op("If", {x},
       {{"then_branch", OpaqueAttribute{"\x0a\x0d"
                                        "captured_out0\x12"}}},
       "branch");
  b.Head(b.Op("Add", {b.Conv(captured, 2), b.Conv(free, 2)}));
  const Grouping grouping = Groups(b.graph);
  EXPECT_THAT(Channels(grouping), ElementsAre(5, 2));
  EXPECT_THAT(grouping.barriers, Contains(BarrierWith("branch", "attribute then_branch")));
}

TEST(GroupsTest, InputsAndOutputsStayWhole) {
  GraphBuilder b;
  b.Output(b.Conv(b.Input({kDynamic, 3, 4, 4}, "image"), 6));
  const Grouping grouping = Groups(b.graph);
  EXPECT_THAT(grouping.groups, IsEmpty());
  EXPECT_THAT(grouping.barriers,
              UnorderedElementsAre(
                  AllOf(BarrierWith("input image", "enters"), Field(&Barrier::channels, 3)),
                  AllOf(BarrierWith("output Conv", "leaves"), Field(&Barrier::channels, 6))));
}

TEST(GroupsTest, SliceAndSplitOfChannelsCutGroups) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 4, 4}), 6);
  const TensorId head = b.Op("Slice", {x, b.Ints({0}), b.Ints({2}), b.Ints({1})});
  const std::vector<TensorId> parts =
      b.Ops("Split", {x, b.Ints({4, 2})}, 2, {{"axis", int64_t{1}}});
  b.Output(b.Op("Flatten", {b.Op("Add", {b.Conv(head, 2), b.Conv(parts[1], 2)})}));
  const Grouping grouping = Groups(b.graph);
  // {0, 1} are sliced, {2, 3} only split away and {4, 5} split and read.
  EXPECT_THAT(Channels(grouping), ElementsAre(2, 2));
  EXPECT_THAT(Slots(grouping, x, 1),
              ElementsAre(std::pair(0, 0), std::pair(0, 1), std::pair(-1, -1), std::pair(-1, -1),
                          std::pair(1, 0), std::pair(1, 1)));
  EXPECT_THAT(grouping.barriers, Contains(BarrierWith("Conv", "reads its channels")));
}

TEST(GroupsTest, SliceOfChannelsInStepsFreezesSpatialStepsDoNot) {
  for (const int64_t axis : {1, 2}) {
    GraphBuilder b;
    const TensorId x = b.Conv(b.Input({kDynamic, 3, 4, 4}), 6);
    b.Head(b.Op("Slice", {x, b.Ints({0}), b.Ints({1 << 30}), b.Ints({axis}), b.Ints({2})}));
    const Grouping grouping = Groups(b.graph);
    EXPECT_EQ(grouping.groups.size(), axis == 1 ? 0 : 1);
    if (axis == 1) {
      EXPECT_THAT(grouping.barriers, Contains(BarrierWith("Slice", "steps of 2")));
    }
  }
}

TEST(GroupsTest, PerChannelConstantsGetAnAxisScalarsDoNot) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 4, 4}), 6);
  const TensorId full = b.Floats({1, 6, 1, 1});
  const TensorId short_one = b.Floats({6, 1, 1});
  const TensorId scalar = b.Floats({});
  const TensorId spatial = b.Floats({1, 1, 4, 4});
  TensorId y = b.Op("Mul", {x, full});
  y = b.Op("Add", {short_one, y});
  y = b.Op("Sub", {y, scalar});
  b.Head(b.Op("Add", {y, spatial}));
  const Grouping grouping = Groups(b.graph);
  ASSERT_THAT(Channels(grouping), ElementsAre(6));
  EXPECT_EQ(Slots(grouping, full, 1).size(), 6);
  EXPECT_EQ(Slots(grouping, short_one, 0).size(), 6);
  EXPECT_THAT(Slots(grouping, spatial, 1), IsEmpty());
}

TEST(GroupsTest, OneChannelActivationBroadcastOverManyIsFrozenTheManyAreNot) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 4, 4}), 6);
  const TensorId attention = b.Op("Sigmoid", {b.Conv(x, 1, 1, 1, "gate")});
  b.Head(b.Op("Mul", {x, attention}, {}, "scale"));
  const Grouping grouping = Groups(b.graph);
  EXPECT_THAT(Channels(grouping), ElementsAre(6));
  EXPECT_THAT(grouping.barriers, Contains(BarrierWith("scale", "broadcasts it")));
}

TEST(GroupsTest, SoftmaxOverChannelsFreezesOverOthersNot) {
  for (const int64_t axis : {1, 3}) {
    GraphBuilder b;
    const TensorId x = b.Conv(b.Input({kDynamic, 3, 4, 4}), 6);
    b.Head(b.Op("Softmax", {x}, {{"axis", axis}}));
    EXPECT_EQ(Groups(b.graph).groups.size(), axis == 1 ? 0 : 1);
  }
}

TEST(GroupsTest, MeanOverPositionsIsFollowedMeanOverChannelsFreezes) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 4, 4}), 6);
  const TensorId mean =
      b.Op("ReduceMean", {x}, {{"axes", std::vector<int64_t>{2, 3}}, {"keepdims", int64_t{0}}});
  b.Output(b.Linear(mean, 2));
  EXPECT_THAT(Channels(Groups(b.graph)), ElementsAre(6));

  GraphBuilder c;
  const TensorId y = c.Conv(c.Input({kDynamic, 3, 4, 4}), 6);
  const TensorId over = c.Op("ReduceMean", {y}, {{"axes", std::vector<int64_t>{1}}}, "mean");
  c.Head(c.Op("Mul", {c.Conv(over, 6), y}));
  const Grouping grouping = Groups(c.graph);
  EXPECT_THAT(grouping.groups, IsEmpty());
  EXPECT_THAT(grouping.barriers, Contains(BarrierWith("mean", "averages over the channels")));
}

TEST(GroupsTest, FollowsChannelsToTheLastDimensionAndThroughMatMul) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 4, 4}), 6);
  const TensorId tokens = b.Op("Transpose", {b.Op("Reshape", {x, b.Ints({0, 6, -1})})},
                               {{"perm", std::vector<int64_t>{0, 2, 1}}});
  const TensorId linear = b.Op("MatMul", {tokens, b.Floats({6, 5})});
  const TensorId bias = b.Floats({5});
  const TensorId biased = b.Op("Add", {linear, bias});
  const TensorId mean =
      b.Op("ReduceMean", {biased}, {{"axes", std::vector<int64_t>{1}}, {"keepdims", int64_t{0}}});
  b.Output(b.Linear(mean, 2));
  const Grouping grouping = Groups(b.graph);
  EXPECT_THAT(Channels(grouping), ElementsAre(6, 5));
  EXPECT_EQ(grouping.FindAxis(tokens, 2)->slots.size(), 6);
  EXPECT_EQ(Slots(grouping, bias, 0).size(), 5);
}

TEST(GroupsTest, SharedWeightTiesItsLayers) {
  GraphBuilder b;
  const TensorId first = b.Conv(b.Input({kDynamic, 4, 4, 4}), 4);
  const TensorId weight = b.Floats({4, 4, 1, 1});
  const TensorId second = b.Op("Conv", {first, weight});
  b.Head(b.Op("Conv", {b.Op("Relu", {second}), weight}));
  const Grouping grouping = Groups(b.graph);
  // What goes into the shared weight and what comes out are the same channels.
  ASSERT_THAT(Channels(grouping), ElementsAre(4));
  EXPECT_EQ(grouping.groups[0].producers.size(), 3);
}

TEST(GroupsTest, ConstantReadByChannelsAndAsAWholeFreezes) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 6, 6}), 6);
  const TensorId constant = b.Floats({1, 6, 1, 1});
  const TensorId scaled = b.Op("Mul", {x, constant});
  const TensorId mystery = b.Op("Mystery", {constant});
  b.Output(mystery);
  b.Head(scaled);
  const Grouping grouping = Groups(b.graph);
  EXPECT_THAT(grouping.groups, IsEmpty());
  EXPECT_THAT(grouping.barriers, Contains(BarrierWith("Mul", "read as a whole elsewhere")));
}

TEST(GroupsTest, OperandsWithChannelsAlongDifferentDimensionsFreeze) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 6, 6}), 6);
  const TensorId turned =
      b.Op("Transpose", {b.Conv(x, 6)}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
  b.Head(b.Op("Add", {x, turned}, {}, "cross"));
  const Grouping grouping = Groups(b.graph);
  EXPECT_THAT(grouping.groups, IsEmpty());
  EXPECT_THAT(grouping.barriers, Contains(BarrierWith("cross", "along different dimensions")));
}

TEST(GroupsTest, ReshapeThatMergesChannelsBackFromSpatialOnesIsFollowed) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 2, 2}), 3);
  const TensorId flat = b.Op("Reshape", {x, b.Ints({-1, 12})});
  const TensorId up = b.Op("Reshape", {flat, b.Ints({0, 12, 1, 1})});
  b.Head(b.Conv(up, 4, 1));
  const Grouping grouping = Groups(b.graph);
  ASSERT_THAT(Channels(grouping), ElementsAre(3, 4));
  EXPECT_EQ(Slots(grouping, up, 1)[5], std::pair(0, 1));
}

TEST(GroupsTest, Vgg16AtFullSizeTakesUnderASecond) {
  const Graph graph = ZooGraph("vgg16", {.height = 224, .width = 224, .classes = 1000});
  const auto start = std::chrono::steady_clock::now();
  const Grouping grouping = Groups(graph);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(grouping.groups.size(), 15);
  EXPECT_LT(elapsed.count(), 1.0);
}

// What a file of a hundred bytes may claim; nothing is allocated for it.
TEST(GroupsTest, MoreChannelsThanAnyNetworkHasAreRefused) {
  const auto problem = [](const Graph& graph) {
    const absl::StatusOr<Grouping> grouping = BuildGroups(graph);
    EXPECT_EQ(grouping.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(grouping.status().message());
  };
  GraphBuilder wide;
  wide.Output(wide.Op("Relu", {wide.Input({kDynamic, 10'000'000'000, 1, 1})}));
  EXPECT_THAT(problem(wide.graph),
              AllOf(HasSubstr("tensor input of shape Nx10000000000x1x1"), HasSubstr("33554432")));

  GraphBuilder unknown;
  const TensorId x = unknown.Input({kDynamic, 3, 8, 8});
  const TensorId y = unknown.graph.AddTensor(
      {.name = "recorded", .shape_known = true, .shape = {1, int64_t{1} << 34}});
  unknown.graph.AddNode({.domain = "example", .op_type = "Mystery", .inputs = {x}, .outputs = {y}});
  unknown.Output(y);
  EXPECT_THAT(problem(unknown.graph),
              AllOf(HasSubstr("tensor recorded"), HasSubstr("17179869184")));

  GraphBuilder padded;
  padded.Output(padded.Op("Pad", {padded.Input({kDynamic, 3, 1, 1}),
                                  padded.Ints({0, int64_t{1} << 31, 0, 0, 0, 0, 0, 0})}));
  EXPECT_THAT(problem(padded.graph), HasSubstr("2147483648 channels"));

  // Many tensors, none of them too wide.
  GraphBuilder deep;
  TensorId at = deep.Input({kDynamic, int64_t{1} << 22, 1, 1});
  for (int i = 0; i < 8; ++i) at = deep.Op("Relu", {at}, {}, absl::StrCat("relu", i));
  deep.Output(at);
  EXPECT_THAT(problem(deep.graph),
              AllOf(HasSubstr("4194304 channels"), HasSubstr("at most 33554432")));
}

TEST(GroupsTest, ShapesThatContradictTheOperatorsAreInvalid) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 4, 4}), 6);
  b.Head(x);
  b.graph.tensor(x).shape[1] = 7;
  const absl::StatusOr<Grouping> grouping = BuildGroups(b.graph);
  EXPECT_EQ(grouping.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(grouping.status().message()), HasSubstr("6 channels"));
}

}  // namespace
}  // namespace amc
