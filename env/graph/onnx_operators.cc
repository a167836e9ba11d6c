#include "env/graph/onnx_operators.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "env/graph/onnx_values.h"
#include "env/graph/shape_inference.h"
#include "onnx/checker.h"
#include "onnx/defs/schema.h"
#include "onnx/defs/shape_inference.h"

namespace amc {
namespace {

// The dynamic batch in the dimensions that we show to ONNX.
constexpr char kBatchSymbol[] = "amc_batch";
// Larger constants are data, not parameters: their values do not matter for shapes.
constexpr size_t kMaxParameterBytes = 1 << 15;

// The schema of an operator, or null.
const onnx::OpSchema* FindSchema(const std::map<std::string, int64_t>& opsets,
                                 const std::string& domain, const std::string& op_type) {
  const std::string key = domain == "ai.onnx" ? "" : domain;
  const auto opset = opsets.find(key);
  if (opset == opsets.end()) return nullptr;
  const int64_t version = std::min<int64_t>(opset->second, 1 << 20);
  return onnx::OpSchemaRegistry::Schema(op_type, static_cast<int>(version), key);
}

void WriteType(const Tensor& tensor, onnx::TypeProto& proto) {
  if (tensor.type == DataType::kUndefined) return;
  auto& type = *proto.mutable_tensor_type();
  type.set_elem_type(static_cast<int32_t>(tensor.type));
  if (!tensor.shape_known) return;
  auto& shape = *type.mutable_shape();
  for (const int64_t dim : tensor.shape) {
    auto& written = *shape.add_dim();
    if (dim == kDynamic) {
      written.set_dim_param(kBatchSymbol);
    } else {
      written.set_dim_value(dim);
    }
  }
}

// Integers that depend on the batch, in the form in which ONNX keeps them.
onnx::TensorShapeProto WriteSymbolic(const KnownValue& value) {
  onnx::TensorShapeProto proto;
  const std::vector<int64_t> integers = Integers(value);
  for (size_t i = 0; i < integers.size(); ++i) {
    auto& dim = *proto.add_dim();
    if (value.batches[i] == 0) {
      dim.set_dim_value(integers[i]);
    } else if (value.batches[i] == 1 && integers[i] == 0) {
      dim.set_dim_param(kBatchSymbol);
    }
  }
  return proto;
}

// One node with what is known of its inputs, as an inference function wants to see it.
class NodeContext final : public onnx::InferenceContext {
 public:
  NodeContext(const Graph& graph, const Node& node, const KnownValues& values)
      : inputs_(node.inputs.size()), output_types_(node.outputs.size()) {
    for (const auto& [name, attribute] : node.attributes) {
      if (!WriteAttribute(name, attribute, attributes_[name]).ok()) attributes_.erase(name);
    }
    for (size_t i = 0; i < inputs_.size(); ++i) {
      if (node.inputs[i] == TensorId::kNone) continue;
      const Tensor& tensor = graph.tensor(node.inputs[i]);
      WriteType(tensor, inputs_[i].type);
      inputs_[i].has_type = inputs_[i].type.has_tensor_type();
      const std::optional<KnownValue>& value = values[Index(node.inputs[i])];
      if (!value || value->data->size() > kMaxParameterBytes) continue;
      if (value->is_constant()) {
        inputs_[i].data = std::make_unique<onnx::TensorProto>();
        WriteTensor(value->type, value->shape, *value->data, *inputs_[i].data);
      } else if (value->shape.size() == 1) {
        inputs_[i].symbolic = std::make_unique<onnx::TensorShapeProto>(WriteSymbolic(*value));
      }
    }
  }

  const onnx::AttributeProto* getAttribute(const std::string& name) const override {
    const auto found = attributes_.find(name);
    return found == attributes_.end() ? nullptr : &found->second;
  }
  size_t getNumInputs() const override { return inputs_.size(); }
  const onnx::TypeProto* getInputType(size_t i) const override {
    return i < inputs_.size() && inputs_[i].has_type ? &inputs_[i].type : nullptr;
  }
  const onnx::TensorProto* getInputData(size_t i) const override {
    return i < inputs_.size() ? inputs_[i].data.get() : nullptr;
  }
  const onnx::TensorShapeProto* getSymbolicInput(size_t i) const override {
    return i < inputs_.size() ? inputs_[i].symbolic.get() : nullptr;
  }
  const onnx::SparseTensorProto* getInputSparseData(size_t) const override { return nullptr; }
  size_t getNumOutputs() const override { return output_types_.size(); }
  onnx::TypeProto* getOutputType(size_t i) override { return &output_types_.at(i); }
  onnx::GraphInferencer* getGraphAttributeInferencer(const std::string&) override {
    return nullptr;
  }

