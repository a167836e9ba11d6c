// Shapes of every operator: against ONNX's own shape inference, against numbers worked out by hand
// where ONNX is silent or our graphs differ (the dynamic batch), and what does not fit.
#include "env/graph/shape_inference.h"

#include <limits>

#include "env/graph/onnx_export.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "onnx/onnx_pb.h"
#include "onnx/shape_inference/implementation.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::Attributes;
using ::amc::testing::GraphBuilder;
using ::testing::AllOf;
using ::testing::HasSubstr;

using Ints = std::vector<int64_t>;
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

// The shape of `name` as ONNX infers it from the exported model, stripped of all our shapes.
Shape OnnxShape(const Graph& graph, const std::string& name) {
  onnx::ModelProto model;
  EXPECT_TRUE(model.ParseFromString(ExportOnnx(graph).value()));
  model.mutable_graph()->clear_value_info();
  for (auto& output : *model.mutable_graph()->mutable_output()) {
    output.clear_type();
  }
  onnx::shape_inference::InferShapes(model);
  Shape shape;
  for (const auto& output : model.graph().output()) {
    if (output.name() != name) continue;
    for (const auto& dim : output.type().tensor_type().shape().dim()) {
      shape.push_back(dim.has_dim_value() ? dim.dim_value() : kDynamic);
    }
  }
  return shape;
}

// One operator on a float input: our shape, checked against ONNX's for a batch of 2 and a dynamic
// one. Constants: floats by shape, or integers.
struct Case {
  std::string op_type;
  Attributes attributes = {};
  std::vector<std::variant<Shape, std::vector<Ints>>> constants = {};  // shape, or {integers}
  Shape input = {2, 6, 7, 9};
  int64_t opset = 13;
  int outputs = 1;
};
using Weight = Shape;
std::vector<Ints> Values(Ints values) { return {std::move(values)}; }

void ExpectOnnxAgrees(const Case& c) {
  SCOPED_TRACE(c.op_type);
  for (const bool dynamic : {false, true}) {
    GraphBuilder b(c.opset);
    b.graph.batch_symbol = "N";
    Shape shape = c.input;
    if (dynamic) shape[0] = kDynamic;
    std::vector<TensorId> inputs = {b.Input(shape)};
    for (const auto& constant : c.constants) {
      const auto* floats = std::get_if<Shape>(&constant);
      inputs.push_back(floats != nullptr ? b.Floats(*floats)
                                         : b.Ints(std::get<std::vector<Ints>>(constant).front()));
    }
    for (const TensorId output : b.Ops(c.op_type, inputs, c.outputs, c.attributes)) {
      b.Output(output);
      const Tensor& tensor = b.graph.tensor(output);
      EXPECT_TRUE(tensor.shape_known);
      EXPECT_EQ(tensor.shape, OnnxShape(b.graph, tensor.name))
          << ShapeToString(tensor.shape) << " for an input of " << ShapeToString(shape);
    }
  }
}

TEST(ShapeInferenceTest, ConvolutionsAgreeWithOnnx) {
  const Weight w = {4, 6, 3, 3};
  for (const Ints& strides : {Ints{1, 1}, Ints{2, 2}, Ints{3, 1}}) {
    for (const Ints& dilations : {Ints{1, 1}, Ints{2, 3}}) {
      ExpectOnnxAgrees({"Conv", {{"strides", strides}, {"dilations", dilations}}, {w}});
      ExpectOnnxAgrees(
          {"Conv",
           {{"strides", strides}, {"dilations", dilations}, {"pads", Ints{1, 2, 0, 3}}},
           {w, Weight{4}}});
      for (const char* auto_pad : {"SAME_UPPER", "SAME_LOWER", "VALID"}) {
        ExpectOnnxAgrees(
            {"Conv",
             {{"strides", strides}, {"dilations", dilations}, {"auto_pad", std::string(auto_pad)}},
             {w}});
      }
    }
  }
  ExpectOnnxAgrees({"Conv", {{"group", int64_t{3}}}, {Weight{9, 2, 1, 5}}});
  ExpectOnnxAgrees({"Conv", {{"group", int64_t{6}}}, {Weight{12, 1, 3, 3}}});
}

