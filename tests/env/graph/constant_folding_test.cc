// Constant folding: what exporters leave behind, one pattern a test.
#include "env/graph/constant_folding.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::Attributes;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

// Builds graphs as files have them: no shapes but those of inputs and constants.
class Raw {
 public:
  explicit Raw(int64_t opset = 13) { graph.opsets[""] = opset; }
  TensorId Input(Shape shape) {
    const TensorId id =
        graph.AddTensor({.name = "input", .shape_known = true, .shape = std::move(shape)});
    graph.inputs.push_back(id);
    return id;
  }
  TensorId Ints(const std::vector<int64_t>& values) {
    return graph.AddTensor(MakeInts(Name(), {static_cast<int64_t>(values.size())}, values));
  }
  TensorId Int(int64_t value) { return graph.AddTensor(MakeInts(Name(), {}, {value})); }
  TensorId Floats(Shape shape, const std::vector<float>& values) {
    return graph.AddTensor(MakeFloats(Name(), std::move(shape), values));
  }
  TensorId Op(const std::string& op_type, std::vector<TensorId> inputs,
              Attributes attributes = {}) {
    const TensorId output = graph.AddTensor({.name = Name()});
    graph.AddNode({.op_type = op_type,
                   .inputs = std::move(inputs),
                   .outputs = {output},
                   .attributes = std::move(attributes)});
    return output;
  }
  // Folds a network that returns `output`, which gets the name "result".
  void Fold(TensorId output) {
    graph.tensor(output).name = "result";
    graph.outputs = {output};
    const absl::Status status =
        FoldConstants(graph, [](Graph&, const Node&, const KnownValues&) {});
    EXPECT_TRUE(status.ok()) << status;
  }
  std::vector<std::string> Operators() const {
    std::vector<std::string> types;
    for (const Node& node : graph.nodes) types.push_back(node.op_type);
    return types;
  }
  // The constant that input `i` of the last node is.
  std::vector<int64_t> IntInput(size_t i) const {
    const auto values = Values<int64_t>(graph, graph.nodes.back().inputs.at(i));
    EXPECT_TRUE(values.ok()) << values.status();
    return values.value_or(std::vector<int64_t>{});
  }
  const Tensor& Result() const { return graph.tensor(graph.outputs[0]); }

  Graph graph;

 private:
  std::string Name() { return absl::StrCat("t", next_name_++); }
  int next_name_ = 0;
};

// x.view(x.size(0), -1)
TEST(ConstantFoldingTest, ViewByBatchSizeBecomesAConstantTarget) {
  Raw r;
  const TensorId x = r.Input({kDynamic, 8, 2, 2});
  const TensorId size = r.Op("Gather", {r.Op("Shape", {x}), r.Int(0)}, {{"axis", int64_t{0}}});
  const TensorId target = r.Op("Concat", {r.Op("Unsqueeze", {size, r.Ints({0})}), r.Ints({-1})},
                               {{"axis", int64_t{0}}});
  r.Fold(r.Op("Reshape", {x, target}));
  EXPECT_THAT(r.Operators(), ElementsAre("Reshape"));
  EXPECT_THAT(r.IntInput(1), ElementsAre(0, -1));
  EXPECT_EQ(r.Result().shape, (Shape{kDynamic, 32}));
}

// From opset 14 on exporters say allowzero = 0, the default. With 1 there is no way to say "as the
// input", and the target stays computed.
TEST(ConstantFoldingTest, TargetsWithAllowZero) {
  for (const int64_t allow_zero : {0, 1}) {
    Raw r(14);
    const TensorId x = r.Input({kDynamic, 8, 2, 2});
    const TensorId size = r.Op("Slice", {r.Op("Shape", {x}), r.Ints({0}), r.Ints({1})});
    const TensorId target = r.Op("Concat", {size, r.Ints({32})}, {{"axis", int64_t{0}}});
    r.Fold(r.Op("Reshape", {x, target}, {{"allowzero", allow_zero}}));
    EXPECT_EQ(r.graph.nodes.size(), allow_zero == 0 ? 1u : 4u);
  }
}

