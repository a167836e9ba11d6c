// The network as data: names, numbers of elements, typed constants, renumbering.
#include "env/graph/graph.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Message(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(GraphTest, ShapesAreWrittenWithTheBatchAsN) {
  EXPECT_EQ(ShapeToString({kDynamic, 3, 32, 32}), "Nx3x32x32");
  EXPECT_EQ(ShapeToString({7}), "7");
  EXPECT_EQ(ShapeToString({}), "scalar");
}

TEST(GraphTest, ElementsAreCountedPerImage) {
  EXPECT_EQ(NumElements({}).value(), 1);
  EXPECT_EQ(NumElements({2, 3, 4}).value(), 24);
  EXPECT_EQ(NumElements({kDynamic, 3, 4}).value(), 12);
  EXPECT_EQ(NumElements({5, 0}).value(), 0);
  EXPECT_EQ(NumElements({int64_t{1} << 62}).value(), int64_t{1} << 62);
}

TEST(GraphTest, ImpossibleShapesAreRefused) {
  EXPECT_THAT(Message(NumElements({2, -3}).status()), HasSubstr("negative dimension -3"));
  EXPECT_THAT(Message(NumElements({int64_t{1} << 40, int64_t{1} << 40}).status()),
              HasSubstr("2^62"));
  EXPECT_THAT(Message(NumElements({std::numeric_limits<int64_t>::max(), 2}).status()),
              HasSubstr("2^62"));
}

TEST(GraphTest, OperatorsAreKnownInTheDefaultDomainOnly) {
  EXPECT_EQ(OpFromName("", "Conv"), Op::kConv);
  EXPECT_EQ(OpFromName("ai.onnx", "Conv"), Op::kConv);
  EXPECT_EQ(OpFromName("com.example", "Conv"), Op::kUnknown);
  EXPECT_EQ(OpFromName("", "conv"), Op::kUnknown);
  EXPECT_EQ(OpFromName("", ""), Op::kUnknown);
}

TEST(GraphTest, ElementSizesMatchTheirTypes) {
  EXPECT_EQ(ElementSize(DataType::kFloat), 4);
  EXPECT_EQ(ElementSize(DataType::kInt64), 8);
  EXPECT_EQ(ElementSize(DataType::kBfloat16), 2);
  EXPECT_EQ(ElementSize(DataType::kBool), 1);
  EXPECT_EQ(ElementSize(DataType::kString), 0);
  EXPECT_EQ(ElementSize(static_cast<DataType>(-5)), 0);
  EXPECT_EQ(DataTypeName(DataType::kFloat), "float32");
  EXPECT_EQ(DataTypeName(static_cast<DataType>(99)), "unknown");
}

TEST(GraphTest, ConstantsGiveBackTheirValues) {
  Graph graph;
  const TensorId floats = graph.AddTensor(MakeFloats("w", {2, 2}, {1, -2, 3.5, 0}));
  const TensorId ints = graph.AddTensor(MakeInts("i", {1}, {int64_t{1} << 40}));
  EXPECT_THAT(Values<float>(graph, floats).value(), ElementsAre(1, -2, 3.5, 0));
  EXPECT_THAT(Values<int64_t>(graph, ints).value(), ElementsAre(int64_t{1} << 40));
  EXPECT_THAT(graph.tensor(floats).shape, ElementsAre(2, 2));
}

TEST(GraphTest, EmptyConstantsHaveNoValues) {
  Graph graph;
  const TensorId empty = graph.AddTensor(MakeInts("axes", {0}, {}));
  EXPECT_TRUE(Values<int64_t>(graph, empty).value().empty());
}

TEST(GraphTest, ValuesNamesWhatIsNoConstantOfTheType) {
  Graph graph;
  const TensorId activation = graph.AddTensor({.name = "x"});
  const TensorId weightless = graph.AddTensor(MakeWeightless("empty", {3}));
  const TensorId floats = graph.AddTensor(MakeFloats("w", {1}, {1}));
  EXPECT_THAT(Message(Values<float>(graph, activation).status()), HasSubstr("x is computed"));
  EXPECT_THAT(Message(Values<float>(graph, weightless).status()), HasSubstr("empty has no weight"));
  EXPECT_THAT(Message(Values<int64_t>(graph, floats).status()),
              AllOf(HasSubstr("w holds float32"), HasSubstr("expected int64")));
  EXPECT_THAT(Message(Values<float>(graph, TensorId::kNone).status()), HasSubstr("omitted"));
}

// a -> Relu -> b -> Add(b, b) -> c, and a tensor that nothing uses.
Graph Chain() {
  Graph graph;
  graph.AddTensor({.name = "unused"});
  const TensorId a = graph.AddTensor({.name = "a"});
  const TensorId b = graph.AddTensor({.name = "b"});
  graph.AddTensor({.name = "unused too"});
  const TensorId c = graph.AddTensor({.name = "c"});
  graph.inputs = {a};
  graph.outputs = {c};
  graph.AddNode({.name = "relu", .op_type = "Relu", .inputs = {a}, .outputs = {b}});
  graph.AddNode({.op_type = "Add", .inputs = {b, b}, .outputs = {TensorId::kNone, c}});
  return graph;
}

TEST(GraphTest, ProducersAndConsumers) {
  const Graph graph = Chain();
  const std::vector<NodeId> producers = Producers(graph);
  EXPECT_EQ(producers[Index(graph.FindTensor("a"))], NodeId::kNone);
  EXPECT_EQ(producers[Index(graph.FindTensor("b"))], NodeId{0});
  EXPECT_EQ(producers[Index(graph.FindTensor("c"))], NodeId{1});
  const auto consumers = Consumers(graph);
  EXPECT_THAT(consumers[Index(graph.FindTensor("b"))], ElementsAre(NodeId{1}, NodeId{1}));
  EXPECT_TRUE(consumers[Index(graph.FindTensor("c"))].empty());
}

TEST(GraphTest, LabelsAlwaysSaySomething) {
  const Graph graph = Chain();
  EXPECT_EQ(NodeLabel(graph, graph.nodes[0]), "Relu relu");
  EXPECT_EQ(NodeLabel(graph, graph.nodes[1]), "Add -> c");
  EXPECT_EQ(NodeLabel(graph, Node{.op_type = "Foo"}), "Foo");
}

TEST(GraphTest, UnusedTensorsGoAndHandlesFollow) {
  Graph graph = Chain();
  RemoveUnusedTensors(graph);
  ASSERT_EQ(graph.tensors.size(), 3u);
  EXPECT_EQ(graph.FindTensor("unused"), TensorId::kNone);
  EXPECT_EQ(graph.tensor(graph.inputs[0]).name, "a");
  EXPECT_EQ(graph.tensor(graph.outputs[0]).name, "c");
  EXPECT_EQ(graph.tensor(graph.nodes[0].outputs[0]).name, "b");
  EXPECT_EQ(graph.tensor(graph.nodes[1].inputs[1]).name, "b");
  EXPECT_EQ(graph.nodes[1].outputs[0], TensorId::kNone);
}

TEST(GraphTest, CopiesShareWeights) {
  Graph graph;
  graph.AddTensor(MakeFloats("w", {2}, {1, 2}));
  const Graph copy = graph;
  EXPECT_EQ(copy.tensors[0].data.get(), graph.tensors[0].data.get());
}

}  // namespace
}  // namespace amc
