// ONNX as we write it: valid, the same bytes every time, nothing lost between import and export.
#include "env/graph/onnx_export.h"

#include <map>

#include "base/file.h"
#include "env/graph/onnx_import.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "onnx/checker.h"
#include "onnx/onnx_pb.h"
#include "onnx/shape_inference/implementation.h"
#include "tests/env/graph/onnx_builder.h"
#include "tests/test_data.h"

namespace amc {
namespace {

using ::amc::testing::AddFloats;
using ::amc::testing::AddInts;
using ::amc::testing::SetValue;
using ::amc::testing::SmallModel;
using ::testing::HasSubstr;

onnx::ModelProto Parse(const std::string& bytes) {
  onnx::ModelProto model;
  EXPECT_TRUE(model.ParseFromString(bytes));
  return model;
}

Graph Import(const onnx::ModelProto& model) {
  absl::StatusOr<Graph> graph = ImportOnnx(model.SerializeAsString());
  EXPECT_TRUE(graph.ok()) << graph.status();
  return graph.ok() ? *std::move(graph) : Graph{};
}

// ONNX's checker and its strict shape inference, which compares its shapes with the recorded ones.
void ExpectValid(const std::string& bytes) {
  onnx::ModelProto model = Parse(bytes);
  EXPECT_NO_THROW(onnx::checker::check_model(model));
  EXPECT_NO_THROW(onnx::shape_inference::InferShapes(
      model, onnx::OpSchemaRegistry::Instance(),
      onnx::ShapeInferenceOptions{/*check_type=*/true, /*strict_mode=*/1, /*data_prop=*/true}));
}

bool SameAttribute(const Attribute& a, const Attribute& b) {
  if (a.index() != b.index()) return false;
  if (const auto* x = std::get_if<TensorValue>(&a)) {
    const auto& y = std::get<TensorValue>(b);
    return x->type == y.type && x->shape == y.shape && *x->data == *y.data;
  }
  if (const auto* x = std::get_if<OpaqueAttribute>(&a)) {
    return x->bytes == std::get<OpaqueAttribute>(b).bytes;
  }
  return std::visit(
      [&](const auto& x) {
        using T = std::decay_t<decltype(x)>;
        if constexpr (std::is_same_v<T, TensorValue> || std::is_same_v<T, OpaqueAttribute>) {
          return false;
        } else {
          return x == std::get<T>(b);
        }
      },
      a);
}

// Equal up to the order of tensors.
void ExpectSameGraph(const Graph& a, const Graph& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.ir_version, b.ir_version);
  EXPECT_EQ(a.opsets, b.opsets);
  EXPECT_EQ(a.producer_name, b.producer_name);
  EXPECT_EQ(a.producer_version, b.producer_version);
  EXPECT_EQ(a.domain, b.domain);
  EXPECT_EQ(a.model_version, b.model_version);
  EXPECT_EQ(a.doc_string, b.doc_string);
  EXPECT_EQ(a.graph_doc_string, b.graph_doc_string);
  EXPECT_EQ(a.metadata, b.metadata);
  EXPECT_EQ(a.batch_symbol, b.batch_symbol);
  EXPECT_EQ(a.fixed_batch, b.fixed_batch);
  const auto names = [](const Graph& graph, const std::vector<TensorId>& ids) {
    std::vector<std::string> result;
    for (const TensorId id : ids) {
      result.push_back(id == TensorId::kNone ? "" : graph.tensor(id).name);
    }
    return result;
  };
  EXPECT_EQ(names(a, a.inputs), names(b, b.inputs));
  EXPECT_EQ(names(a, a.outputs), names(b, b.outputs));
  ASSERT_EQ(a.nodes.size(), b.nodes.size());
  for (size_t i = 0; i < a.nodes.size(); ++i) {
    const Node& x = a.nodes[i];
    const Node& y = b.nodes[i];
    SCOPED_TRACE(NodeLabel(a, x));
    EXPECT_EQ(x.name, y.name);
    EXPECT_EQ(x.op_type, y.op_type);
    EXPECT_EQ(x.domain, y.domain);
    EXPECT_EQ(x.op, y.op);
    EXPECT_EQ(x.doc_string, y.doc_string);
    EXPECT_EQ(names(a, x.inputs), names(b, y.inputs));
    EXPECT_EQ(names(a, x.outputs), names(b, y.outputs));
    ASSERT_EQ(x.attributes.size(), y.attributes.size());
    for (const auto& [name, value] : x.attributes) {
      ASSERT_EQ(y.attributes.count(name), 1u) << name;
      EXPECT_TRUE(SameAttribute(value, y.attributes.at(name))) << name;
    }
  }
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const Tensor& x : a.tensors) {
    SCOPED_TRACE(x.name);
    const TensorId id = b.FindTensor(x.name);
    ASSERT_NE(id, TensorId::kNone);
    const Tensor& y = b.tensor(id);
    EXPECT_EQ(x.type, y.type);
    EXPECT_EQ(x.shape_known, y.shape_known);
    EXPECT_EQ(x.shape, y.shape);
    ASSERT_EQ(x.is_constant, y.is_constant);
    if (x.is_constant) {
      EXPECT_EQ(*x.data, *y.data);
    }
  }
}