TEST(ShapeInferenceTest, PoolsAgreeWithOnnx) {
  for (const char* op : {"MaxPool", "AveragePool"}) {
    for (const int64_t ceil_mode : {0, 1}) {
      for (const Ints& strides : {Ints{1, 1}, Ints{2, 2}, Ints{3, 2}}) {
        for (const Ints& pads : {Ints{0, 0, 0, 0}, Ints{1, 0, 1, 2}}) {
          ExpectOnnxAgrees({op,
                            {{"kernel_shape", Ints{3, 4}},
                             {"strides", strides},
                             {"pads", pads},
                             {"ceil_mode", ceil_mode}}});
        }
      }
    }
    ExpectOnnxAgrees({op,
                      {{"kernel_shape", Ints{2, 2}},
                       {"auto_pad", std::string("SAME_UPPER")},
                       {"strides", Ints{2, 2}}}});
  }
  ExpectOnnxAgrees({"MaxPool", {{"kernel_shape", Ints{2, 2}}, {"dilations", Ints{2, 3}}}});
  ExpectOnnxAgrees({"GlobalAveragePool"});
}

// ONNX 1.12 counts a last window that lies in the padding alone; PyTorch and later versions of ONNX
// leave it out. torch.nn.MaxPool2d(1, 4, ceil_mode=True, padding=0) of 6 x 6 gives 2 x 2, and with
// kernel 2, stride 3, padding 1 of 4 x 4 gives 2 x 2.
TEST(ShapeInferenceTest, CeilModeLeavesOutWindowsInThePadding) {
  GraphBuilder b;
  const TensorId x = b.Input({kDynamic, 1, 6, 4});
  const TensorId y = b.Op("MaxPool", {x},
                          {{"kernel_shape", Ints{1, 2}},
                           {"strides", Ints{4, 3}},
                           {"pads", Ints{0, 1, 0, 1}},
                           {"ceil_mode", int64_t{1}}});
  EXPECT_EQ(b.graph.tensor(y).shape, (Shape{kDynamic, 1, 2, 2}));
}

TEST(ShapeInferenceTest, ElementwiseOperatorsBroadcastAsInOnnx) {
  for (const char* op : {"Add", "Sub", "Mul"}) {
    for (const Shape& other : {Shape{}, Shape{1}, Shape{9}, Shape{6, 1, 1}, Shape{1, 6, 7, 9},
                               Shape{1, 1, 1, 1}, Shape{3, 1, 6, 1, 9}}) {
      if (other.size() > 4) continue;
      ExpectOnnxAgrees({op, {}, {other}});
    }
  }
  ExpectOnnxAgrees({"Mul", {}, {Shape{5, 1, 6, 1, 9}}});
  for (const char* op : {"Relu", "Sigmoid", "HardSigmoid", "LeakyRelu", "Identity"}) {
    ExpectOnnxAgrees({op});
  }
  ExpectOnnxAgrees({.op_type = "HardSwish", .opset = 14});
  ExpectOnnxAgrees({"Softmax"});
  ExpectOnnxAgrees({"Clip", {}, {Shape{}, Shape{}}});
  ExpectOnnxAgrees({"BatchNormalization", {}, {Shape{6}, Shape{6}, Shape{6}, Shape{6}}});
  ExpectOnnxAgrees({.op_type = "Dropout", .outputs = 2});
}

