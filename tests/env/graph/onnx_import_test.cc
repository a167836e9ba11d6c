// ONNX files as they come: by good exporters, by old ones, truncated, contradictory, hostile.
#include "env/graph/onnx_import.h"

#include <functional>
#include <limits>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "onnx/onnx_pb.h"
#include "tests/env/graph/onnx_builder.h"
#include "tests/test_data.h"

namespace amc {
namespace {

using ::amc::testing::AddFloats;
using ::amc::testing::AddInitializerInts;
using ::amc::testing::AddInts;
using ::amc::testing::AddNode;
using ::amc::testing::ModelWithReshape;
using ::amc::testing::SetValue;
using ::amc::testing::SmallModel;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

absl::StatusOr<Graph> Import(const onnx::ModelProto& model) {
  return ImportOnnx(model.SerializeAsString());
}

Graph ImportOk(const onnx::ModelProto& model) {
  absl::StatusOr<Graph> graph = Import(model);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return graph.ok() ? *std::move(graph) : Graph{};
}

std::string Problem(const absl::StatusOr<Graph>& graph) {
  EXPECT_EQ(graph.status().code(), absl::StatusCode::kInvalidArgument) << graph.status();
  return std::string(graph.status().message());
}

// What import says of the small model with one thing changed.
std::string ProblemAfter(const std::function<void(onnx::ModelProto&)>& change) {
  onnx::ModelProto model = SmallModel();
  change(model);
  return Problem(Import(model));
}

std::vector<std::string> Operators(const Graph& graph) {
  std::vector<std::string> types;
  for (const Node& node : graph.nodes) types.push_back(node.op_type);
  return types;
}

const Shape& ShapeOf(const Graph& graph, const std::string& name) {
  static const Shape kNone = {-99};
  const TensorId id = graph.FindTensor(name);
  return id == TensorId::kNone ? kNone : graph.tensor(id).shape;
}

TEST(OnnxImportTest, KeepsTheWordsOfTheFile) {
  onnx::ModelProto model = SmallModel();
  model.set_doc_string("about the model");
  model.mutable_graph()->set_doc_string("about the graph");
  model.mutable_graph()->mutable_node(1)->set_doc_string("about the node");
  model.set_model_version(3);
  auto* entry = model.add_metadata_props();
  entry->set_key("license");
  entry->set_value("MIT");
  const Graph graph = ImportOk(model);
  EXPECT_EQ(graph.name, "small");
  EXPECT_EQ(graph.ir_version, 7);
  EXPECT_EQ(graph.opset(), 13);
  EXPECT_EQ(graph.producer_name, "maker");
  EXPECT_EQ(graph.producer_version, "1.2");
  EXPECT_EQ(graph.model_version, 3);
  EXPECT_EQ(graph.doc_string, "about the model");
  EXPECT_EQ(graph.graph_doc_string, "about the graph");
  EXPECT_EQ(graph.nodes[1].doc_string, "about the node");
  EXPECT_EQ(graph.metadata.at("license"), "MIT");
  EXPECT_EQ(graph.batch_symbol, "batch");
  EXPECT_THAT(Operators(graph), ElementsAre("Conv", "Relu", "Flatten", "Gemm"));
  EXPECT_EQ(graph.nodes[0].name, "conv");
}

TEST(OnnxImportTest, ActivationsHaveShapesAndWeightsTheirValues) {
  const Graph graph = ImportOk(SmallModel());
  EXPECT_EQ(ShapeOf(graph, "input"), (Shape{kDynamic, 3, 8, 8}));
  EXPECT_EQ(ShapeOf(graph, "r"), (Shape{kDynamic, 4, 6, 6}));
  EXPECT_EQ(ShapeOf(graph, "logits"), (Shape{kDynamic, 5}));
  EXPECT_EQ(Values<float>(graph, graph.FindTensor("conv.bias")).value()[1], 0.01F - 0.5F);
}

TEST(OnnxImportTest, RawAndTypedWeightsAreTheSame) {
  onnx::ModelProto model = SmallModel();
  const Graph typed = ImportOk(model);
  for (auto& tensor : *model.mutable_graph()->mutable_initializer()) {
    tensor.set_raw_data(tensor.float_data().data(), 4 * tensor.float_data_size());
    tensor.clear_float_data();
  }
  const Graph raw = ImportOk(model);
  for (const char* name : {"conv.weight", "conv.bias", "fc.weight"}) {
    EXPECT_EQ(*typed.tensor(typed.FindTensor(name)).data, *raw.tensor(raw.FindTensor(name)).data);
  }
}

TEST(OnnxImportTest, OldFilesListWeightsAmongTheInputs) {
  onnx::ModelProto model = SmallModel("batch", 9);
  model.set_ir_version(3);
  AddFloats(model, "fc.bias", {5});
  model.mutable_graph()->mutable_node(3)->add_input("fc.bias");
  for (const auto& tensor : model.graph().initializer()) {
    std::vector<std::string> dims;
    for (const int64_t dim : tensor.dims()) dims.push_back(std::to_string(dim));
    SetValue(model.mutable_graph()->add_input(), tensor.name(), dims);
  }
  const Graph graph = ImportOk(model);
  ASSERT_EQ(graph.inputs.size(), 1u);
  EXPECT_EQ(graph.tensor(graph.inputs[0]).name, "input");
  EXPECT_TRUE(graph.tensor(graph.FindTensor("conv.weight")).is_constant);
}

TEST(OnnxImportTest, TheDefaultDomainHasTwoNames) {
  onnx::ModelProto model = SmallModel();
  model.mutable_opset_import(0)->set_domain("ai.onnx");
  model.mutable_graph()->mutable_node(0)->set_domain("ai.onnx");
  const Graph graph = ImportOk(model);
  EXPECT_EQ(graph.opset(), 13);
  ASSERT_FALSE(graph.nodes.empty());
  EXPECT_EQ(graph.nodes[0].op, Op::kConv);
  EXPECT_EQ(graph.nodes[0].domain, "");
}

TEST(OnnxImportTest, OpsetsFromNineOn) {
  for (const int64_t opset : {11, 13, 17, 18, 19, 21}) {
    onnx::ModelProto model = SmallModel("batch", opset);
    model.set_ir_version(opset > 17 ? 10 : 7);
    EXPECT_EQ(ImportOk(model).opset(), opset);
  }
  EXPECT_THAT(Problem(Import(SmallModel("batch", 8))), AllOf(HasSubstr("opset 8"), HasSubstr("9")));
  EXPECT_THAT(ProblemAfter([](auto& m) { m.clear_opset_import(); }), HasSubstr("opset 0"));
  EXPECT_THAT(ProblemAfter([](auto& m) { *m.add_opset_import() = m.opset_import(0); }),
              HasSubstr("twice"));
  EXPECT_THAT(Problem(Import(SmallModel("batch", std::numeric_limits<int64_t>::max()))),
              HasSubstr("opset 9223372036854775807"));
}

// Opset 18 moved the axes of ReduceMean and Pad into inputs and gave Split its number of outputs;
// libonnx 1.12 knows none of that.
TEST(OnnxImportTest, LaterOpsetsSpeakInTheirOwnWords) {
  onnx::ModelProto model = SmallModel("batch", 18);
  AddInitializerInts(model, "spatial", {2, 3});
  AddNode(model, "ReduceMean", "mean", {"r", "spatial"}, {"mean"});
  AddInitializerInts(model, "amounts", {1, 2, 3, 4});
  AddNode(model, "Pad", "pad", {"r", "amounts", "", "spatial"}, {"padded"});
  onnx::NodeProto* split = AddNode(model, "Split", "split", {"padded"}, {"upper", "lower"});
  for (const auto& [name, value] : {std::pair("axis", 2), std::pair("num_outputs", 2)}) {
    onnx::AttributeProto* attribute = split->add_attribute();
    attribute->set_name(name);
    attribute->set_type(onnx::AttributeProto::INT);
    attribute->set_i(value);
  }
  const Graph graph = ImportOk(model);
  EXPECT_EQ(ShapeOf(graph, "mean"), (Shape{kDynamic, 4, 1, 1}));
  EXPECT_EQ(ShapeOf(graph, "padded"), (Shape{kDynamic, 4, 10, 12}));
  EXPECT_EQ(ShapeOf(graph, "lower"), (Shape{kDynamic, 4, 5, 12}));
}

TEST(OnnxImportTest, NodesMayStandInAnyOrder) {
  onnx::ModelProto model = SmallModel();
  model.mutable_graph()->mutable_node()->SwapElements(0, 3);
  model.mutable_graph()->mutable_node()->SwapElements(1, 2);
  EXPECT_THAT(Operators(ImportOk(model)), ElementsAre("Conv", "Relu", "Flatten", "Gemm"));
}

// Batches.

TEST(OnnxImportTest, UnnamedBatchIsDynamic) {
  const Graph graph = ImportOk(SmallModel(""));
  EXPECT_EQ(ShapeOf(graph, "logits"), (Shape{kDynamic, 5}));
  EXPECT_EQ(graph.batch_symbol, "");
  EXPECT_EQ(graph.fixed_batch, 0);
}

TEST(OnnxImportTest, FixedBatchBecomesDynamicWhereNothingDependsOnIt) {
  const Graph graph = ImportOk(SmallModel("4"));
  EXPECT_EQ(ShapeOf(graph, "input"), (Shape{kDynamic, 3, 8, 8}));
  EXPECT_EQ(ShapeOf(graph, "logits"), (Shape{kDynamic, 5}));
  EXPECT_EQ(graph.fixed_batch, 4);
}

TEST(OnnxImportTest, ReshapesThatNameTheBatchAreFreed) {
  for (const std::vector<int64_t>& target :
       {std::vector<int64_t>{4, 144}, {4, -1}, {-1, 144}, {0, -1}}) {
    const Graph graph = ImportOk(ModelWithReshape("4", target));
    EXPECT_EQ(graph.fixed_batch, 4);
    EXPECT_EQ(ShapeOf(graph, "f"), (Shape{kDynamic, 144}));
  }
}

TEST(OnnxImportTest, ReshapesOfLaterOpsetsAreFreedToo) {
  onnx::ModelProto model = ModelWithReshape("1", {1, 144});
  model.mutable_opset_import(0)->set_version(16);
  auto* allow_zero = model.mutable_graph()->mutable_node(2)->add_attribute();
  allow_zero->set_name("allowzero");
  allow_zero->set_type(onnx::AttributeProto::INT);
  EXPECT_EQ(ShapeOf(ImportOk(model), "f"), (Shape{kDynamic, 144}));
  allow_zero->set_i(1);
  EXPECT_EQ(ShapeOf(ImportOk(model), "f"), (Shape{1, 144}));
}

TEST(OnnxImportTest, BatchThatSomethingDependsOnStaysFixed) {
  onnx::ModelProto model = SmallModel("4");
  AddFloats(model, "offset", {4, 1});  // another offset for each image
  model.mutable_graph()->mutable_node(3)->set_output(0, "product");
  AddNode(model, "Add", "add", {"product", "offset"}, {"logits"});
  const Graph graph = ImportOk(model);
  EXPECT_EQ(graph.fixed_batch, 0);
  EXPECT_EQ(ShapeOf(graph, "logits"), (Shape{4, 5}));
}

TEST(OnnxImportTest, OtherDynamicAxesAreRefusedWithAdvice) {
  const std::string problem = ProblemAfter([](auto& m) {
    SetValue(m.mutable_graph()->mutable_input(0), "input", {});
    m.mutable_graph()->mutable_input(0)->clear_type();
    SetValue(m.mutable_graph()->mutable_input(0), "input", {"batch", "3", "height", "8"});
  });
  EXPECT_THAT(problem, AllOf(HasSubstr("input input"), HasSubstr("axis 2"), HasSubstr("\"height\""),
                             HasSubstr("fixed channel count, height and width")));
}

TEST(OnnxImportTest, InputsWithoutAShapeAreRefused) {
  EXPECT_THAT(ProblemAfter([](auto& m) { m.mutable_graph()->mutable_input(0)->clear_type(); }),
              AllOf(HasSubstr("input input"), HasSubstr("shape")));
}

// Files that are none.

TEST(OnnxImportTest, WhatIsNoOnnxIsRefusedWithItsSize) {
  EXPECT_THAT(Problem(ImportOnnx("")),
              AllOf(HasSubstr("not a valid ONNX file"), HasSubstr("0 bytes")));
  EXPECT_THAT(Problem(ImportOnnx("GIF89a, surely")), HasSubstr("not protobuf (14 bytes)"));
  EXPECT_THAT(Problem(ImportOnnx(std::string(1000, '\xff'))), HasSubstr("(1000 bytes)"));
  const std::string bytes = SmallModel().SerializeAsString();
  EXPECT_THAT(Problem(ImportOnnx(bytes.substr(0, bytes.size() / 2))),
              AllOf(HasSubstr("truncated or not protobuf"),
                    HasSubstr(std::to_string(bytes.size() / 2) + " bytes")));
}

TEST(OnnxImportTest, LoadingNamesThePath) {
  const TempDirectory directory = TempDirectory::Create().value();
  const std::string path = directory.path() + "/model.onnx";
  EXPECT_EQ(LoadOnnx(path).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteFileAtomically(path, "no model").ok());
  EXPECT_THAT(Problem(LoadOnnx(path)), StartsWith(path));
  ASSERT_TRUE(WriteFileAtomically(path, SmallModel().SerializeAsString()).ok());
  EXPECT_TRUE(LoadOnnx(path).ok());
}

// Graphs that contradict themselves.

TEST(OnnxImportTest, CyclesNameANodeOnThem) {
  const std::string problem = ProblemAfter([](auto& m) {
    AddNode(m, "Relu", "before", {"after"}, {"between"});
    AddNode(m, "Relu", "behind", {"between"}, {"after"});
    AddNode(m, "Relu", "far", {"after"}, {"aside"});
  });
  EXPECT_THAT(problem,
              AllOf(HasSubstr("cycle"), AnyOf(HasSubstr("Relu before"), HasSubstr("Relu behind"))));
}

TEST(OnnxImportTest, NodeThatReadsItselfIsACycle) {
  EXPECT_THAT(ProblemAfter([](auto& m) {
                AddNode(m, "Add", "self", {"r", "s"}, {"s"});
              }),
              HasSubstr("Add self"));
}

TEST(OnnxImportTest, EdgesToNowhereAreNamed) {
  EXPECT_THAT(ProblemAfter([](auto& m) { m.mutable_graph()->mutable_node(1)->set_input(0, "zz"); }),
              AllOf(HasSubstr("Relu relu"), HasSubstr("zz")));
  EXPECT_THAT(ProblemAfter([](auto& m) { m.mutable_graph()->mutable_output(0)->set_name("zz"); }),
              AllOf(HasSubstr("output zz")));
  EXPECT_THAT(ProblemAfter([](auto& m) { m.mutable_graph()->clear_output(); }),
              HasSubstr("no outputs"));
}

TEST(OnnxImportTest, NamesAreDefinedOnce) {
  EXPECT_THAT(ProblemAfter([](auto& m) { AddNode(m, "Relu", "twin", {"c"}, {"r"}); }),
              AllOf(HasSubstr("Relu twin"), HasSubstr("tensor r is defined twice")));
  EXPECT_THAT(ProblemAfter([](auto& m) { AddFloats(m, "conv.bias", {4}); }),
              HasSubstr("conv.bias is defined twice"));
  EXPECT_THAT(ProblemAfter([](auto& m) { AddNode(m, "Relu", "back", {"c"}, {"input"}); }),
              HasSubstr("tensor input is defined twice"));
}

TEST(OnnxImportTest, MissingInputsAreNamed) {
  EXPECT_THAT(ProblemAfter([](auto& m) {
                m.mutable_graph()->mutable_node(0)->mutable_input()->RemoveLast();
                m.mutable_graph()->mutable_node(0)->mutable_input()->RemoveLast();
              }),
              HasSubstr("conv"));
  EXPECT_THAT(ProblemAfter([](auto& m) { m.mutable_graph()->mutable_node(0)->set_input(0, ""); }),
              AllOf(HasSubstr("Conv conv"), HasSubstr("input 0")));
}

TEST(OnnxImportTest, AttributesAreCheckedAgainstTheSchema) {
  EXPECT_THAT(
      ProblemAfter([](auto& m) { AddInts(m.mutable_graph()->mutable_node(1), "sharpness", {1}); }),
      AllOf(HasSubstr("Relu relu"), HasSubstr("sharpness")));
}

// Weights.

TEST(OnnxImportTest, WeightBytesMustFillTheShape) {
  EXPECT_THAT(ProblemAfter([](auto& m) {
                auto& tensor = *m.mutable_graph()->mutable_initializer(0);
                tensor.clear_float_data();
                tensor.set_raw_data(std::string(100, 'x'));
              }),
              AllOf(HasSubstr("tensor conv.weight"), HasSubstr("100 bytes"),
                    HasSubstr("expected 432"), HasSubstr("4x3x3x3")));
  EXPECT_THAT(
      ProblemAfter([](auto& m) { m.mutable_graph()->mutable_initializer(1)->add_float_data(1); }),
      AllOf(HasSubstr("tensor conv.bias"), HasSubstr("5 values"), HasSubstr("expected 4")));
  EXPECT_THAT(
      ProblemAfter([](auto& m) { m.mutable_graph()->mutable_initializer(1)->clear_float_data(); }),
      HasSubstr("0 values, expected 4"));
}

TEST(OnnxImportTest, CorruptDimensionsAreRefusedWithoutAllocating) {
  const auto with_dim = [](int64_t dim) {
    return ProblemAfter(
        [dim](auto& m) { m.mutable_graph()->mutable_initializer(1)->set_dims(0, dim); });
  };
  EXPECT_THAT(with_dim(int64_t{10} << 30), AllOf(HasSubstr("conv.bias"), HasSubstr("10737418240")));
  EXPECT_THAT(with_dim(int64_t{1} << 40), AllOf(HasSubstr("conv.bias"), HasSubstr("2^34")));
  EXPECT_THAT(with_dim(std::numeric_limits<int64_t>::max()), HasSubstr("conv.bias"));
  EXPECT_THAT(with_dim(-4), HasSubstr("negative dimension -4"));
  EXPECT_THAT(ProblemAfter([](auto& m) {
                auto& tensor = *m.mutable_graph()->mutable_initializer(1);
                for (int i = 0; i < 8; ++i) tensor.add_dims(int64_t{1} << 20);
              }),
              AllOf(HasSubstr("conv.bias"), HasSubstr("2^34")));
  EXPECT_THAT(
      ProblemAfter([](auto& m) {
        m.mutable_graph()->mutable_input(0)->clear_type();
        SetValue(m.mutable_graph()->mutable_input(0), "input", {"batch", "3", "10000000000", "8"});
      }),
      AllOf(HasSubstr("input input"), HasSubstr("2^34")));
}

// Such a tensor has no elements, so that its other dimensions need no bytes to be there.
TEST(OnnxImportTest, HugeDimensionsBehindAZeroAreRefused) {
  constexpr int64_t kHuge = int64_t{1} << 62;
  EXPECT_THAT(ProblemAfter([](auto& m) {
                auto& tensor = *m.mutable_graph()->mutable_initializer(1);
                tensor.clear_float_data();
                tensor.clear_dims();
                for (const int64_t dim : {kHuge, int64_t{1}, int64_t{0}}) tensor.add_dims(dim);
              }),
              AllOf(HasSubstr("conv.bias"), HasSubstr("2^34")));
  // Two that are fine alone, joined or multiplied.
  const auto with = [](const std::string& op_type, const Shape& a, const Shape& b) {
    return ProblemAfter([&](onnx::ModelProto& m) {
      AddFloats(m, "a", a);
      AddFloats(m, "b", b);
      auto* node = AddNode(m, op_type, "join", {"a", "b"}, {"joined"});
      if (op_type != "Concat") return;
      auto* axis = node->add_attribute();
      axis->set_name("axis");
      axis->set_type(onnx::AttributeProto::INT);
      axis->set_i(0);
    });
  };
  constexpr int64_t kLarge = int64_t{1} << 33;
  EXPECT_THAT(with("MatMul", {kLarge, 0}, {0, kLarge}),
              AllOf(HasSubstr("join"), HasSubstr("2^34")));
  EXPECT_THAT(with("Concat", {2 * kLarge, 0}, {2 * kLarge, 0}),
              AllOf(HasSubstr("join"), HasSubstr("2^34")));
}

// Jobs and policies hold names in protobuf strings, which no reader takes with other bytes.
TEST(OnnxImportTest, NamesThatAreNotUtf8AreRefusedAndSaidWhere) {
  const std::string bad = "caf\xE9";
  const auto said = AllOf(HasSubstr("\"caf\xEF\xBF\xBD\""), HasSubstr("from byte 3"));
  const auto first = [](onnx::ModelProto& m) { return m.mutable_graph()->mutable_node(0); };
  const std::vector<std::pair<std::string, std::function<void(onnx::ModelProto&)>>> places = {
      {"name of node 0", [&](auto& m) { first(m)->set_name(bad); }},
      {"operator of node 0", [&](auto& m) { first(m)->set_op_type(bad); }},
      {"domain of node 0", [&](auto& m) { first(m)->set_domain(bad); }},
      {"input of node 0", [&](auto& m) { first(m)->set_input(0, bad); }},
      {"output of node 0", [&](auto& m) { first(m)->set_output(0, bad); }},
      {"attribute 0", [&](auto& m) { first(m)->mutable_attribute(0)->set_name(bad); }},
      {"initializer 1", [&](auto& m) { m.mutable_graph()->mutable_initializer(1)->set_name(bad); }},
      {"input 0", [&](auto& m) { m.mutable_graph()->mutable_input(0)->set_name(bad); }},
      {"output 0", [&](auto& m) { m.mutable_graph()->mutable_output(0)->set_name(bad); }},
      {"graph", [&](auto& m) { m.mutable_graph()->set_name(bad); }},
      {"producer", [&](auto& m) { m.set_producer_name(bad); }},
      {"dimension of input input",
       [&](auto& m) {
         m.mutable_graph()->mutable_input(0)->clear_type();
         SetValue(m.mutable_graph()->mutable_input(0), "input", {bad, "3", "8", "8"});
       }},
  };
  for (const auto& [where, change] : places) {
    EXPECT_THAT(ProblemAfter(change), AllOf(HasSubstr(where), said)) << where;
  }
}

TEST(OnnxImportTest, MetadataMayHoldAnyBytesAndKeepsThem) {
  onnx::ModelProto model = SmallModel();
  auto& entry = *model.add_metadata_props();
  entry.set_key("caf\xE9");
  entry.set_value("\xFF");
  EXPECT_EQ(ImportOk(model).metadata.at("caf\xE9"), "\xFF");
}

TEST(OnnxImportTest, NamesInAnyScriptAreKept) {
  onnx::ModelProto model = SmallModel();
  model.mutable_graph()->mutable_node(0)->set_name("\xE5\x8D\xB7\xE7\xA9\x8D");
  EXPECT_EQ(ImportOk(model).nodes[0].name, "\xE5\x8D\xB7\xE7\xA9\x8D");
}

TEST(OnnxImportTest, ForeignWeightsAreRefused) {
  EXPECT_THAT(
      ProblemAfter([](auto& m) {
        m.mutable_graph()->mutable_initializer(0)->set_data_location(onnx::TensorProto::EXTERNAL);
      }),
      AllOf(HasSubstr("conv.weight"), HasSubstr("another file")));
  EXPECT_THAT(
      ProblemAfter([](auto& m) {
        m.mutable_graph()->mutable_initializer(0)->set_data_type(onnx::TensorProto::COMPLEX64);
      }),
      AllOf(HasSubstr("conv.weight"), HasSubstr("COMPLEX64")));
  EXPECT_THAT(
      ProblemAfter([](auto& m) { m.mutable_graph()->mutable_initializer(0)->set_data_type(4242); }),
      AllOf(HasSubstr("conv.weight"), HasSubstr("4242")));
}

TEST(OnnxImportTest, ShapesThatDoNotFitNameTheNode) {
  EXPECT_THAT(ProblemAfter([](auto& m) {
                m.mutable_graph()->mutable_input(0)->clear_type();
                SetValue(m.mutable_graph()->mutable_input(0), "input", {"batch", "4", "8", "8"});
              }),
              AllOf(HasSubstr("Conv conv"), HasSubstr("4x3x3x3"), HasSubstr("Nx4x8x8")));
  EXPECT_THAT(Problem(Import(ModelWithReshape("batch", {0, 143}))),
              AllOf(HasSubstr("Reshape flatten"), HasSubstr("[0, 143]")));
}

// Operators that nobody knows.

TEST(OnnxImportTest, UnknownOperatorsAreCarriedAlong) {
  for (const std::string domain : {"", "com.example"}) {
    onnx::ModelProto model = SmallModel();
    onnx::NodeProto* node = model.mutable_graph()->mutable_node(1);
    node->set_op_type("Frobnicate");
    node->set_domain(domain);
    AddInts(node, "depth", {3});
    SetValue(model.mutable_graph()->add_value_info(), "r", {"batch", "4", "6", "6"});
    const Graph graph = ImportOk(model);
    EXPECT_EQ(graph.nodes[1].op, Op::kUnknown);
    EXPECT_EQ(std::get<std::vector<int64_t>>(graph.nodes[1].attributes.at("depth")),
              std::vector<int64_t>{3});
    EXPECT_EQ(ShapeOf(graph, "logits"), (Shape{kDynamic, 5}));  // by what the file records
  }
}

TEST(OnnxImportTest, ShapesOfOnnxsOtherOperatorsAreInferred) {
  onnx::ModelProto model = SmallModel();
  model.mutable_graph()->mutable_node(1)->set_op_type("Erf");
  const Graph graph = ImportOk(model);
  EXPECT_EQ(graph.nodes[1].op, Op::kUnknown);
  EXPECT_EQ(ShapeOf(graph, "r"), (Shape{kDynamic, 4, 6, 6}));
  EXPECT_EQ(ShapeOf(graph, "logits"), (Shape{kDynamic, 5}));
}

// libonnx 1.12 reads past the end of this weight's shape if asked for the output's.
TEST(OnnxImportTest, OnnxsOwnInferenceIsNotTrustedWithHostileShapes) {
  onnx::ModelProto model = SmallModel();
  *model.mutable_graph()->mutable_node(1) = onnx::NodeProto();
  onnx::NodeProto* node = model.mutable_graph()->mutable_node(1);
  node->set_op_type("ConvTranspose");
  node->set_name("up");
  node->add_input("c");
  node->add_input("conv.bias");  // of rank 1
  node->add_output("r");
  const Graph graph = ImportOk(model);
  ASSERT_EQ(graph.nodes.size(), 4u);
  EXPECT_FALSE(graph.tensor(graph.FindTensor("r")).shape_known);
}

TEST(OnnxImportTest, WhatFollowsAnUnknownShapeIsUnknownToo) {
  onnx::ModelProto model = SmallModel();
  model.mutable_graph()->mutable_node(1)->set_op_type("Frobnicate");
  const Graph graph = ImportOk(model);
  EXPECT_EQ(graph.nodes[0].op, Op::kConv);
  for (size_t i = 1; i < graph.nodes.size(); ++i) EXPECT_EQ(graph.nodes[i].op, Op::kUnknown);
}

TEST(OnnxImportTest, SubgraphsMustNotReadTheNetworkAroundThem) {
  const auto with_body = [](const std::string& read) {
    onnx::ModelProto model = SmallModel();
    onnx::NodeProto* node = model.mutable_graph()->mutable_node(1);
    node->set_op_type("Frobnicate");
    onnx::AttributeProto* body = node->add_attribute();
    body->set_name("body");
    body->set_type(onnx::AttributeProto::GRAPH);
    SetValue(body->mutable_g()->add_input(), "own", {"4"});
    onnx::NodeProto* inner = body->mutable_g()->add_node();
    inner->set_op_type("Relu");
    inner->add_input(read);
    inner->add_output("out");
    return model;
  };
  EXPECT_TRUE(Import(with_body("own")).ok());
  EXPECT_THAT(Problem(Import(with_body("conv.bias"))),
              AllOf(HasSubstr("Frobnicate relu"), HasSubstr("conv.bias")));
}

// Real networks.

TEST(OnnxImportTest, ReadsTheReferenceModels) {
  AMC_TEST_DATA_OR_SKIP(folder, "models");
  for (const char* name : {"resnet20-cifar10", "resnet20-cifar10-folded", "resnet56-cifar10",
                           "resnet56-cifar10-folded"}) {
    const absl::StatusOr<Graph> graph = LoadOnnx(folder + "/" + name + ".onnx");
    ASSERT_TRUE(graph.ok()) << graph.status();
    EXPECT_EQ(graph->tensor(graph->outputs[0]).shape, (Shape{kDynamic, 10}));
    for (const Node& node : graph->nodes) {
      EXPECT_NE(node.op, Op::kUnknown) << NodeLabel(*graph, node);
      for (const TensorId id : node.outputs) EXPECT_TRUE(graph->tensor(id).shape_known);
    }
  }
}

}  // namespace
}  // namespace amc
