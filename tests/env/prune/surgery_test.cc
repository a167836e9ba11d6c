// Shrunk networks are what the cost model says they are, and nothing else changes.
#include "env/prune/surgery.h"

#include <algorithm>
#include <numeric>

#include "base/rng.h"
#include "env/cost/cost_model.h"
#include "env/cost/lattice.h"
#include "env/graph/op_params.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Net {
  Graph graph;
  Grouping grouping;
  CostModel model;
};

Net Analyse(Graph graph) {
  absl::StatusOr<Grouping> grouping = BuildGroups(graph);
  EXPECT_TRUE(grouping.ok()) << grouping.status();
  absl::StatusOr<CostModel> model = CostModel::Create(graph, *grouping);
  EXPECT_TRUE(model.ok()) << model.status();
  return {std::move(graph), *std::move(grouping), *std::move(model)};
}

Net Zoo(const std::string& name, bool weightless, bool batch_norm = true) {
  absl::StatusOr<Graph> graph =
      BuildNetwork(name, {.batch_norm = batch_norm, .weightless = weightless});
  EXPECT_TRUE(graph.ok()) << graph.status();
  return Analyse(*std::move(graph));
}

std::vector<int64_t> RandomCounts(const Lattice& lattice, Rng& rng) {
  std::vector<int64_t> kept;
  for (size_t g = 0; g < lattice.num_groups(); ++g) {
    kept.push_back(lattice.choices(g)[rng.Below(lattice.choices(g).size())]);
  }
  return kept;
}

// A random selection of as many channels of every cell as `kept` asks for.
ChannelSelection RandomSelection(const Grouping& grouping, const std::vector<int64_t>& kept,
                                 Rng& rng) {
  ChannelSelection selection(kept.size());
  for (size_t g = 0; g < kept.size(); ++g) {
    const PruneGroup& group = grouping.groups[g];
    std::vector<int64_t> room(group.cells, kept[g] / group.cells);
    for (const int64_t channel : rng.Permutation(group.channels)) {
      if (room[group.cell_of_channel[channel]]-- > 0) {
        selection[g].push_back(static_cast<int32_t>(channel));
      }
    }
    std::sort(selection[g].begin(), selection[g].end());
  }
  return selection;
}

Graph MustShrink(const Net& net, const ChannelSelection& selection) {
  absl::StatusOr<Graph> shrunk = Shrink(net.graph, net.grouping, selection);
  EXPECT_TRUE(shrunk.ok()) << shrunk.status();
  return shrunk.ok() ? *std::move(shrunk) : Graph{};
}

// Random candidates of a network: shapes must fit, and counting the shrunk network's own shapes
// must give what the cost model predicted from the counts.
void CheckRandomCandidates(const Net& net, int candidates, const std::string& name) {
  const absl::StatusOr<Lattice> lattice = Lattice::Create(net.grouping, {.min_preserve_ratio = 0});
  ASSERT_TRUE(lattice.ok()) << lattice.status();
  Rng rng(7);
  for (int i = 0; i < candidates; ++i) {
    const std::vector<int64_t> kept = RandomCounts(*lattice, rng);
    const absl::StatusOr<Graph> shrunk =
        Shrink(net.graph, net.grouping, RandomSelection(net.grouping, kept, rng));
    ASSERT_TRUE(shrunk.ok()) << name << ": " << shrunk.status();
    const absl::StatusOr<Cost> counted = CountCost(*shrunk);
    ASSERT_TRUE(counted.ok()) << name << ": " << counted.status();
    EXPECT_EQ(*counted, net.model.Evaluate(kept)) << name;
    for (const Tensor& tensor : shrunk->tensors) {
      if (!tensor.is_constant || tensor.data == nullptr) continue;
      const absl::StatusOr<int64_t> elements = NumElements(tensor.shape);
      ASSERT_TRUE(elements.ok());
      EXPECT_EQ(tensor.data->size(), *elements * ElementSize(tensor.type)) << tensor.name;
    }
  }
}

TEST(SurgeryTest, RandomCandidatesOfTheZooCostWhatTheModelPredicts) {
  for (const std::string& name : ZooNames()) {
    CheckRandomCandidates(Zoo(name, /*weightless=*/true), 20, name);
    CheckRandomCandidates(Zoo(name, /*weightless=*/true, /*batch_norm=*/false), 5, name);
  }
  CheckRandomCandidates(Zoo("resnet20", /*weightless=*/false), 10, "resnet20 with weights");
  CheckRandomCandidates(Zoo("mobilenetv2", /*weightless=*/false), 3, "mobilenetv2 with weights");
}