 private:
  struct Input {
    bool has_type = false;
    onnx::TypeProto type;
    std::unique_ptr<onnx::TensorProto> data;
    std::unique_ptr<onnx::TensorShapeProto> symbolic;
  };
  std::map<std::string, onnx::AttributeProto> attributes_;
  std::vector<Input> inputs_;
  std::vector<onnx::TypeProto> output_types_;
};

// Operators whose inference function can be trusted with anything a file may hold. Others index
// shapes and divide by attributes without looking (ConvTranspose with a weight of rank 1 crashes
// libonnx 1.12), so that files that hold them must record the shapes themselves.
constexpr absl::string_view kTrusted[] = {
    // elementwise, with broadcasting
    "Abs",
    "And",
    "Cast",
    "Ceil",
    "Celu",
    "Cos",
    "Div",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Floor",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Log",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pow",
    "Reciprocal",
    "Round",
    "Selu",
    "Sign",
    "Sin",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sum",
    "Tanh",
    "ThresholdedRelu",
    "Where",
    "Xor",
    // normalisation and reduction
    "InstanceNormalization",
    "LRN",
    "LayerNormalization",
    "LogSoftmax",
    "LpNormalization",
    "ReduceL1",
    "ReduceL2",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    // rearrangement
    "DepthToSpace",
    "Expand",
    "Gather",
    "GlobalMaxPool",
    "Shape",
    "Size",
    "SpaceToDepth",
};

void ReadOutput(const onnx::TypeProto& type, Tensor& output) {
  if (!type.has_tensor_type()) return;
  const DeclaredShape declared = ReadType(type);
  if (declared.type != DataType::kUndefined) output.type = declared.type;
  if (!declared.known) return;
  Shape shape = declared.shape;
  for (size_t i = 0; i < shape.size(); ++i) {
    const auto& dim = type.tensor_type().shape().dim(static_cast<int>(i));
    if (dim.has_dim_value()) shape[i] = dim.dim_value();
    if (shape[i] == kDynamic && declared.symbols[i] != kBatchSymbol) return;
  }
  if (!CheckShape(shape).ok()) return;
  output.shape = std::move(shape);
  output.shape_known = true;
}

}  // namespace

absl::Status CheckNodes(const onnx::ModelProto& model,
                        const std::map<std::string, int64_t>& opsets) {
  onnx::checker::CheckerContext context;
  context.set_ir_version(static_cast<int>(std::min<int64_t>(model.ir_version(), kLastCheckedIr)));
  std::unordered_map<std::string, int> imports;
  for (const auto& [domain, version] : opsets) {
    imports[domain] = static_cast<int>(std::min<int64_t>(version, 1 << 20));
  }
  context.set_opset_imports(std::move(imports));
  onnx::checker::LexicalScopeContext scope;  // what subgraphs may read
  for (const auto& input : model.graph().input()) scope.add(input.name());
  for (const auto& tensor : model.graph().initializer()) scope.add(tensor.name());
  for (const auto& node : model.graph().node()) {
    for (const auto& output : node.output()) scope.add(output);
  }
  for (const auto& node : model.graph().node()) {
    const bool rename = node.domain() == "ai.onnx";
    const bool is_default = rename || node.domain().empty();
    if (is_default && opsets.at("") > kLastCheckedOpset) continue;
    if (FindSchema(opsets, node.domain(), node.op_type()) == nullptr) continue;
    onnx::NodeProto renamed;  // the checker knows the default domain by its short name alone
    if (rename) {
      renamed = node;
      renamed.clear_domain();
    }
    try {
      onnx::checker::check_node(rename ? renamed : node, context, scope);
    } catch (const std::exception& error) {
      return absl::InvalidArgumentError(
          absl::StrCat("not valid ONNX: ", node.op_type(), " ", node.name(), ": ", error.what()));
    }
  }
  return absl::OkStatus();
}

void InferBySchema(Graph& graph, const Node& node, const KnownValues& values) {
  const onnx::OpSchema* const schema = FindSchema(graph.opsets, node.domain, node.op_type);
  const bool is_trusted =
      std::find(std::begin(kTrusted), std::end(kTrusted), node.op_type) != std::end(kTrusted);
  if (schema == nullptr || !is_trusted || !schema->has_type_and_shape_inference_function()) return;
  NodeContext context(graph, node, values);
  try {
    schema->GetTypeAndShapeInferenceFunction()(context);
  } catch (const std::exception&) {
    return;  // a later opset means the node differently, or its inputs are not known
  }
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i] == TensorId::kNone) continue;
    ReadOutput(*context.getOutputType(i), graph.tensor(node.outputs[i]));
  }
}

}  // namespace amc