// The channel shuffle: b, c, h, w = x.shape; x.view(b, 2, c // 2, h, w).
TEST(ConstantFoldingTest, ChannelShuffleHasAConstantTarget) {
  Raw r;
  const TensorId x = r.Input({kDynamic, 8, 5, 6});
  std::vector<TensorId> parts;
  for (int64_t axis = 0; axis < 4; ++axis) {
    TensorId size = r.Op("Gather", {r.Op("Shape", {x}), r.Int(axis)}, {{"axis", int64_t{0}}});
    if (axis == 1) {
      parts.push_back(r.Ints({2}));
      size = r.Op("Div", {size, r.Int(2)});
    }
    parts.push_back(r.Op("Unsqueeze", {size, r.Ints({0})}));
  }
  r.Fold(r.Op("Reshape", {x, r.Op("Concat", parts, {{"axis", int64_t{0}}})}));
  EXPECT_THAT(r.Operators(), ElementsAre("Reshape"));
  EXPECT_THAT(r.IntInput(1), ElementsAre(0, 2, 4, 5, 6));
}

// The batch elsewhere than in front of the input becomes -1.
TEST(ConstantFoldingTest, BatchThatMovesBecomesMinusOne) {
  Raw r;
  const TensorId x = r.Input({kDynamic, 8});
  const TensorId size = r.Op("Slice", {r.Op("Shape", {x}), r.Ints({0}), r.Ints({1})});
  const TensorId target = r.Op("Concat", {r.Ints({8}), size}, {{"axis", int64_t{0}}});
  r.Fold(r.Op("Reshape", {x, target}));
  EXPECT_THAT(r.IntInput(1), ElementsAre(8, -1));
}

TEST(ConstantFoldingTest, TargetWithTwoUnknownsStaysComputed) {
  Raw r;
  const TensorId x = r.Input({kDynamic, 8});
  const TensorId size = r.Op("Slice", {r.Op("Shape", {x}), r.Ints({0}), r.Ints({1})});
  const TensorId target = r.Op("Concat", {r.Ints({4, -1}), size}, {{"axis", int64_t{0}}});
  r.Fold(r.Op("Reshape", {x, target}));
  EXPECT_EQ(r.graph.nodes.back().op, Op::kUnknown);
  EXPECT_THAT(r.Operators(), ElementsAre("Shape", "Slice", "Concat", "Reshape"));
}

// torch.nn.functional.pad as PyTorch 1.x exports it: zeros for the other axes, the pairs reversed.
TEST(ConstantFoldingTest, PyTorchsComputedPadsBecomeConstant) {
  Raw r;
  const TensorId x = r.Input({kDynamic, 8, 5, 6});
  const TensorId zeros =
      r.Op("ConstantOfShape", {r.Ints({4})},
           {{"value", TensorValue{DataType::kInt64, {1}, MakeInts("", {1}, {0}).data}}});
  const TensorId all = r.Op("Concat", {r.Ints({1, 2, 3, 4}), zeros}, {{"axis", int64_t{0}}});
  const TensorId pairs = r.Op("Reshape", {all, r.Ints({-1, 2})});
  const TensorId reversed =
      r.Op("Slice", {pairs, r.Ints({-1}), r.Ints({kMin}), r.Ints({0}), r.Ints({-1})});
  const TensorId turned = r.Op("Transpose", {reversed}, {{"perm", std::vector<int64_t>{1, 0}}});
  const TensorId flat = r.Op("Reshape", {turned, r.Ints({-1})});
  r.Fold(r.Op("Pad", {x, r.Op("Cast", {flat}, {{"to", int64_t{7}}})}));
  EXPECT_THAT(r.Operators(), ElementsAre("Pad"));
  EXPECT_THAT(r.IntInput(1), ElementsAre(0, 0, 3, 1, 0, 0, 4, 2));
  EXPECT_EQ(r.Result().shape, (Shape{kDynamic, 8, 12, 9}));
}

TEST(ConstantFoldingTest, IntegerArithmeticTruncatesAsOnnxDoes) {
  Raw r;
  const TensorId x = r.Input({kDynamic, 60});
  const TensorId seven = r.Op("Sub", {r.Ints({10}), r.Ints({3})});
  const TensorId three = r.Op("Div", {seven, r.Ints({2})});
  const TensorId twelve = r.Op("Mul", {three, r.Ints({4})});
  const TensorId twenty =
      r.Op("Add", {twelve, r.Op("ReduceProd", {r.Ints({2, 4})}, {{"keepdims", int64_t{1}}})});
  const TensorId target =
      r.Op("Concat", {r.Ints({0}), twenty, r.Ints({-1})}, {{"axis", int64_t{0}}});
  r.Fold(r.Op("Reshape", {x, target}));
  EXPECT_THAT(r.IntInput(1), ElementsAre(0, 20, -1));
}