void ExpectRoundTrip(const Graph& graph) {
  const absl::StatusOr<std::string> bytes = ExportOnnx(graph);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const absl::StatusOr<Graph> back = ImportOnnx(*bytes);
  ASSERT_TRUE(back.ok()) << back.status();
  ExpectSameGraph(graph, *back);
  EXPECT_EQ(ExportOnnx(*back).value(), *bytes);
}

onnx::ModelProto RichModel() {
  onnx::ModelProto model = SmallModel();
  model.set_doc_string("model");
  model.set_domain("org.example");
  model.set_model_version(7);
  model.mutable_graph()->set_doc_string("graph");
  model.mutable_graph()->mutable_node(0)->set_doc_string("node");
  for (const char* key : {"b", "a"}) {
    auto* entry = model.add_metadata_props();
    entry->set_key(key);
    entry->set_value("value");
  }
  return model;
}

TEST(OnnxExportTest, NothingIsLostBetweenImportAndExport) { ExpectRoundTrip(Import(RichModel())); }

TEST(OnnxExportTest, ExportIsValidOnnx) {
  ExpectValid(ExportOnnx(Import(RichModel())).value());
  for (const std::string& name : ZooNames()) {
    SCOPED_TRACE(name);
    ExpectValid(ExportOnnx(BuildNetwork(name, {}).value()).value());
  }
}

TEST(OnnxExportTest, InputsAndOutputsKeepNamesAndBatch) {
  const onnx::ModelProto model = Parse(ExportOnnx(Import(SmallModel("images"))).value());
  ASSERT_EQ(model.graph().input_size(), 1);
  EXPECT_EQ(model.graph().input(0).name(), "input");
  const auto& shape = model.graph().input(0).type().tensor_type().shape();
  EXPECT_EQ(shape.dim(0).dim_param(), "images");
  EXPECT_EQ(shape.dim(1).dim_value(), 3);
  EXPECT_EQ(model.graph().output(0).name(), "logits");
  EXPECT_EQ(model.graph().output(0).type().tensor_type().shape().dim(0).dim_param(), "images");
}

TEST(OnnxExportTest, FixedBatchComesBackAsItWas) {
  const Graph graph = Import(SmallModel("4"));
  const std::string bytes = ExportOnnx(graph).value();
  const onnx::ModelProto model = Parse(bytes);
  EXPECT_EQ(model.graph().input(0).type().tensor_type().shape().dim(0).dim_value(), 4);
  EXPECT_EQ(model.graph().output(0).type().tensor_type().shape().dim(0).dim_value(), 4);
  ExpectValid(bytes);
  ExpectRoundTrip(graph);
}

TEST(OnnxExportTest, UnnamedBatchStaysUnnamed) {
  const Graph graph = Import(SmallModel(""));
  const onnx::ModelProto model = Parse(ExportOnnx(graph).value());
  const auto& batch = model.graph().input(0).type().tensor_type().shape().dim(0);
  EXPECT_FALSE(batch.has_dim_value());
  EXPECT_FALSE(batch.has_dim_param());
  ExpectRoundTrip(graph);
}

TEST(OnnxExportTest, WeightsAreRawLittleEndianBytes) {
  const onnx::ModelProto model = Parse(ExportOnnx(Import(SmallModel())).value());
  std::map<std::string, const onnx::TensorProto*> tensors;
  for (const auto& tensor : model.graph().initializer()) tensors[tensor.name()] = &tensor;
  const onnx::TensorProto& bias = *tensors.at("conv.bias");
  EXPECT_EQ(bias.data_type(), onnx::TensorProto::FLOAT);
  EXPECT_EQ(bias.float_data_size(), 0);
  ASSERT_EQ(bias.raw_data().size(), 16u);
  EXPECT_EQ(bias.raw_data().substr(0, 4), std::string("\x00\x00\x00\xbf", 4));  // -0.5
}

