// The network as data: nodes, tensors and weights as plain bytes. No arithmetic happens here.
//
// A Graph holds what an ONNX file holds, in the same words (operator types, attributes, opset), so
// that an export keeps everything that the import did not change. Nodes and tensors are named by
// index handles, never by pointers; nodes stand in topological order. Weights are shared between
// copies of a graph, because a search makes thousands of candidates that share most of them; a
// changed weight is a new buffer. A constant may be weightless (shape known, no bytes): costs and
// surgery work on such graphs, running them does not.
//
// Plain data: thread-compatible.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace amc {

enum class NodeId : int32_t { kNone = -1 };
enum class TensorId : int32_t { kNone = -1 };  // as a node's input: an omitted optional one

constexpr size_t Index(NodeId id) { return static_cast<size_t>(id); }
constexpr size_t Index(TensorId id) { return static_cast<size_t>(id); }

// ONNX's TensorProto.DataType, same numbers.
enum class DataType : int32_t {
  kUndefined = 0,
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kBfloat16 = 16,
};

// Bytes of one element; 0 for types without a fixed size.
int64_t ElementSize(DataType type);
absl::string_view DataTypeName(DataType type);  // "float32"

using Shape = std::vector<int64_t>;
inline constexpr int64_t kDynamic = -1;  // the batch axis, the only one whose size may be unknown

// "Nx3x32x32" with N for the dynamic batch.
std::string ShapeToString(const Shape& shape);
// Product of the dimensions, the dynamic batch counting as 1; InvalidArgument on a negative one or
// when the product overflows 2^62.
absl::StatusOr<int64_t> NumElements(const Shape& shape);

using Buffer = std::string;  // raw little-endian bytes, as in ONNX raw_data

struct Tensor {
  std::string name = {};
  DataType type = DataType::kFloat;
  bool shape_known = false;
  Shape shape = {};
  bool is_constant = false;                 // an initializer
  std::shared_ptr<const Buffer> data = {};  // of a constant; null if weightless
};

// A tensor-valued attribute (of a Constant node that folding could not remove).
struct TensorValue {
  DataType type = DataType::kFloat;
  Shape shape;
  std::shared_ptr<const Buffer> data;
};
// An attribute that we carry but never read (subgraphs of unknown operators): its serialised
// onnx.AttributeProto.
struct OpaqueAttribute {
  std::string bytes;
};
using Attribute =
    std::variant<int64_t, float, std::string, std::vector<int64_t>, std::vector<float>,
                 std::vector<std::string>, TensorValue, OpaqueAttribute>;

// The operators whose meaning the graph knows. Everything else is kUnknown: carried along, a
// barrier to pruning, refused when run.
enum class Op {
  kUnknown,
  kAdd,
  kAveragePool,
  kBatchNormalization,
  kClip,
  kConcat,
  kConstant,
  kConv,
  kDropout,
  kFlatten,
  kGemm,
  kGlobalAveragePool,
  kHardSigmoid,
  kHardSwish,
  kIdentity,
  kLeakyRelu,
  kMatMul,
  kMaxPool,
  kMul,
  kPad,
  kReduceMean,
  kRelu,
  kReshape,
  kSigmoid,
  kSlice,
  kSoftmax,
  kSplit,
  kSqueeze,
  kSub,
  kTranspose,
  kUnsqueeze,
};

// The operator that ONNX calls `op_type` in `domain` ("" and "ai.onnx" are the default one).
Op OpFromName(absl::string_view domain, absl::string_view op_type);

struct Node {
  std::string name = {};  // may be empty in ONNX files; NodeLabel() always says something
  std::string domain = {};
  std::string op_type = {};
  Op op = Op::kUnknown;
  std::vector<TensorId> inputs = {};
  std::vector<TensorId> outputs = {};
  std::map<std::string, Attribute> attributes = {};
  std::string doc_string = {};
};

struct Graph {
  std::string name;
  int64_t ir_version = 8;
  std::map<std::string, int64_t> opsets;  // domain ("" is ONNX's own) to version
  std::string producer_name, producer_version, domain, doc_string, graph_doc_string;
  int64_t model_version = 0;
  std::map<std::string, std::string> metadata;

  std::vector<Tensor> tensors;
  std::vector<Node> nodes;       // topological order
  std::vector<TensorId> inputs;  // without initializers
  std::vector<TensorId> outputs;
  std::string batch_symbol;  // the name of the dynamic batch axis in the file, if any
  int64_t fixed_batch = 0;  // the batch size that the file fixed though the network takes any; or 0

  const Tensor& tensor(TensorId id) const { return tensors[Index(id)]; }
  Tensor& tensor(TensorId id) { return tensors[Index(id)]; }
  const Node& node(NodeId id) const { return nodes[Index(id)]; }
  Node& node(NodeId id) { return nodes[Index(id)]; }
  NodeId node_id(size_t i) const { return static_cast<NodeId>(i); }
  int64_t opset() const;  // version of the default domain; 0 if absent

  TensorId AddTensor(Tensor tensor);
  NodeId AddNode(Node node);                          // fills `op` from domain and op_type
  TensorId FindTensor(absl::string_view name) const;  // kNone if absent
};

// For each tensor, the node that makes it, or kNone (inputs and constants).
std::vector<NodeId> Producers(const Graph& graph);
// For each tensor, the nodes that read it, in topological order, a node once per reading input.
std::vector<std::vector<NodeId>> Consumers(const Graph& graph);

// "Conv conv1" or, for nameless nodes, "Conv -> OUTPUT": what messages call a node.
std::string NodeLabel(const Graph& graph, const Node& node);

// Removes tensors that nothing refers to and renumbers the handles.
void RemoveUnusedTensors(Graph& graph);

// Typed constants. Values<T>() is InvalidArgument when the tensor is no constant, is weightless or
// holds another type; T is float or int64_t.
template <typename T>
absl::StatusOr<std::vector<T>> Values(const Graph& graph, TensorId id);
Tensor MakeFloats(std::string name, Shape shape, absl::Span<const float> values);
Tensor MakeInts(std::string name, Shape shape, absl::Span<const int64_t> values);
Tensor MakeWeightless(std::string name, Shape shape);

}  // namespace amc
