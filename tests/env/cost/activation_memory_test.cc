// Peaks against counting by hand, and against the shapes of networks that were really shrunk.
#include "env/cost/activation_memory.h"

#include "base/rng.h"
#include "env/graph/shape_inference.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::testing::HasSubstr;

// x 3x8x8 -> conv1 (4) -> relu -> conv2 (6) -> output: floats of 4 bytes.
GraphBuilder Chain() {
  GraphBuilder b;
  b.Output(b.Conv(b.Op("Relu", {b.Conv(b.Input({kDynamic, 3, 8, 8}), 4)}), 6));
  return b;
}

TEST(ActivationMemoryTest, AReluOverwritesItsInput) {
  // conv1: 3 + 4 channels of 64; the ReLU nothing more; conv2: 4 + 6, the peak.
  const absl::StatusOr<int64_t> bytes = CountActivationBytes(Chain().graph);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, (4 + 6) * 64 * 4);
}

TEST(ActivationMemoryTest, ATensorThatIsReadLaterIsNotOverwritten) {
  GraphBuilder b;
  const TensorId made = b.Conv(b.Input({kDynamic, 3, 8, 8}), 4);
  b.Output(b.Op("Add", {made, b.Op("Relu", {made})}));
  // The Add has both of its inputs and its output: 3 x 4 channels.
  EXPECT_EQ(*CountActivationBytes(b.graph), 3 * 4 * 64 * 4);
}

TEST(ActivationMemoryTest, AgreesWithShapesUnderAnyPolicy) {
  for (const char* name : {"resnet20", "mobilenetv2", "vgg-small"}) {
    const Graph graph = *BuildNetwork(name, {.weightless = true});
    const Grouping grouping = *BuildGroups(graph);
    const ActivationMemory memory = *ActivationMemory::Create(graph, grouping);
    std::vector<int64_t> kept;
    for (const PruneGroup& group : grouping.groups) kept.push_back(group.channels);
    EXPECT_EQ(memory.Evaluate(kept), *CountActivationBytes(graph)) << name;
    Rng rng(1);
    for (int i = 0; i < 50; ++i) {
      for (size_t g = 0; g < kept.size(); ++g) {
        const PruneGroup& group = grouping.groups[g];
        kept[g] = group.cells * (1 + rng.Below(group.channels / group.cells));
      }
      // The shapes that surgery would leave: every axis is as long as its slots that are kept.
      Graph shrunk = graph;
      for (const ChannelAxis& axis : grouping.axes) {
        int64_t length = 0;
        for (const ChannelRef& slot : axis.slots) {
          length += slot.group == ChannelRef::kWhole || slot.index < kept[slot.group];
        }
        shrunk.tensors[Index(axis.tensor)].shape[axis.dim] = length / axis.conv_groups;
      }
      ASSERT_EQ(memory.Evaluate(kept), *CountActivationBytes(shrunk)) << name;
    }
  }
}

TEST(ActivationMemoryTest, GrowsWithEveryGroup) {
  const Graph graph = *BuildNetwork("mobilenetv2", {.weightless = true});
  const Grouping grouping = *BuildGroups(graph);
  const ActivationMemory memory = *ActivationMemory::Create(graph, grouping);
  const auto function = memory.Function();
  EXPECT_TRUE(function->monotone());
  std::vector<int64_t> kept(grouping.groups.size(), 4);
  const int64_t before = function->Evaluate(kept);
  for (size_t g = 0; g < kept.size(); ++g) {
    const int64_t more = std::min<int64_t>(8, grouping.groups[g].channels);
    EXPECT_GE(function->EvaluateChange(kept, before, static_cast<int32_t>(g), more), before);
  }
}

TEST(ActivationMemoryTest, NamesATensorWithoutShape) {
  Graph graph = Chain().graph;
  Tensor& tensor = graph.tensors[Index(graph.nodes[1].outputs[0])];
  tensor.shape_known = false;
  graph.outputs.push_back(graph.nodes[0].outputs[0]);  // so that nothing is overwritten
  EXPECT_THAT(std::string(CountActivationBytes(graph).status().message()), HasSubstr(tensor.name));
}

}  // namespace
}  // namespace amc