TEST(SurgeryTest, KeepingEverythingGivesTheSameNetworkAndSharesItsWeights) {
  for (const std::string name : {"resnet20", "mobilenetv1", "vgg-small"}) {
    const Net net = Zoo(name, /*weightless=*/false);
    const Graph same = MustShrink(net, KeepFirst(net.grouping, net.model.channels()));
    ASSERT_EQ(same.tensors.size(), net.graph.tensors.size());
    for (size_t t = 0; t < same.tensors.size(); ++t) {
      EXPECT_EQ(same.tensors[t].shape, net.graph.tensors[t].shape);
      EXPECT_EQ(same.tensors[t].data, net.graph.tensors[t].data) << same.tensors[t].name;
    }
    ASSERT_EQ(same.nodes.size(), net.graph.nodes.size());
    for (size_t n = 0; n < same.nodes.size(); ++n) {
      EXPECT_EQ(same.nodes[n].inputs, net.graph.nodes[n].inputs);
      EXPECT_EQ(same.nodes[n].attributes.size(), net.graph.nodes[n].attributes.size());
    }
  }
}

TEST(SurgeryTest, WeightsThatLoseNothingStayShared) {
  const Net net = Zoo("plain20", /*weightless=*/false);
  std::vector<int64_t> kept(net.model.channels().begin(), net.model.channels().end());
  kept.back() = 10;
  const Graph shrunk = MustShrink(net, KeepFirst(net.grouping, kept));
  const TensorId first_weight = net.graph.nodes[0].inputs[1];
  EXPECT_EQ(shrunk.tensor(first_weight).data, net.graph.tensor(first_weight).data);
}

TEST(SurgeryTest, CutsTheRightRowsAndColumns) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 2, 4, 4}), 3, 1);
  b.Head(b.Conv(x, 2, 1));
  const Net net = Analyse(b.graph);
  const std::vector<float> before = *Values<float>(b.graph, b.graph.nodes[1].inputs[1]);
  const Graph shrunk = MustShrink(net, {{0, 2}, {1}});
  EXPECT_THAT(*Values<float>(shrunk, shrunk.nodes[1].inputs[1]),
              ElementsAre(before[3], before[5]));  // row 1, columns 0 and 2 of 2 x 3
  const std::vector<float> bias = *Values<float>(b.graph, b.graph.nodes[0].inputs[2]);
  EXPECT_THAT(*Values<float>(shrunk, shrunk.nodes[0].inputs[2]), ElementsAre(bias[0], bias[2]));
}

TEST(SurgeryTest, GroupedConvolutionKeepsItsGroupsAndTheirColumns) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 2, 4, 4}), 6, 1);
  b.Head(b.Conv(x, 4, 1, 2));  // weight 4 x 3: rows 0, 1 read channels 0..2, rows 2, 3 read 3..5
  const Net net = Analyse(b.graph);
  const std::vector<float> w = *Values<float>(b.graph, b.graph.nodes[1].inputs[1]);
  const Graph shrunk = MustShrink(net, {{0, 2, 4, 5}, {1, 2}});
  EXPECT_EQ(shrunk.tensor(shrunk.nodes[1].inputs[1]).shape, (Shape{2, 2, 1, 1}));
  EXPECT_THAT(*Values<float>(shrunk, shrunk.nodes[1].inputs[1]),
              ElementsAre(w[3], w[5], w[7], w[8]));  // row 1: columns 0, 2; row 2: columns 1, 2
  EXPECT_EQ(GetConvParams(shrunk, shrunk.nodes[1])->groups, 2);
  CheckRandomCandidates(net, 20, "grouped");
}

TEST(SurgeryTest, DepthwiseConvolutionLosesGroups) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 2, 4, 4}), 4, 1);
  b.Head(b.Conv(x, 8, 3, 4));
  const Net net = Analyse(b.graph);
  const Graph shrunk = MustShrink(net, {{1, 2, 3}});
  const absl::StatusOr<ConvParams> conv = GetConvParams(shrunk, shrunk.nodes[1]);
  EXPECT_EQ(conv->groups, 3);
  EXPECT_EQ(conv->out_channels, 6);
  CheckRandomCandidates(net, 4, "depthwise");
}

TEST(SurgeryTest, FlattenedChannelsLoseAllTheirPositions) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 2, 2, 2}), 3, 1);
  b.Output(b.Linear(b.Op("Reshape", {x, b.Ints({-1, 12})}), 1));
  const Net net = Analyse(b.graph);
  const std::vector<float> w = *Values<float>(b.graph, b.graph.nodes[2].inputs[1]);
  const Graph shrunk = MustShrink(net, {{0, 2}});
  EXPECT_THAT(*Values<int64_t>(shrunk, shrunk.nodes[1].inputs[1]), ElementsAre(-1, 8));
  EXPECT_THAT(*Values<float>(shrunk, shrunk.nodes[2].inputs[1]),
              ElementsAre(w[0], w[1], w[2], w[3], w[8], w[9], w[10], w[11]));
}

