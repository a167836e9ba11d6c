#include "env/graph/constant_folding.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/graph/op_params.h"
#include "env/graph/shape_inference.h"

namespace amc {
namespace {

// The value of a Constant node, in whichever attribute it stands.
std::optional<KnownValue> ValueOfConstantNode(const Node& node) {
  if (node.attributes.size() != 1) return std::nullopt;
  const auto& [name, attribute] = *node.attributes.begin();
  const auto from = [](const Tensor& t) {
    return KnownValue{.type = t.type, .shape = t.shape, .data = t.data};
  };
  if (const auto* value = std::get_if<TensorValue>(&attribute)) {
    return KnownValue{.type = value->type, .shape = value->shape, .data = value->data};
  }
  if (const auto* value = std::get_if<float>(&attribute)) {
    return from(MakeFloats("", {}, {*value}));
  }
  if (const auto* value = std::get_if<int64_t>(&attribute)) return from(MakeInts("", {}, {*value}));
  if (const auto* values = std::get_if<std::vector<float>>(&attribute)) {
    return from(MakeFloats("", {static_cast<int64_t>(values->size())}, *values));
  }
  if (const auto* values = std::get_if<std::vector<int64_t>>(&attribute)) {
    return from(MakeInts("", {static_cast<int64_t>(values->size())}, *values));
  }
  return std::nullopt;
}

// Whether 0 in a Reshape's target stands for the input's axis; allowzero makes it a plain zero.
bool ZeroKeepsTheAxis(const Graph& graph, const Node& reshape) {
  const absl::StatusOr<int64_t> allow_zero = GetInt(graph, reshape, "allowzero", 0);
  return allow_zero.ok() && *allow_zero == 0;
}

class Folder {
 public:
  Folder(Graph& graph, const InferUnknown& infer_unknown)
      : graph_(graph), infer_unknown_(infer_unknown), is_output_(graph.tensors.size(), false) {
    for (const TensorId id : graph.outputs) is_output_[Index(id)] = true;
    values_.resize(graph.tensors.size());
    for (size_t i = 0; i < values_.size(); ++i) {
      values_[i] = ConstantValue(graph, static_cast<TensorId>(i));
    }
  }

  absl::Status Run() && {
    folded_.assign(graph_.nodes.size(), false);
    for (size_t i = 0; i < graph_.nodes.size(); ++i) AMC_RETURN_IF_ERROR(Visit(i));
    RemoveNodes();
    RemoveUnusedTensors(graph_);
    return absl::OkStatus();
  }

 private:
  absl::Status Visit(size_t i) {
    Node& node = graph_.nodes[i];
    if (node.op == Op::kReshape) SettleReshapeTarget(node);
    AMC_RETURN_IF_ERROR(InferNode(node));
    if (node.outputs.empty() || node.outputs[0] == TensorId::kNone) return absl::OkStatus();
    for (size_t k = 1; k < node.outputs.size(); ++k) {
      if (node.outputs[k] != TensorId::kNone) return absl::OkStatus();
    }
    std::optional<KnownValue> value;
    if (node.op == Op::kConstant) {
      value = ValueOfConstantNode(node);
    } else {
      std::vector<const KnownValue*> inputs;
      for (const TensorId id : node.inputs) {
        const bool known = id != TensorId::kNone && values_[Index(id)].has_value();
        // Omitted optional inputs and parameters beyond the data do not stand in the way.
        if (!known && id == TensorId::kNone) continue;
        inputs.push_back(known ? &*values_[Index(id)] : nullptr);
      }
      value = Evaluate(graph_, node, inputs);
    }
    if (!value.has_value()) return absl::OkStatus();
    const TensorId output = node.outputs[0];
    Tensor& tensor = graph_.tensor(output);
    tensor.type = value->type;
    tensor.shape = value->shape;
    tensor.shape_known = true;
    if (value->is_constant() && !is_output_[Index(output)]) {
      tensor.is_constant = true;
      tensor.data = value->data;
      folded_[i] = true;
    }
    values_[Index(output)] = std::move(value);
    return absl::OkStatus();
  }

