#include "env/graph/onnx_import.h"

#include <exception>
#include <functional>
#include <limits>
#include <map>
#include <queue>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "env/graph/batch_axis.h"
#include "env/graph/constant_folding.h"
#include "env/graph/onnx_operators.h"
#include "env/graph/onnx_values.h"
#include "env/graph/shape_inference.h"
#include "google/protobuf/io/coded_stream.h"
#include "onnx/onnx_pb.h"

namespace amc {
namespace {

constexpr int64_t kFirstOpset = 9;
constexpr int64_t kLastOpset = 25;  // later ones may mean something else by the same name

absl::Status Invalid(absl::string_view message) { return absl::InvalidArgumentError(message); }

absl::StatusOr<onnx::ModelProto> Parse(absl::string_view bytes) {
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return Invalid(
        absl::StrCat("not a valid ONNX file: ", bytes.size(), " bytes, and protobuf ends at 2 GB"));
  }
  onnx::ModelProto model;
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const uint8_t*>(bytes.data()),
                                                static_cast<int>(bytes.size()));
  stream.SetTotalBytesLimit(std::numeric_limits<int32_t>::max());
  if (!model.ParseFromCodedStream(&stream) || !stream.ConsumedEntireMessage()) {
    return Invalid(absl::StrCat("not a valid ONNX file: truncated or not protobuf (", bytes.size(),
                                " bytes)"));
  }
  if (!model.has_graph()) {
    return Invalid(
        absl::StrCat("not a valid ONNX file: it holds no graph (", bytes.size(), " bytes)"));
  }
  return model;
}

absl::Status CheckName(absl::string_view name, absl::string_view where) {
  const size_t good = Utf8Prefix(name);
  if (good == name.size()) return absl::OkStatus();
  return Invalid(absl::StrCat(where, ": \"", ToUtf8(name), "\" is not UTF-8 from byte ", good,
                              " on, as ONNX wants it: rename it and export the model again"));
}

template <typename Protos>
absl::Status CheckNamesOf(const Protos& protos, absl::string_view what) {
  for (int i = 0; i < protos.size(); ++i) {
    AMC_RETURN_IF_ERROR(CheckName(protos.Get(i).name(), absl::StrCat("name of ", what, " ", i)));
  }
  return absl::OkStatus();
}

// What a network's parts are called ends in jobs, policies and messages, which cannot hold other
// bytes than UTF-8. What is only carried along (documentation, metadata, attributes) may be any.
absl::Status CheckNames(const onnx::ModelProto& model) {
  const onnx::GraphProto& graph = model.graph();
  AMC_RETURN_IF_ERROR(CheckName(model.producer_name(), "producer"));
  AMC_RETURN_IF_ERROR(CheckName(model.producer_version(), "version of the producer"));
  for (const auto& import : model.opset_import()) {
    AMC_RETURN_IF_ERROR(CheckName(import.domain(), "domain of an opset"));
  }
  AMC_RETURN_IF_ERROR(CheckName(graph.name(), "name of the graph"));
  AMC_RETURN_IF_ERROR(CheckNamesOf(graph.initializer(), "initializer"));
  AMC_RETURN_IF_ERROR(CheckNamesOf(graph.input(), "input"));
  AMC_RETURN_IF_ERROR(CheckNamesOf(graph.output(), "output"));
  AMC_RETURN_IF_ERROR(CheckNamesOf(graph.node(), "node"));
  for (const onnx::ValueInfoProto& input : graph.input()) {
    for (const auto& dim : input.type().tensor_type().shape().dim()) {
      AMC_RETURN_IF_ERROR(
          CheckName(dim.dim_param(), absl::StrCat("dimension of input ", input.name())));
    }
  }
  for (int i = 0; i < graph.node_size(); ++i) {
    const onnx::NodeProto& node = graph.node(i);
    const std::string of_node = absl::StrCat(" of node ", i, " ", node.name());
    AMC_RETURN_IF_ERROR(CheckName(node.op_type(), absl::StrCat("operator", of_node)));
    AMC_RETURN_IF_ERROR(CheckName(node.domain(), absl::StrCat("domain", of_node)));
    for (const std::string& name : node.input()) {
      AMC_RETURN_IF_ERROR(CheckName(name, absl::StrCat("input", of_node)));
    }
    for (const std::string& name : node.output()) {
      AMC_RETURN_IF_ERROR(CheckName(name, absl::StrCat("output", of_node)));
    }
    AMC_RETURN_IF_ERROR(CheckNamesOf(
        node.attribute(), absl::StrCat(node.op_type(), " ", node.name(), ", attribute")));
  }
  return absl::OkStatus();
}