TEST(ShapeInferenceTest, ReshapesAgreeWithOnnx) {
  for (const Ints& target : {Ints{0, -1}, Ints{0, 6, 63}, Ints{0, 0, -1, 3}, Ints{0, 7, 0, -1},
                             Ints{0, 2, 3, 7, 9}, Ints{0, 1, 6, 7, 9, 1}}) {
    if (target == Ints{0, 7, 0, -1}) continue;  // 7 x 7 does not divide 6 x 7 x 9
    ExpectOnnxAgrees({"Reshape", {}, {Values(target)}});
  }
  for (const int64_t axis : {1, -3}) ExpectOnnxAgrees({"Flatten", {{"axis", axis}}});
  ExpectOnnxAgrees({"Unsqueeze", {}, {Values({1, -1})}});
  ExpectOnnxAgrees({"Squeeze", {}, {Values({-1, 1})}, {2, 1, 5, 1}});
  ExpectOnnxAgrees({"Squeeze", {{"axes", Ints{2}}}, {}, {2, 6, 1, 1}, 11});
  ExpectOnnxAgrees({"Transpose", {{"perm", Ints{0, 2, 3, 1}}}});
  ExpectOnnxAgrees({"Transpose"});
}

TEST(ShapeInferenceTest, CutsAndJoinsAgreeWithOnnx) {
  ExpectOnnxAgrees({"Pad", {}, {Values({0, 1, 2, -3, 0, 4, -1, 6})}});
  ExpectOnnxAgrees({"Pad", {{"mode", std::string("reflect")}}, {Values({0, 0, 2, 3, 0, 0, 6, 1})}});
  ExpectOnnxAgrees({"Pad", {{"pads", Ints{0, 0, 1, 1, 0, 0, 1, 1}}}, {}, {2, 6, 7, 9}, 10});
  ExpectOnnxAgrees(
      {"Slice", {}, {Values({0, 0}), Values({kMax, kMax}), Values({2, 3}), Values({2, 2})}});
  ExpectOnnxAgrees({"Slice", {}, {Values({-3}), Values({-1}), Values({1})}});
  ExpectOnnxAgrees({"Slice", {}, {Values({-1}), Values({-kMax}), Values({3}), Values({-2})}});
  ExpectOnnxAgrees({"Slice", {}, {Values({5}), Values({2}), Values({3}), Values({1})}});
  ExpectOnnxAgrees(
      {"Slice", {{"starts", Ints{1}}, {"ends", Ints{5}}, {"axes", Ints{1}}}, {}, {2, 6, 7, 9}, 9});
  ExpectOnnxAgrees({"Split", {{"axis", int64_t{1}}}, {Values({1, 2, 3})}, {2, 6, 7, 9}, 13, 3});
  ExpectOnnxAgrees({"Split", {{"axis", int64_t{-1}}}, {}, {2, 6, 7, 9}, 13, 3});
  ExpectOnnxAgrees(
      {"Split", {{"axis", int64_t{1}}, {"split", Ints{4, 2}}}, {}, {2, 6, 7, 9}, 11, 2});
  for (const int64_t keep : {0, 1}) {
    ExpectOnnxAgrees({"ReduceMean", {{"axes", Ints{2, -1}}, {"keepdims", keep}}});
  }
  GraphBuilder b;
  b.graph.batch_symbol = "N";
  const TensorId x = b.Input({kDynamic, 6, 7, 9});
  const TensorId y = b.Input({kDynamic, 2, 7, 9}, "other");
  const TensorId joined = b.Op("Concat", {x, y, x}, {{"axis", int64_t{-3}}});
  b.Output(joined);
  EXPECT_EQ(b.graph.tensor(joined).shape, (Shape{kDynamic, 14, 7, 9}));
  EXPECT_EQ(b.graph.tensor(joined).shape, OnnxShape(b.graph, b.graph.tensor(joined).name));
}

TEST(ShapeInferenceTest, ProductsAgreeWithOnnx) {
  ExpectOnnxAgrees({"Gemm", {}, {Shape{5, 8}, Shape{8}}, {2, 5}});
  ExpectOnnxAgrees({"Gemm", {{"transB", int64_t{1}}}, {Shape{8, 5}, Shape{1, 8}}, {2, 5}});
  ExpectOnnxAgrees({"MatMul", {}, {Shape{9, 4}}});
  ExpectOnnxAgrees({"MatMul", {}, {Shape{6, 9, 4}}});
  ExpectOnnxAgrees({"MatMul", {}, {Shape{3, 1, 1, 9, 4}}});
  ExpectOnnxAgrees({"MatMul", {}, {Shape{9}}});
  ExpectOnnxAgrees({"MatMul", {}, {Shape{5, 4}}, {2, 5}});
}