TEST(OnnxExportTest, OldIrVersionsListWeightsAmongTheInputs) {
  onnx::ModelProto model = SmallModel("batch", 9);
  model.set_ir_version(3);
  AddFloats(model, "fc.bias", {5});
  model.mutable_graph()->mutable_node(3)->add_input("fc.bias");
  const Graph graph = Import(model);
  const std::string bytes = ExportOnnx(graph).value();
  EXPECT_EQ(Parse(bytes).graph().input_size(), 5);
  EXPECT_NO_THROW(onnx::checker::check_model(Parse(bytes)));
  ExpectRoundTrip(graph);
}

TEST(OnnxExportTest, UnknownOperatorsAndTheirAttributesComeBack) {
  onnx::ModelProto model = SmallModel();
  auto* import = model.add_opset_import();
  import->set_domain("com.example");
  import->set_version(2);
  onnx::NodeProto* node = model.mutable_graph()->mutable_node(1);
  node->set_op_type("Frobnicate");
  node->set_domain("com.example");
  SetValue(model.mutable_graph()->add_value_info(), "r", {"batch", "4", "6", "6"});
  const auto add = [&](const std::string& name, onnx::AttributeProto::AttributeType type) {
    onnx::AttributeProto* attribute = node->add_attribute();
    attribute->set_name(name);
    attribute->set_type(type);
    return attribute;
  };
  add("f", onnx::AttributeProto::FLOAT)->set_f(0.5F);
  add("i", onnx::AttributeProto::INT)->set_i(-3);
  add("s", onnx::AttributeProto::STRING)->set_s(std::string("a\0b", 3));
  add("floats", onnx::AttributeProto::FLOATS)->add_floats(1.5F);
  add("none", onnx::AttributeProto::INTS);
  add("strings", onnx::AttributeProto::STRINGS)->add_strings("x");
  auto* tensor = add("t", onnx::AttributeProto::TENSOR)->mutable_t();
  tensor->set_data_type(onnx::TensorProto::INT32);
  tensor->add_dims(2);
  tensor->add_int32_data(1);
  tensor->add_int32_data(-1);
  auto* body = add("g", onnx::AttributeProto::GRAPH)->mutable_g();
  body->set_name("body");
  SetValue(body->add_input(), "own", {"4"});
  const Graph graph = Import(model);
  ExpectRoundTrip(graph);
  const onnx::ModelProto exported = Parse(ExportOnnx(graph).value());
  EXPECT_EQ(exported.graph().node(1).attribute_size(), 8);
  EXPECT_EQ(exported.opset_import_size(), 2);
}

TEST(OnnxExportTest, TheSameGraphGivesTheSameBytes) {
  const Graph graph = Import(RichModel());
  const Graph copy = graph;
  EXPECT_EQ(ExportOnnx(graph).value(), ExportOnnx(copy).value());
}

TEST(OnnxExportTest, WeightlessNetworksAreNotExported) {
  const Graph graph = BuildNetwork("plain20", {.weightless = true}).value();
  const absl::Status status = ExportOnnx(graph).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("conv1.weight"));
}

TEST(OnnxExportTest, SavedFilesLoadAndErrorsNameThePath) {
  const TempDirectory directory = TempDirectory::Create().value();
  const Graph graph = Import(SmallModel());
  ASSERT_TRUE(SaveOnnx(graph, directory.path() + "/model.onnx").ok());
  const absl::StatusOr<Graph> back = LoadOnnx(directory.path() + "/model.onnx");
  ASSERT_TRUE(back.ok()) << back.status();
  ExpectSameGraph(graph, *back);
  const absl::Status nowhere = SaveOnnx(graph, directory.path() + "/no/model.onnx");
  EXPECT_THAT(std::string(nowhere.message()), HasSubstr("/no/model.onnx"));
}

TEST(OnnxExportTest, ReferenceModelsGoRound) {
  AMC_TEST_DATA_OR_SKIP(folder, "models");
  for (const char* name : {"resnet20-cifar10", "resnet56-cifar10-folded"}) {
    const absl::StatusOr<Graph> graph = LoadOnnx(folder + "/" + name + ".onnx");
    ASSERT_TRUE(graph.ok()) << graph.status();
    ExpectRoundTrip(*graph);
    ExpectValid(ExportOnnx(*graph).value());
  }
}

}  // namespace
}  // namespace amc