TEST(SurgeryTest, PadsSlicesAndSplitsOfChannelsFollow) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 2, 4, 4}), 4, 1);
  const TensorId padded = b.Op("Pad", {x, b.Ints({0, 1, 0, 0, 0, 2, 0, 0})});
  const TensorId y = b.Op("Add", {padded, b.Conv(x, 7, 1)});  // 1 + 4 + 2 channels
  const TensorId sliced = b.Op("Slice", {y, b.Ints({1}), b.Ints({-2}), b.Ints({-3})});
  const std::vector<TensorId> parts =
      b.Ops("Split", {y, b.Ints({3, 4})}, 2, {{"axis", int64_t{1}}});
  b.Head(b.Op("Add", {b.Conv(sliced, 3), b.Op("Add", {b.Conv(parts[0], 3), b.Conv(parts[1], 3)})}));
  const Net net = Analyse(b.graph);
  CheckRandomCandidates(net, 50, "pads and slices");
  // Slots of y: pad | x0 x1 | x2 x3 | pad pad, and the split cuts behind x1.
  ASSERT_EQ(net.grouping.groups.size(), 5);
  ChannelSelection selection = KeepFirst(net.grouping, net.model.channels());
  selection[net.grouping.FindAxis(x, 1)->slots[0].group] = {1};
  const Graph shrunk = MustShrink(net, selection);
  EXPECT_THAT(*Values<int64_t>(shrunk, shrunk.nodes[1].inputs[1]),
              ElementsAre(0, 1, 0, 0, 0, 2, 0, 0));
  EXPECT_THAT(*Values<int64_t>(shrunk, shrunk.nodes[4].inputs[1]), ElementsAre(1));
  EXPECT_THAT(*Values<int64_t>(shrunk, shrunk.nodes[4].inputs[2]), ElementsAre(4));
  EXPECT_THAT(*Values<int64_t>(shrunk, shrunk.nodes[5].inputs[1]), ElementsAre(2, 4));
}

TEST(SurgeryTest, ChannelCropsFollow) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 2, 4, 4}), 6, 1);
  b.Head(b.Op("Add", {b.Conv(x, 3, 1), b.Op("Pad", {x, b.Ints({0, -1, 0, 0, 0, -2, 0, 0})})}));
  const Net net = Analyse(b.graph);
  // What only the first layer's reader sees (slots 0, 4, 5) and what the sum sees (slots 1..3).
  ASSERT_EQ(net.grouping.groups.size(), 2);
  CheckRandomCandidates(net, 20, "crops");
  const Graph shrunk = MustShrink(net, {{1}, {0, 1}});
  EXPECT_THAT(*Values<int64_t>(shrunk, shrunk.nodes[2].inputs[1]),
              ElementsAre(0, 0, 0, 0, 0, -1, 0, 0));
}

TEST(SurgeryTest, EqualSplitWithoutSizesGetsSizesInBothForms) {
  for (const int64_t opset : {11, 13}) {
    GraphBuilder b(opset);
    const TensorId x = b.Conv(b.Input({kDynamic, 2, 4, 4}), 6, 1);
    const std::vector<TensorId> parts = b.Ops("Split", {x}, 2, {{"axis", int64_t{1}}});
    b.Head(b.Op("Concat", {b.Conv(parts[0], 2), b.Conv(parts[1], 3)}, {{"axis", int64_t{1}}}));
    const Net net = Analyse(b.graph);
    const Graph shrunk = MustShrink(net, {{2}, {0, 1}, {0, 1}, {0, 1, 2}});
    EXPECT_THAT(*GetSplitSizes(shrunk, shrunk.nodes[1]), ElementsAre(1, 2)) << opset;
    EXPECT_EQ(shrunk.nodes[1].inputs.size(), opset == 11 ? 1 : 2);
    CheckRandomCandidates(net, 20, "split");
  }
}

TEST(SurgeryTest, SliceThatCountsIn32BitsStaysSo) {
  GraphBuilder b;
  const auto ints32 = [&](int32_t value) {
    Tensor tensor = MakeInts(absl::StrCat("index_", b.graph.tensors.size()), {1}, {0});
    tensor.type = DataType::kInt32;
    tensor.data = std::make_shared<Buffer>(reinterpret_cast<const char*>(&value), sizeof(value));
    return b.graph.AddTensor(std::move(tensor));
  };
  const TensorId x = b.Conv(b.Input({kDynamic, 2, 4, 4}), 6, 1);
  const TensorId sliced = b.Op("Slice", {x, ints32(2), ints32(6), ints32(1)});
  b.Head(b.Op("Concat", {b.Conv(x, 3), sliced}, {{"axis", int64_t{1}}}));
  const Net net = Analyse(b.graph);
  CheckRandomCandidates(net, 20, "slice in 32 bits");
  const Graph shrunk = MustShrink(net, {{1}, {0, 1, 3}, {0, 1, 2}});
  const Tensor& start = shrunk.tensor(shrunk.nodes[1].inputs[1]);
  EXPECT_EQ(start.type, DataType::kInt32);
  EXPECT_EQ(*start.data, std::string("\1\0\0\0", 4));
}

