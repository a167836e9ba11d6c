// A shrunk network computes what the original computes when nobody reads the removed channels.
//
// The masked original keeps every channel, but the columns of all mixing layers that would read a
// removed one are zero. If channels that go together were missed, or a path around the mixing
// layers were, the two networks would differ.
#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "env/cost/lattice.h"
#include "env/exec/network.h"
#include "env/graph/zoo.h"
#include "env/prune/surgery.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;

// `graph` with zeros wherever a mixing layer reads a channel that is not selected.
Graph MaskConsumers(const Graph& graph, const Grouping& grouping,
                    const ChannelSelection& selection) {
  Graph masked = graph;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (!IsMixing(graph, node)) continue;
    for (const int dim : {0, 1}) {
      const bool is_input =
          std::any_of(grouping.groups.begin(), grouping.groups.end(), [&](const PruneGroup& group) {
            return std::any_of(group.axes.begin(), group.axes.end(), [&](const GroupAxis& axis) {
              return axis.tensor == node.inputs[1] && axis.dim == dim &&
                     axis.role == AxisRole::kInput;
            });
          });
      if (!is_input) continue;
      const ChannelAxis* axis = grouping.FindAxis(node.inputs[1], dim);
      const Shape& shape = graph.tensor(node.inputs[1]).shape;
      std::vector<float> values = *Values<float>(masked, node.inputs[1]);
      const int64_t columns = shape[1];
      const int64_t inner = static_cast<int64_t>(values.size()) / (shape[0] * columns);
      const int64_t rows_per_group = shape[0] / axis->conv_groups;
      for (size_t s = 0; s < axis->slots.size(); ++s) {
        const ChannelRef& slot = axis->slots[s];
        if (slot.group == ChannelRef::kWhole ||
            std::count(selection[slot.group].begin(), selection[slot.group].end(), slot.index)) {
          continue;
        }
        const auto position = static_cast<int64_t>(s);
        for (int64_t r = 0; r < shape[0]; ++r) {
          for (int64_t c = 0; c < columns; ++c) {
            const int64_t channel = dim == 0 ? r : r / rows_per_group * columns + c;
            if (channel != position) continue;
            std::fill_n(values.begin() + (r * columns + c) * inner, inner, 0.0f);
          }
        }
      }
      Tensor& weight = masked.tensor(node.inputs[1]);
      weight = MakeFloats(weight.name, shape, values);
    }
  }
  return masked;
}

std::vector<float> Run(const Graph& graph, const std::vector<float>& images, int64_t batch) {
  absl::StatusOr<std::unique_ptr<Network>> network = Network::Create(graph, {});
  EXPECT_TRUE(network.ok()) << network.status();
  if (!network.ok()) return {};
  absl::StatusOr<std::vector<float>> output = (*network)->Run(images, batch);
  EXPECT_TRUE(output.ok()) << output.status();
  return output.ok() ? *std::move(output) : std::vector<float>{};
}

void CheckEquivalence(const Graph& graph, const std::string& name, int candidates) {
  const absl::StatusOr<Grouping> grouping = BuildGroups(graph);
  ASSERT_TRUE(grouping.ok()) << grouping.status();
  ASSERT_FALSE(grouping->groups.empty());
  const absl::StatusOr<Lattice> lattice = Lattice::Create(*grouping, {.min_preserve_ratio = 0.3});
  ASSERT_TRUE(lattice.ok()) << lattice.status();
  constexpr int64_t kBatch = 3;
  Rng rng(11);
  const Shape& input = graph.tensor(graph.inputs[0]).shape;
  std::vector<float> images(kBatch * input[1] * input[2] * input[3]);
  for (float& value : images) value = static_cast<float>(rng.Normal());
  for (int i = 0; i < candidates; ++i) {
    ChannelSelection selection(grouping->groups.size());
    for (size_t g = 0; g < selection.size(); ++g) {
      const PruneGroup& group = grouping->groups[g];
      const auto choices = lattice->choices(g);
      std::vector<int64_t> room(group.cells, choices[rng.Below(choices.size())] / group.cells);
      for (const int64_t c : rng.Permutation(group.channels)) {
        if (room[group.cell_of_channel[c]]-- > 0) selection[g].push_back(static_cast<int32_t>(c));
      }
      std::sort(selection[g].begin(), selection[g].end());
    }
    const absl::StatusOr<Graph> shrunk = Shrink(graph, *grouping, selection);
    ASSERT_TRUE(shrunk.ok()) << shrunk.status();
    const std::vector<float> small = Run(*shrunk, images, kBatch);
    const std::vector<float> masked =
        Run(MaskConsumers(graph, *grouping, selection), images, kBatch);
    ASSERT_EQ(small.size(), masked.size());
    float largest = 0;
    float difference = 0;
    for (size_t k = 0; k < small.size(); ++k) {
      largest = std::max(largest, std::abs(masked[k]));
      difference = std::max(difference, std::abs(masked[k] - small[k]));
    }
    EXPECT_GT(largest, 0) << name;
    EXPECT_LE(difference, 1e-4f * largest) << name << ", candidate " << i;
  }
}

