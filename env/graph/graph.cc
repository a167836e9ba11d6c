#include "env/graph/graph.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace amc {
namespace {

struct OpName {
  absl::string_view name;
  Op op;
};

constexpr OpName kOpNames[] = {
    {"Add", Op::kAdd},
    {"AveragePool", Op::kAveragePool},
    {"BatchNormalization", Op::kBatchNormalization},
    {"Clip", Op::kClip},
    {"Concat", Op::kConcat},
    {"Constant", Op::kConstant},
    {"Conv", Op::kConv},
    {"Dropout", Op::kDropout},
    {"Flatten", Op::kFlatten},
    {"Gemm", Op::kGemm},
    {"GlobalAveragePool", Op::kGlobalAveragePool},
    {"HardSigmoid", Op::kHardSigmoid},
    {"HardSwish", Op::kHardSwish},
    {"Identity", Op::kIdentity},
    {"LeakyRelu", Op::kLeakyRelu},
    {"MatMul", Op::kMatMul},
    {"MaxPool", Op::kMaxPool},
    {"Mul", Op::kMul},
    {"Pad", Op::kPad},
    {"ReduceMean", Op::kReduceMean},
    {"Relu", Op::kRelu},
    {"Reshape", Op::kReshape},
    {"Sigmoid", Op::kSigmoid},
    {"Slice", Op::kSlice},
    {"Softmax", Op::kSoftmax},
    {"Split", Op::kSplit},
    {"Squeeze", Op::kSqueeze},
    {"Sub", Op::kSub},
    {"Transpose", Op::kTranspose},
    {"Unsqueeze", Op::kUnsqueeze},
};

}  // namespace

int64_t ElementSize(DataType type) {
  switch (type) {
    case DataType::kFloat:
    case DataType::kInt32:
      return 4;
    case DataType::kUint8:
    case DataType::kInt8:
    case DataType::kBool:
      return 1;
    case DataType::kInt64:
    case DataType::kDouble:
      return 8;
    case DataType::kFloat16:
    case DataType::kBfloat16:
      return 2;
    case DataType::kUndefined:
    case DataType::kString:
      return 0;
  }
  return 0;
}

absl::string_view DataTypeName(DataType type) {
  switch (type) {
    case DataType::kUndefined:
      return "undefined";
    case DataType::kFloat:
      return "float32";
    case DataType::kUint8:
      return "uint8";
    case DataType::kInt8:
      return "int8";
    case DataType::kInt32:
      return "int32";
    case DataType::kInt64:
      return "int64";
    case DataType::kString:
      return "string";
    case DataType::kBool:
      return "bool";
    case DataType::kFloat16:
      return "float16";
    case DataType::kDouble:
      return "float64";
    case DataType::kBfloat16:
      return "bfloat16";
  }
  return "unknown";
}

std::string ShapeToString(const Shape& shape) {
  if (shape.empty()) return "scalar";
  return absl::StrJoin(shape, "x", [](std::string* out, int64_t dim) {
    if (dim == kDynamic) {
      out->append("N");
    } else {
      absl::StrAppend(out, dim);
    }
  });
}

absl::StatusOr<int64_t> NumElements(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t dim : shape) {
    if (dim == kDynamic) continue;
    if (dim < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("shape ", ShapeToString(shape), " has the negative dimension ", dim));
    }
    if (dim != 0 && count > (int64_t{1} << 62) / dim) {
      return absl::InvalidArgumentError(
          absl::StrCat("shape ", ShapeToString(shape), " has more than 2^62 elements"));
    }
    count *= dim;
  }
  return count;
}

Op OpFromName(absl::string_view domain, absl::string_view op_type) {
  if (!domain.empty() && domain != "ai.onnx") return Op::kUnknown;
  for (const OpName& entry : kOpNames) {
    if (entry.name == op_type) return entry.op;
  }
  return Op::kUnknown;
}

int64_t Graph::opset() const {
  const auto it = opsets.find("");
  return it == opsets.end() ? 0 : it->second;
}

TensorId Graph::AddTensor(Tensor tensor) {
  tensors.push_back(std::move(tensor));
  return static_cast<TensorId>(tensors.size() - 1);
}

NodeId Graph::AddNode(Node node) {
  node.op = OpFromName(node.domain, node.op_type);
  nodes.push_back(std::move(node));
  return static_cast<NodeId>(nodes.size() - 1);
}

TensorId Graph::FindTensor(absl::string_view name) const {
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].name == name) return static_cast<TensorId>(i);
  }
  return TensorId::kNone;
}