TEST(SurgeryTest, AmountsThatSeveralNodesShareAreCutForEachByItself) {
  GraphBuilder b;
  const TensorId target = b.Ints({0, 12});
  const TensorId x = b.Input({kDynamic, 2, 2, 2});
  const TensorId first = b.Linear(b.Op("Reshape", {b.Conv(x, 3, 1), target}), 2);
  const TensorId second = b.Linear(b.Op("Reshape", {b.Conv(x, 3, 1), target}), 2);
  b.Output(b.Op("Add", {first, second}));
  const Net net = Analyse(b.graph);
  const Graph shrunk = MustShrink(net, {{0}, {0, 1}});
  EXPECT_EQ(CountCost(shrunk).value(), net.model.Evaluate({1, 2}));
}

TEST(SurgeryTest, ConcatResidualsAndGatesCostWhatTheModelPredicts) {
  GraphBuilder b;
  const TensorId x = b.Input({kDynamic, 3, 8, 8});
  const TensorId joined =
      b.Op("Concat", {b.Conv(x, 5), b.BatchNorm(b.Conv(x, 4))}, {{"axis", int64_t{1}}});
  const TensorId gate = b.Op("Sigmoid", {b.Conv(b.Op("GlobalAveragePool", {joined}), 9, 1)});
  const TensorId scaled = b.Op("Mul", {b.Op("Mul", {joined, gate}), b.Floats({1, 9, 1, 1})});
  const TensorId dense = b.Op("Concat", {scaled, b.Conv(scaled, 6)}, {{"axis", int64_t{1}}});
  const TensorId tokens = b.Op("Transpose", {b.Op("Reshape", {dense, b.Ints({0, 15, -1})})},
                               {{"perm", std::vector<int64_t>{0, 2, 1}}});
  const TensorId linear = b.Op("Add", {b.Op("MatMul", {tokens, b.Floats({15, 7})}), b.Floats({7})});
  b.Output(b.Linear(
      b.Op("ReduceMean", {linear}, {{"axes", std::vector<int64_t>{1}}, {"keepdims", int64_t{0}}}),
      2));
  CheckRandomCandidates(Analyse(b.graph), 50, "mixture");
}

TEST(SurgeryTest, RefusesSelectionsThatDoNotFit) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 2, 4, 4}), 4, 1, 1, "wide");
  b.Head(b.Conv(x, 4, 1, 2));
  const Net net = Analyse(b.graph);
  const std::vector<int32_t> all = {0, 1, 2, 3};
  const std::vector<std::pair<ChannelSelection, std::string>> bad = {
      {{all}, "selection of 1 groups for 2"},
      {{{}, all}, "wide: keeps no channel"},
      {{{0, 4}, all}, "wide: channel 4 of 4"},
      {{{-1, 2}, all}, "wide: channel -1 of 4"},
      {{{2, 0}, all}, "wide: channel 0 after 2"},
      {{{2, 2}, all}, "wide: channel 2 after 2"},
      {{{0, 1}, all}, "wide: keeps 0 channels of one cell and 2 of another"},
  };
  for (const auto& [selection, message] : bad) {
    const absl::Status status = Shrink(net.graph, net.grouping, selection).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
}

TEST(SurgeryTest, ConstantWithTooFewBytesIsInvalid) {
  GraphBuilder b;
  b.Head(b.Conv(b.Input({kDynamic, 2, 4, 4}), 4, 1));
  const Net net = Analyse(b.graph);
  Graph broken = net.graph;
  Tensor& weight = broken.tensor(broken.nodes[0].inputs[1]);
  weight.data = std::make_shared<Buffer>(weight.data->substr(1));
  const absl::Status status = Shrink(broken, net.grouping, {{0, 1}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("31 bytes for 4x2x1x1"));
}

TEST(SurgeryTest, KeepFirstTakesEquallyManyOfEveryCell) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 2, 4, 4}), 6, 1);
  b.Head(b.Conv(x, 4, 1, 2));
  const Net net = Analyse(b.graph);
  EXPECT_THAT(KeepFirst(net.grouping, {4, 2}),
              ElementsAre(ElementsAre(0, 1, 3, 4), ElementsAre(0, 2)));
}

}  // namespace
}  // namespace amc