TEST(ShapeInferenceTest, VectorsMultiplyAsInNumpy) {
  GraphBuilder b;
  const TensorId row = b.Input({5});
  EXPECT_EQ(b.graph.tensor(b.Op("MatMul", {row, b.Floats({5, 4})})).shape, (Shape{4}));
  EXPECT_EQ(b.graph.tensor(b.Op("MatMul", {row, b.Floats({3, 5, 4})})).shape, (Shape{3, 4}));
  EXPECT_EQ(b.graph.tensor(b.Op("MatMul", {row, b.Floats({5})})).shape, (Shape{}));
}

TEST(ShapeInferenceTest, MinusOneMayStandForTheBatch) {
  GraphBuilder b;
  const TensorId x = b.Input({kDynamic, 6, 7, 9});
  EXPECT_EQ(b.graph.tensor(b.Op("Reshape", {x, b.Ints({-1, 6 * 7 * 9})})).shape,
            (Shape{kDynamic, 378}));
  EXPECT_EQ(b.graph.tensor(b.Op("Reshape", {x, b.Ints({6, -1, 63})})).shape,
            (Shape{6, kDynamic, 63}));
}

// The status of one more node on an input of shape N x 6 x 7 x 9.
absl::Status Infer(const std::string& op_type, std::vector<Tensor> constants,
                   Attributes attributes = {}, int outputs = 1) {
  Graph graph;
  graph.opsets[""] = 13;
  Node node{.name = "n", .op_type = op_type, .attributes = std::move(attributes)};
  node.inputs.push_back(
      graph.AddTensor({.name = "x", .shape_known = true, .shape = {kDynamic, 6, 7, 9}}));
  for (Tensor& constant : constants) node.inputs.push_back(graph.AddTensor(std::move(constant)));
  for (int i = 0; i < outputs; ++i) node.outputs.push_back(graph.AddTensor({.name = "y"}));
  graph.AddNode(std::move(node));
  return InferShapes(graph);
}

Tensor IntVector(const Ints& values) {
  return MakeInts("ints", {static_cast<int64_t>(values.size())}, values);
}

TEST(ShapeInferenceTest, MisfitsNameNodeAndShapes) {
  const auto problem = [](const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(" n: "));
    return std::string(status.message());
  };
  EXPECT_THAT(problem(Infer("Add", {MakeWeightless("c", {5})})),
              AllOf(HasSubstr("Nx6x7x9"), HasSubstr("and 5")));
  EXPECT_THAT(problem(Infer("Conv", {MakeWeightless("w", {4, 6, 9, 3})})),
              AllOf(HasSubstr("window of 9"), HasSubstr("axis of 7")));
  EXPECT_THAT(problem(Infer("Conv", {MakeWeightless("w", {4, 6, 3, 3}), MakeWeightless("b", {5})})),
              AllOf(HasSubstr("5"), HasSubstr("expected 4")));
  EXPECT_THAT(problem(Infer("Conv", {})), HasSubstr("1 inputs, expected 2"));
  EXPECT_THAT(problem(Infer("Relu", {MakeWeightless("w", {1})})), HasSubstr("2 inputs"));
  EXPECT_THAT(problem(Infer("Relu", {}, {}, 2)), HasSubstr("2 outputs"));
  EXPECT_THAT(problem(Infer("Relu", {}, {}, 0)), HasSubstr("0 outputs"));
  EXPECT_THAT(
      problem(Infer("BatchNormalization", {MakeWeightless("s", {6}), MakeWeightless("b", {6}),
                                           MakeWeightless("m", {5}), MakeWeightless("v", {6})})),
      AllOf(HasSubstr("input 3"), HasSubstr("expected 6")));
  EXPECT_THAT(problem(Infer("Reshape", {IntVector({0, 5, -1})})), HasSubstr("[0, 5, -1]"));
  EXPECT_THAT(problem(Infer("Reshape", {IntVector({0, -1, -1})})), HasSubstr("[0, -1, -1]"));
  EXPECT_THAT(problem(Infer("Reshape", {IntVector({0, 0, 0, 0, 0})})), HasSubstr("reshape"));
  EXPECT_THAT(problem(Infer("Gemm", {MakeWeightless("w", {5, 8})})), HasSubstr("two matrices"));
  EXPECT_THAT(problem(Infer("MatMul", {MakeWeightless("w", {5, 8})})), HasSubstr("5x8"));
  EXPECT_THAT(problem(Infer("Concat", {MakeWeightless("w", {1, 6, 7})}, {{"axis", int64_t{1}}})),
              HasSubstr("1x6x7"));
  EXPECT_THAT(problem(Infer("Pad", {IntVector({0, 0, -4, 0, 0, 0, -4, 0})})),
              HasSubstr("axis of 7"));
  EXPECT_THAT(problem(Infer("Pad", {IntVector({0, 0, 7, 0, 0, 0, 0, 0})},
                            {{"mode", std::string("reflect")}})),
              HasSubstr("axis of 7"));
  EXPECT_THAT(problem(Infer("Squeeze", {IntVector({1})})), HasSubstr("squeezes axis 1"));
  EXPECT_THAT(problem(Infer("Softmax", {}, {{"axis", int64_t{4}}})), HasSubstr("axis 4"));
}

