#include "env/cost/parameters.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace amc {
namespace {

// Positions per image at which a layer applies its weights: the dimensions [first, last) of its
// output. Dimension 0 is the batch.
absl::StatusOr<int64_t> Positions(const Graph& graph, const Node& node, size_t first,
                                  size_t dims_left_out) {
  const Tensor& output = graph.tensor(node.outputs.at(0));
  if (!output.shape_known || output.shape.size() < first + dims_left_out) {
    return absl::InvalidArgumentError(absl::StrCat(NodeLabel(graph, node), ": output ", output.name,
                                                   " has no shape to count from"));
  }
  return NumElements(Shape(output.shape.begin() + first, output.shape.end() - dims_left_out));
}

class Lister {
 public:
  explicit Lister(const Graph& graph)
      : graph_(graph), producers_(Producers(graph)), seen_(graph.tensors.size(), false) {}

  absl::Status Visit(NodeId id) {
    const Node& node = graph_.node(id);
    switch (node.op) {
      case Op::kConv: {
        AMC_ASSIGN_OR_RETURN(const int64_t positions, Positions(graph_, node, 2, 0));
        AddInput(id, 1, positions);
        AddInput(id, 2, 0);
        break;
      }
      case Op::kGemm:
        AddInput(id, 1, 1);
        AddInput(id, 2, 0);
        break;
      case Op::kMatMul: {
        if (!IsConstant(node, 1)) break;
        const size_t rank = graph_.tensor(node.outputs.at(0)).shape.size();
        AMC_ASSIGN_OR_RETURN(const int64_t positions,
                             Positions(graph_, node, rank > 1 ? 1 : 0, rank > 0 ? 1 : 0));
        AddInput(id, 1, positions);
        break;
      }
      case Op::kBatchNormalization:
        AddInput(id, 1, 0);
        AddInput(id, 2, 0);
        break;
      case Op::kAdd:  // a linear layer's bias, where the exporter wrote MatMul + Add
        for (size_t i : {0, 1}) {
          if (AddsToMatMul(node, 1 - i)) AddInput(id, i, 0);
        }
        break;
      default:
        break;
    }
    return absl::OkStatus();
  }

  std::vector<Parameter> parameters;

 private:
  bool IsConstant(const Node& node, size_t input) const {
    return input < node.inputs.size() && node.inputs[input] != TensorId::kNone &&
           graph_.tensor(node.inputs[input]).is_constant;
  }

  bool AddsToMatMul(const Node& node, size_t input) const {
    if (input >= node.inputs.size() || node.inputs[input] == TensorId::kNone) return false;
    const NodeId producer = producers_[Index(node.inputs[input])];
    return producer != NodeId::kNone && graph_.node(producer).op == Op::kMatMul &&
           IsConstant(graph_.node(producer), 1);
  }

  void AddInput(NodeId id, size_t input, int64_t macs_per_element) {
    const Node& node = graph_.node(id);
    if (!IsConstant(node, input)) return;
    const TensorId tensor = node.inputs[input];
    parameters.push_back({.node = id,
                          .tensor = tensor,
                          .macs_per_element = macs_per_element,
                          .counts = !seen_[Index(tensor)]});
    seen_[Index(tensor)] = true;
  }

  const Graph& graph_;
  const std::vector<NodeId> producers_;
  std::vector<bool> seen_;
};

}  // namespace

absl::StatusOr<std::vector<Parameter>> ListParameters(const Graph& graph) {
  Lister lister(graph);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    AMC_RETURN_IF_ERROR(lister.Visit(graph.node_id(i)));
  }
  return std::move(lister.parameters);
}

}  // namespace amc