TEST(SurgeryEquivalenceTest, ZooNetworksComputeWhatTheirMaskedOriginalsCompute) {
  for (const std::string& name : ZooNames()) {
    if (name == "vgg16") continue;  // vgg-small has the same operators
    for (const bool batch_norm : {true, false}) {
      const absl::StatusOr<Graph> graph = BuildNetwork(name, {.batch_norm = batch_norm});
      ASSERT_TRUE(graph.ok()) << graph.status();
      CheckEquivalence(*graph, name, 2);
    }
  }
}

TEST(SurgeryEquivalenceTest, GroupedDepthwiseAndGatedLayers) {
  GraphBuilder b;
  const TensorId x = b.Op("Relu", {b.Conv(b.Input({kDynamic, 3, 8, 8}), 12)});
  const TensorId grouped = b.Op("Relu", {b.BatchNorm(b.Conv(x, 16, 3, 4))});
  const TensorId depthwise = b.Conv(grouped, 32, 3, 16);
  const TensorId squeezed = b.Op("Relu", {b.Conv(b.Op("GlobalAveragePool", {depthwise}), 8, 1)});
  const TensorId gate = b.Op("Sigmoid", {b.Conv(squeezed, 32, 1)});
  b.Head(b.Op("Mul", {gate, depthwise}));
  CheckEquivalence(b.graph, "gated", 5);
}

TEST(SurgeryEquivalenceTest, ConcatsPadsSlicesSplitsAndTokens) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 8, 8}), 6);
  const TensorId padded = b.Op("Pad", {x, b.Ints({0, 1, 0, 0, 0, 2, 0, 0})});
  const TensorId y = b.Op("Relu", {b.Op("Add", {padded, b.Conv(x, 9)})});
  const std::vector<TensorId> parts =
      b.Ops("Split", {y, b.Ints({5, 4})}, 2, {{"axis", int64_t{1}}});
  const TensorId sliced = b.Op("Slice", {y, b.Ints({2}), b.Ints({6}), b.Ints({1})});
  const TensorId joined = b.Op("Concat", {b.Op("Sigmoid", {parts[1]}), sliced, b.Conv(parts[0], 5)},
                               {{"axis", int64_t{1}}});
  const TensorId scaled = b.Op("Mul", {joined, b.Floats({1, 13, 1, 1})});
  const TensorId tokens = b.Op("Transpose", {b.Op("Reshape", {scaled, b.Ints({0, 13, -1})})},
                               {{"perm", std::vector<int64_t>{0, 2, 1}}});
  const TensorId linear = b.Op("Add", {b.Op("MatMul", {tokens, b.Floats({13, 7})}), b.Floats({7})});
  const TensorId flat = b.Op("Reshape", {b.Op("Relu", {linear}), b.Ints({0, 448})});
  b.Output(b.Linear(flat, 3));
  CheckEquivalence(b.graph, "mixture", 10);
}

}  // namespace
}  // namespace amc