// Turns one ModelProto into a Graph, nodes in topological order, nothing inferred or folded yet.
// Takes the weights out of the proto.
class Reader {
 public:
  explicit Reader(onnx::ModelProto& model) : model_(model), proto_(*model.mutable_graph()) {}

  absl::StatusOr<Graph> Run() && {
    AMC_RETURN_IF_ERROR(CheckNames(model_));
    AMC_RETURN_IF_ERROR(ReadHeader());
    AMC_RETURN_IF_ERROR(CheckNodes(model_, graph_.opsets));
    AMC_RETURN_IF_ERROR(ReadInitializers());
    AMC_RETURN_IF_ERROR(ReadInputs());
    AMC_RETURN_IF_ERROR(DeclareNodeOutputs());
    AMC_RETURN_IF_ERROR(ReadNodes());
    AMC_RETURN_IF_ERROR(ReadOutputs());
    ReadRecordedShapes();
    return std::move(graph_);
  }

 private:
  absl::Status ReadHeader() {
    graph_.name = proto_.name();
    graph_.graph_doc_string = proto_.doc_string();
    graph_.ir_version = model_.ir_version();
    graph_.producer_name = model_.producer_name();
    graph_.producer_version = model_.producer_version();
    graph_.domain = model_.domain();
    graph_.model_version = model_.model_version();
    graph_.doc_string = model_.doc_string();
    for (const auto& entry : model_.metadata_props()) graph_.metadata[entry.key()] = entry.value();
    for (const auto& import : model_.opset_import()) {
      const std::string domain = import.domain() == "ai.onnx" ? "" : import.domain();
      if (!graph_.opsets.emplace(domain, import.version()).second) {
        return Invalid(absl::StrCat("opset of domain \"", domain, "\" is imported twice"));
      }
    }
    if (graph_.opset() < kFirstOpset || graph_.opset() > kLastOpset) {
      return Invalid(absl::StrCat("opset ", graph_.opset(), ": expected ", kFirstOpset, " to ",
                                  kLastOpset, "; export the model again with opset_version=17"));
    }
    if (graph_.ir_version < 1) {
      return Invalid(absl::StrCat("IR version ", graph_.ir_version, ": expected 1 or later"));
    }
    if (proto_.sparse_initializer_size() > 0) {
      return Invalid(absl::StrCat("sparse initializer ",
                                  proto_.sparse_initializer(0).values().name(),
                                  ": sparse weights are not supported"));
    }
    if (model_.functions_size() > 0) {
      return Invalid(absl::StrCat("function ", model_.functions(0).name(),
                                  ": functions inside the model are not supported; inline them"));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<TensorId> Declare(Tensor tensor, absl::string_view what) {
    if (tensor.name.empty()) return Invalid(absl::StrCat(what, " has no name"));
    const auto [found, is_new] =
        ids_.try_emplace(tensor.name, static_cast<TensorId>(graph_.tensors.size()));
    if (!is_new) return Invalid(absl::StrCat("tensor ", tensor.name, " is defined twice"));
    return graph_.AddTensor(std::move(tensor));
  }

  absl::Status ReadInitializers() {
    for (onnx::TensorProto& proto : *proto_.mutable_initializer()) {
      AMC_ASSIGN_OR_RETURN(TensorValue value,
                           TakeTensor(proto, absl::StrCat("tensor ", proto.name())));
      Tensor tensor{.name = proto.name(),
                    .type = value.type,
                    .shape_known = true,
                    .shape = std::move(value.shape),
                    .is_constant = true,
                    .data = std::move(value.data)};
      AMC_RETURN_IF_ERROR(Declare(std::move(tensor), "an initializer").status());
    }
    return absl::OkStatus();
  }

  // Old exporters list initializers among the inputs.
  absl::Status ReadInputs() {
    std::set<std::string> seen;
    for (const onnx::ValueInfoProto& proto : proto_.input()) {
      if (!seen.insert(proto.name()).second) {
        return Invalid(absl::StrCat("input ", proto.name(), " is listed twice"));
      }
      if (ids_.count(proto.name()) != 0) continue;
      DeclaredShape declared = ReadType(proto.type());
      const std::string what = absl::StrCat("input ", proto.name());
      if (!declared.known || ElementSize(declared.type) == 0) {
        return Invalid(absl::StrCat(what,
                                    ": no tensor type with a shape is declared; export the "
                                    "model with a fixed channel count, height and width"));
      }
      AMC_RETURN_IF_ERROR(CheckInputAxes(declared, what));
      AMC_ASSIGN_OR_RETURN(const TensorId id, Declare({.name = proto.name(),
                                                       .type = declared.type,
                                                       .shape_known = true,
                                                       .shape = std::move(declared.shape)},
                                                      "an input"));
      graph_.inputs.push_back(id);
    }
    return absl::OkStatus();
  }

  // Only the first axis may be dynamic, and it is the same batch for all inputs.
  absl::Status CheckInputAxes(const DeclaredShape& declared, absl::string_view what) {
    for (size_t axis = 0; axis < declared.shape.size(); ++axis) {
      if (declared.shape[axis] != kDynamic) continue;
      const std::string& symbol = declared.symbols[axis];
      if (axis > 0) {
        return Invalid(absl::StrCat(what, ": axis ", axis, " is dynamic (\"", symbol,
                                    "\"); only the batch axis may be: export the model with a "
                                    "fixed channel count, height and width"));
      }
      if (graph_.batch_symbol.empty()) graph_.batch_symbol = symbol;
      if (!symbol.empty() && symbol != graph_.batch_symbol) {
        return Invalid(absl::StrCat(what, ": its batch axis \"", symbol, "\" is not the \"",
                                    graph_.batch_symbol, "\" of another input"));
      }
    }
    const absl::Status status = CheckShape(declared.shape);
    return status.ok() ? status : Annotate(status, what);
  }

  // All outputs first, because nodes may stand in any order.
  absl::Status DeclareNodeOutputs() {
    for (const onnx::NodeProto& node : proto_.node()) {
      const std::string what = absl::StrCat("output of ", node.op_type(), " ", node.name());
      for (const std::string& output : node.output()) {
        if (output.empty()) continue;
        const absl::Status status = Declare({.name = output}, what).status();
        if (!status.ok()) return Annotate(status, what);
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadNodes() {
    std::vector<Node> nodes;
    for (onnx::NodeProto& proto : *proto_.mutable_node()) {
      AMC_ASSIGN_OR_RETURN(Node node, ReadNode(proto));
      nodes.push_back(std::move(node));
    }
    AMC_ASSIGN_OR_RETURN(const std::vector<size_t> order, TopologicalOrder(nodes));
    for (const size_t i : order) graph_.AddNode(std::move(nodes[i]));
    return absl::OkStatus();
  }

  absl::StatusOr<Node> ReadNode(onnx::NodeProto& proto) {
    Node node{.name = proto.name(),
              .domain = proto.domain() == "ai.onnx" ? "" : proto.domain(),
              .op_type = proto.op_type(),
              .doc_string = proto.doc_string()};
    for (const std::string& output : proto.output()) {
      node.outputs.push_back(output.empty() ? TensorId::kNone : ids_.at(output));
    }
    const std::string label = NodeLabel(graph_, node);
    for (const std::string& input : proto.input()) {
      const auto found = ids_.find(input);
      if (!input.empty() && found == ids_.end()) {
        return Invalid(absl::StrCat(label, ": its input ", input,
                                    " is neither an input of the network nor a weight, and no node "
                                    "makes it"));
      }
      node.inputs.push_back(input.empty() ? TensorId::kNone : found->second);
    }
    for (onnx::AttributeProto& attribute : *proto.mutable_attribute()) {
      const std::string what = absl::StrCat(label, ": attribute ", attribute.name());
      AMC_RETURN_IF_ERROR(CheckSubgraphs(attribute, what));
      AMC_ASSIGN_OR_RETURN(Attribute value, TakeAttribute(attribute, what));
      if (!node.attributes.emplace(attribute.name(), std::move(value)).second) {
        return Invalid(absl::StrCat(what, " is given twice"));
      }
    }
    return node;
  }

  // The body of a loop or branch is carried as bytes, so that it must not read tensors of the
  // network, whose names and sizes may change.
  absl::Status CheckSubgraphs(const onnx::AttributeProto& attribute, absl::string_view what) const {
    std::vector<const onnx::GraphProto*> bodies;
    if (attribute.has_g()) bodies.push_back(&attribute.g());
    for (const onnx::GraphProto& body : attribute.graphs()) bodies.push_back(&body);
    for (const onnx::GraphProto* body : bodies) {
      std::set<std::string> own;
      for (const auto& input : body->input()) own.insert(input.name());
      for (const auto& tensor : body->initializer()) own.insert(tensor.name());
      for (const auto& node : body->node()) own.insert(node.output().begin(), node.output().end());
      for (const auto& node : body->node()) {
        for (const std::string& input : node.input()) {
          if (input.empty() || own.count(input) != 0 || ids_.count(input) == 0) continue;
          return Invalid(absl::StrCat(what, ": its subgraph reads ", input,
                                      " of the network around it, which is not supported"));
        }
        for (const auto& inner : node.attribute()) AMC_RETURN_IF_ERROR(CheckSubgraphs(inner, what));
      }
    }
    return absl::OkStatus();
  }

  // Kahn's algorithm; of the nodes that are ready, the first in the file goes first, so that a
  // sorted file keeps its order.
  absl::StatusOr<std::vector<size_t>> TopologicalOrder(const std::vector<Node>& nodes) const {
    std::vector<size_t> producer(graph_.tensors.size(), nodes.size());
    for (size_t i = 0; i < nodes.size(); ++i) {
      for (const TensorId id : nodes[i].outputs) {
        if (id != TensorId::kNone) producer[Index(id)] = i;
      }
    }
    const auto maker = [&](TensorId id) {
      return id == TensorId::kNone ? nodes.size() : producer[Index(id)];
    };
    std::vector<size_t> missing(nodes.size(), 0);
    std::vector<std::vector<size_t>> readers(nodes.size());
    for (size_t i = 0; i < nodes.size(); ++i) {
      for (const TensorId id : nodes[i].inputs) {
        if (maker(id) == nodes.size()) continue;
        readers[maker(id)].push_back(i);
        ++missing[i];
      }
    }
    std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (missing[i] == 0) ready.push(i);
    }
    std::vector<size_t> order;
    while (!ready.empty()) {
      const size_t i = ready.top();
      ready.pop();
      order.push_back(i);
      for (const size_t reader : readers[i]) {
        if (--missing[reader] == 0) ready.push(reader);
      }
    }
    if (order.size() == nodes.size()) return order;
    // Some node waits for ever; going back from it to others that wait ends on a cycle.
    size_t at = 0;
    while (missing[at] == 0) ++at;
    std::vector<bool> visited(nodes.size(), false);
    while (!visited[at]) {
      visited[at] = true;
      for (const TensorId id : nodes[at].inputs) {
        if (maker(id) == nodes.size() || missing[maker(id)] == 0) continue;
        at = maker(id);
        break;
      }
    }
    return Invalid(absl::StrCat("the graph has a cycle through ", NodeLabel(graph_, nodes[at])));
  }

  absl::Status ReadOutputs() {
    if (proto_.output_size() == 0) return Invalid("the network has no outputs");
    std::set<std::string> seen;
    for (const onnx::ValueInfoProto& proto : proto_.output()) {
      const auto found = ids_.find(proto.name());
      if (found == ids_.end()) {
        return Invalid(absl::StrCat("output ", proto.name(), " is made by no node"));
      }
      if (!seen.insert(proto.name()).second) {
        return Invalid(absl::StrCat("output ", proto.name(), " is listed twice"));
      }
      graph_.outputs.push_back(found->second);
    }
    return absl::OkStatus();
  }

  // What the file says about activations: all we have for operators that nobody knows.
  void ReadRecordedShapes() {
    for (const onnx::ValueInfoProto& proto : proto_.value_info()) RecordShape(proto);
    for (const onnx::ValueInfoProto& proto : proto_.output()) RecordShape(proto);
  }

  void RecordShape(const onnx::ValueInfoProto& proto) {
    const auto found = ids_.find(proto.name());
    if (found == ids_.end() || graph_.tensor(found->second).is_constant) return;
    Tensor& tensor = graph_.tensor(found->second);
    DeclaredShape declared = ReadType(proto.type());
    if (tensor.shape_known || declared.type == DataType::kUndefined) return;
    tensor.type = declared.type;
    for (size_t axis = 0; axis < declared.shape.size(); ++axis) {
      if (declared.shape[axis] != kDynamic) continue;
      const std::string& symbol = declared.symbols[axis];
      if (symbol.empty() || symbol != graph_.batch_symbol) return;  // it may be any size
    }
    if (!declared.known || !CheckShape(declared.shape).ok()) return;
    tensor.shape = std::move(declared.shape);
    tensor.shape_known = true;
  }

  onnx::ModelProto& model_;
  onnx::GraphProto& proto_;
  Graph graph_;
  std::map<std::string, TensorId> ids_;
};

}  // namespace

absl::StatusOr<Graph> ImportOnnx(absl::string_view bytes) {
  try {
    AMC_ASSIGN_OR_RETURN(onnx::ModelProto model, Parse(bytes));
    AMC_ASSIGN_OR_RETURN(Graph graph, Reader(model).Run());
    return SettleBatchAxis(std::move(graph), InferBySchema);
  } catch (const std::exception& error) {
    return Invalid(absl::StrCat("not a valid ONNX file: ", error.what()));
  }
}

absl::StatusOr<Graph> LoadOnnx(const std::string& path) {
  AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  absl::StatusOr<Graph> graph = ImportOnnx(bytes);
  if (!graph.ok()) return Annotate(graph.status(), path);
  return graph;
}

}  // namespace amc