TEST(ShapeInferenceTest, TensorsTooLargeToBeRealAreRefused) {
  const absl::Status status = Infer("Pad", {IntVector({0, 0, 1 << 30, 1 << 30, 0, 0, 0, 0})});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("2^34"));
}

TEST(ShapeInferenceTest, WhatShapesCannotExpressIsUnimplemented) {
  const auto code = [](const absl::Status& status) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(" n: "));
    return status.code();
  };
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  EXPECT_EQ(code(Infer("Reshape", {IntVector({-1, 63})})), kUnimplemented);  // 6 N rows
  EXPECT_EQ(code(Infer("Reshape", {IntVector({1, 378})})), kUnimplemented);  // for N = 1 alone
  EXPECT_EQ(code(Infer("Flatten", {}, {{"axis", int64_t{2}}})), kUnimplemented);
  EXPECT_EQ(code(Infer("ReduceMean", {}, {{"axes", Ints{0}}})), kUnimplemented);
  EXPECT_EQ(code(Infer("Pad", {IntVector({1, 0, 0, 0, 0, 0, 0, 0})})), kUnimplemented);
  EXPECT_EQ(code(Infer("Add", {MakeWeightless("c", {4, 6, 7, 9})})), kUnimplemented);
  EXPECT_EQ(code(Infer("Squeeze", {IntVector({0})})), kUnimplemented);
}

TEST(ShapeInferenceTest, UnknownOperatorsKeepTheirRecordedShape) {
  Graph graph;
  graph.opsets[""] = 13;
  const TensorId x = graph.AddTensor({.name = "x", .shape_known = true, .shape = {kDynamic, 4}});
  const TensorId y = graph.AddTensor({.name = "y", .shape_known = true, .shape = {kDynamic, 9}});
  const TensorId z = graph.AddTensor({.name = "z"});
  graph.AddNode({.name = "n", .op_type = "Foo", .inputs = {x}, .outputs = {y}});
  graph.AddNode({.name = "r", .op_type = "Relu", .inputs = {y}, .outputs = {z}});
  ASSERT_TRUE(InferShapes(graph).ok());
  EXPECT_EQ(graph.tensor(z).shape, (Shape{kDynamic, 9}));
  graph.tensor(y).shape_known = false;
  EXPECT_THAT(std::string(InferShapes(graph).message()), HasSubstr("the shape of y is unknown"));
}

}  // namespace
}  // namespace amc