std::vector<NodeId> Producers(const Graph& graph) {
  std::vector<NodeId> producers(graph.tensors.size(), NodeId::kNone);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const TensorId output : graph.nodes[i].outputs) {
      if (output != TensorId::kNone) producers[Index(output)] = graph.node_id(i);
    }
  }
  return producers;
}

std::vector<std::vector<NodeId>> Consumers(const Graph& graph) {
  std::vector<std::vector<NodeId>> consumers(graph.tensors.size());
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const TensorId input : graph.nodes[i].inputs) {
      if (input != TensorId::kNone) consumers[Index(input)].push_back(graph.node_id(i));
    }
  }
  return consumers;
}

std::string NodeLabel(const Graph& graph, const Node& node) {
  if (!node.name.empty()) return absl::StrCat(node.op_type, " ", node.name);
  for (const TensorId output : node.outputs) {
    if (output != TensorId::kNone) {
      return absl::StrCat(node.op_type, " -> ", graph.tensor(output).name);
    }
  }
  return node.op_type;
}

void RemoveUnusedTensors(Graph& graph) {
  std::vector<bool> used(graph.tensors.size(), false);
  const auto mark = [&](const std::vector<TensorId>& ids) {
    for (const TensorId id : ids) {
      if (id != TensorId::kNone) used[Index(id)] = true;
    }
  };
  mark(graph.inputs);
  mark(graph.outputs);
  for (const Node& node : graph.nodes) {
    mark(node.inputs);
    mark(node.outputs);
  }
  std::vector<TensorId> renumbered(graph.tensors.size(), TensorId::kNone);
  size_t next = 0;
  for (size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) continue;
    renumbered[i] = static_cast<TensorId>(next);
    if (next != i) graph.tensors[next] = std::move(graph.tensors[i]);
    ++next;
  }
  graph.tensors.resize(next);
  const auto renumber = [&](std::vector<TensorId>& ids) {
    for (TensorId& id : ids) {
      if (id != TensorId::kNone) id = renumbered[Index(id)];
    }
  };
  renumber(graph.inputs);
  renumber(graph.outputs);
  for (Node& node : graph.nodes) {
    renumber(node.inputs);
    renumber(node.outputs);
  }
}

namespace {

template <typename T>
constexpr DataType TypeOf();
template <>
constexpr DataType TypeOf<float>() {
  return DataType::kFloat;
}
template <>
constexpr DataType TypeOf<int64_t>() {
  return DataType::kInt64;
}

template <typename T>
Tensor MakeConstant(std::string name, Shape shape, absl::Span<const T> values) {
  Tensor tensor;
  tensor.name = std::move(name);
  tensor.type = TypeOf<T>();
  tensor.shape_known = true;
  tensor.shape = std::move(shape);
  tensor.is_constant = true;
  tensor.data = std::make_shared<const Buffer>(reinterpret_cast<const char*>(values.data()),
                                               values.size() * sizeof(T));
  return tensor;
}

}  // namespace

template <typename T>
absl::StatusOr<std::vector<T>> Values(const Graph& graph, TensorId id) {
  if (id == TensorId::kNone) return absl::InvalidArgumentError("a required input is omitted");
  const Tensor& tensor = graph.tensor(id);
  if (!tensor.is_constant) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", tensor.name, " is computed by the network, expected a constant"));
  }
  if (tensor.type != TypeOf<T>()) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", tensor.name, " holds ",
                                                   DataTypeName(tensor.type), ", expected ",
                                                   DataTypeName(TypeOf<T>())));
  }
  if (tensor.data == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", tensor.name, " has no weights"));
  }
  std::vector<T> values(tensor.data->size() / sizeof(T));
  if (!values.empty()) {
    std::memcpy(values.data(), tensor.data->data(), values.size() * sizeof(T));
  }
  return values;
}

template absl::StatusOr<std::vector<float>> Values<float>(const Graph&, TensorId);
template absl::StatusOr<std::vector<int64_t>> Values<int64_t>(const Graph&, TensorId);

Tensor MakeFloats(std::string name, Shape shape, absl::Span<const float> values) {
  return MakeConstant<float>(std::move(name), std::move(shape), values);
}

Tensor MakeInts(std::string name, Shape shape, absl::Span<const int64_t> values) {
  return MakeConstant<int64_t>(std::move(name), std::move(shape), values);
}

Tensor MakeWeightless(std::string name, Shape shape) {
  Tensor tensor;
  tensor.name = std::move(name);
  tensor.shape_known = true;
  tensor.shape = std::move(shape);
  tensor.is_constant = true;
  return tensor;
}

}  // namespace amc