  // Shapes and types of the outputs; a node that cannot be followed becomes unknown.
  absl::Status InferNode(Node& node) {
    if (node.op == Op::kConstant) return absl::OkStatus();
    if (node.op != Op::kUnknown && CanBeFollowed(node)) {
      absl::Status status = InferNodeShapes(graph_, node);
      if (status.ok()) {
        InferTypes(node);
        return absl::OkStatus();
      }
      if (!absl::IsUnimplemented(status)) return status;
    }
    node.op = Op::kUnknown;
    infer_unknown_(graph_, node, values_);
    return absl::OkStatus();
  }

  bool CanBeFollowed(const Node& node) const {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == TensorId::kNone) continue;
      const Tensor& tensor = graph_.tensor(node.inputs[i]);
      if (!tensor.shape_known) return false;
      if (!IsDataInput(node, i) && !tensor.is_constant) return false;
    }
    return true;
  }

  void InferTypes(const Node& node) {
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] == TensorId::kNone) continue;
      Tensor& output = graph_.tensor(node.outputs[i]);
      output.type = graph_.tensor(node.inputs[0]).type;
      if (i == 1 && node.op == Op::kMaxPool) output.type = DataType::kInt64;
      if (i == 1 && node.op == Op::kDropout && graph_.opset() >= 10) output.type = DataType::kBool;
    }
  }

  // A target that depends on the batch: 0 where the input has the batch in the same place, else -1
  // if nothing else is -1. Otherwise it stays computed.
  void SettleReshapeTarget(Node& node) {
    if (node.inputs.size() != 2 || node.inputs[0] == TensorId::kNone ||
        node.inputs[1] == TensorId::kNone || !ZeroKeepsTheAxis(graph_, node)) {
      return;
    }
    const std::optional<KnownValue>& target = values_[Index(node.inputs[1])];
    const Tensor& input = graph_.tensor(node.inputs[0]);
    if (!target || target->is_constant() || target->type != DataType::kInt64 ||
        target->shape.size() != 1 || !input.shape_known) {
      return;
    }
    std::vector<int64_t> sizes = Integers(*target);
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (target->batches[i] == 0) continue;
      const bool is_batch = sizes[i] == 0 && target->batches[i] == 1;
      const bool stays = is_batch && i < input.shape.size() && input.shape[i] == kDynamic;
      if (!stays && std::count(sizes.begin(), sizes.end(), -1) != 0) return;
      sizes[i] = stays ? 0 : -1;
    }
    const TensorId constant = graph_.AddTensor(
        MakeInts(UniqueName(absl::StrCat(graph_.tensor(node.inputs[1]).name, "_settled")),
                 {static_cast<int64_t>(sizes.size())}, sizes));
    is_output_.push_back(false);
    values_.push_back(ConstantValue(graph_, constant));
    node.inputs[1] = constant;
  }

  std::string UniqueName(const std::string& base) const {
    std::string name = base;
    for (int n = 2; graph_.FindTensor(name) != TensorId::kNone; ++n) {
      name = absl::StrCat(base, "_", n);
    }
    return name;
  }

  // Folded nodes, and, from the end, nodes of known value that nothing reads any more.
  void RemoveNodes() {
    std::vector<int64_t> readers(graph_.tensors.size(), 0);
    for (const Node& node : graph_.nodes) {
      for (const TensorId id : node.inputs) {
        if (id != TensorId::kNone) ++readers[Index(id)];
      }
    }
    for (size_t i = graph_.nodes.size(); i-- > 0;) {
      const Node& node = graph_.nodes[i];
      const auto is_needless = [&](TensorId id) {
        return id == TensorId::kNone || (values_[Index(id)].has_value() &&
                                         readers[Index(id)] == 0 && !is_output_[Index(id)]);
      };
      if (!folded_[i] && !std::all_of(node.outputs.begin(), node.outputs.end(), is_needless)) {
        continue;
      }
      folded_[i] = true;
      for (const TensorId id : node.inputs) {
        if (id != TensorId::kNone) --readers[Index(id)];
      }
    }
    size_t next = 0;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (folded_[i]) continue;
      if (next != i) graph_.nodes[next] = std::move(graph_.nodes[i]);
      ++next;
    }
    graph_.nodes.resize(next);
  }

  Graph& graph_;
  const InferUnknown& infer_unknown_;
  std::vector<bool> is_output_;  // by tensor
  std::vector<bool> folded_;     // by node
  KnownValues values_;
};

}  // namespace

absl::Status FoldConstants(Graph& graph, const InferUnknown& infer_unknown) {
  return Folder(graph, infer_unknown).Run();
}

}  // namespace amc