TEST(ConstantFoldingTest, FloatDetourOfSizesIsFollowed) {
  Raw r;
  const TensorId x = r.Input({kDynamic, 8, 5, 6});
  const TensorId height = r.Op("Gather", {r.Op("Shape", {x}), r.Ints({2})});
  const TensorId real = r.Op("Cast", {height}, {{"to", int64_t{1}}});
  const TensorId half = r.Op("Floor", {r.Op("Mul", {real, r.Floats({}, {0.5F})})});
  const TensorId end = r.Op("Cast", {half}, {{"to", int64_t{7}}});
  r.Fold(r.Op("Slice", {x, r.Ints({0}), end, r.Ints({2})}));
  EXPECT_THAT(r.Operators(), ElementsAre("Slice"));
  EXPECT_EQ(r.Result().shape, (Shape{kDynamic, 8, 2, 6}));
}

// torch.Tensor.expand: where(shape == -1, 1, shape), with the batch in the shape.
TEST(ConstantFoldingTest, WhereOnTheBatchIsDecidedForEverySize) {
  Raw r;
  const TensorId x = r.Input({kDynamic, 6});
  const TensorId size = r.Op("Slice", {r.Op("Shape", {x}), r.Ints({0}), r.Ints({1})});
  const TensorId wish = r.Op("Concat", {size, r.Ints({-1})}, {{"axis", int64_t{0}}});
  const TensorId equal = r.Op("Equal", {wish, r.Ints({-1})});
  const TensorId target = r.Op("Where", {equal, r.Ints({6, 6}), wish});
  r.Fold(r.Op("Reshape", {x, target}));
  EXPECT_THAT(r.Operators(), ElementsAre("Reshape"));
  EXPECT_THAT(r.IntInput(1), ElementsAre(0, 6));
}

TEST(ConstantFoldingTest, SharedWeightsBehindIdentityAreOneBuffer) {
  Raw r;
  const TensorId x = r.Input({kDynamic, 2, 1, 1});
  const TensorId w = r.Floats({2}, {1, 2});
  const TensorId norm = r.Op("BatchNormalization", {x, w, r.Op("Identity", {w}), w, w});
  r.Fold(norm);
  EXPECT_THAT(r.Operators(), ElementsAre("BatchNormalization"));
  const Node& node = r.graph.nodes[0];
  EXPECT_NE(node.inputs[1], node.inputs[2]);
  EXPECT_EQ(r.graph.tensor(node.inputs[1]).data, r.graph.tensor(node.inputs[2]).data);
}

TEST(ConstantFoldingTest, WeightsAreRearranged) {
  Raw r;
  const TensorId x = r.Input({kDynamic, 2});
  const TensorId w = r.Floats({3, 2}, {1, 2, 3, 4, 5, 6});
  const TensorId turned = r.Op("Transpose", {w});
  r.Fold(r.Op("MatMul", {x, turned}));
  EXPECT_THAT(r.Operators(), ElementsAre("MatMul"));
  EXPECT_THAT(Values<float>(r.graph, r.graph.nodes[0].inputs[1]).value(),
              ElementsAre(1, 3, 5, 2, 4, 6));
}

TEST(ConstantFoldingTest, ConstantNodesBecomeInitializers) {
  Raw r;
  const TensorId x = r.Input({kDynamic, 2});
  const auto tensor =
      r.Op("Constant", {},
           {{"value", TensorValue{DataType::kFloat, {2}, MakeFloats("", {2}, {3, 4}).data}}});
  const auto scalar = r.Op("Constant", {}, {{"value_float", 2.5F}});
  r.Fold(r.Op("Mul", {r.Op("Add", {x, tensor}), scalar}));
  EXPECT_THAT(r.Operators(), ElementsAre("Add", "Mul"));
  EXPECT_THAT(Values<float>(r.graph, r.graph.nodes[0].inputs[1]).value(), ElementsAre(3, 4));
  EXPECT_THAT(Values<float>(r.graph, r.graph.nodes[1].inputs[1]).value(), ElementsAre(2.5F));
}

TEST(ConstantFoldingTest, WhatTheNetworkReturnsStaysANode) {
  Raw r;
  r.Input({kDynamic, 2});
  r.Fold(r.Op("Add", {r.Ints({1}), r.Ints({2})}));
  EXPECT_THAT(r.Operators(), ElementsAre("Add"));
}

TEST(ConstantFoldingTest, DeadChainsGoButOtherDeadNodesStay) {
  Raw r;
  const TensorId x = r.Input({kDynamic, 2});
  r.Op("Gather", {r.Op("Shape", {x}), r.Int(0)});
  r.Op("Relu", {x});
  r.Fold(r.Op("Sigmoid", {x}));
  EXPECT_THAT(r.Operators(), ElementsAre("Relu", "Sigmoid"));
}

// Nothing here may crash, overflow or allocate; the node stays for someone else to refuse.
TEST(ConstantFoldingTest, NonsenseIsLeftAlone) {
  const auto stays = [](const std::string& op_type, const std::vector<std::vector<int64_t>>& values,
                        Attributes attributes = {}) {
    Raw r;
    std::vector<TensorId> inputs;
    for (const auto& v : values) inputs.push_back(r.Ints(v));
    const TensorId result = r.Op(op_type, inputs, std::move(attributes));
    r.Fold(r.Op("Foo", {result}));
    EXPECT_THAT(r.Operators(), ElementsAre(op_type, "Foo"));
  };
  stays("Div", {{1}, {0}});
  stays("Div", {{kMin}, {-1}});
  stays("Mul", {{kMax}, {2}});
  stays("Add", {{kMax}, {1}});
  stays("Sub", {{kMin}, {1}});
  stays("Equal", {{1, 2, 3}, {1, 2}});
  stays("Gather", {{1, 2}, {2}});
  stays("Gather", {{1, 2}, {-3}});
  stays("Gather", {{1, 2}, {0}}, {{"axis", int64_t{1}}});
  stays("ConstantOfShape", {{kMax}});
  stays("ConstantOfShape", {{-1}});
  stays("Expand", {{1}, {int64_t{1} << 40}});
  stays("Cast", {{kMax}}, {{"to", int64_t{6}}});
  stays("Cast", {{1}}, {{"to", int64_t{77}}});
  stays("ReduceProd", {{kMax, kMax}});
  stays("Floor", {{1}});
  stays("Where", {{1}, {1}, {1}});
}

TEST(ConstantFoldingTest, MisfitsAreErrors) {
  Raw r;
  const TensorId x = r.Input({kDynamic, 2});
  r.graph.outputs = {r.Op("Add", {x, r.Floats({3}, {1, 2, 3})})};
  EXPECT_EQ(FoldConstants(r.graph, [](Graph&, const Node&, const KnownValues&) {}).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ConstantFoldingTest, UnknownOperatorsAreAskedFor) {
  Raw r;
  const TensorId x = r.Input({kDynamic, 2});
  const TensorId y = r.Op("Foo", {x});
  const TensorId z = r.Op("Relu", {y});
  r.graph.outputs = {z};
  const auto infer = [&](Graph& graph, const Node& node, const KnownValues&) {
    EXPECT_EQ(node.op_type, "Foo");
    graph.tensor(y).shape = {kDynamic, 7};
    graph.tensor(y).shape_known = true;
  };
  Graph graph = r.graph;
  ASSERT_TRUE(FoldConstants(graph, infer).ok());
  EXPECT_EQ(graph.tensor(graph.outputs[0]).shape, (Shape{kDynamic, 7}));
  EXPECT_EQ(graph.nodes[1].op, Op::kRelu);
  // Without an answer, what follows cannot be followed either.
  ASSERT_TRUE(FoldConstants(r.graph, [](Graph&, const Node&, const KnownValues&) {}).ok());
  EXPECT_EQ(r.graph.nodes[1].op, Op::kUnknown);
  EXPECT_FALSE(r.Result().shape_known);
}

// Whether it drops anything is not known before it runs.
TEST(ConstantFoldingTest, DropoutWithAComputedModeIsNotFollowed) {
  Raw r;
  const TensorId x = r.Input({kDynamic, 4});
  r.Fold(r.Op("Dropout", {x, r.Floats({}, {0.5F}), r.Op("Cast", {x}, {{"to", int64_t{9}}})}));
  EXPECT_EQ(r.graph.nodes.back().op, Op::kUnknown);
}

// What would loop over the dimensions before a zero gives up instead.
TEST(ConstantFoldingTest, HugeDimensionsBehindAZeroAreNotWalked) {
  constexpr int64_t kHuge = int64_t{1} << 33;
  Raw gather;
  gather.Fold(
      gather.Op("Relu", {gather.Op("Gather", {gather.Floats({kHuge, 1, 0}, {}), gather.Int(0)},
                                   {{"axis", int64_t{1}}})}));
  EXPECT_THAT(gather.Operators(), ElementsAre("Gather", "Relu"));
  Raw concat;
  const TensorId empty = concat.Floats({kHuge, 1, 0}, {});
  concat.Fold(concat.Op("Relu", {concat.Op("Concat", {empty, empty}, {{"axis", int64_t{2}}})}));
  EXPECT_THAT(concat.Operators(), ElementsAre("Concat", "Relu"));
}

}  // namespace
}  // namespace amc
