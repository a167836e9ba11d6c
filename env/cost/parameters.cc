#include "env/cost/parameters.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace amc {
namespace {

// ONNX operators whose work is multiply-accumulates.
constexpr std::array<absl::string_view, 14> kMultiplyingOps = {
    "Conv", "ConvTranspose", "ConvInteger",   "QLinearConv",   "DeformConv",
    "Gemm", "MatMul",        "MatMulInteger", "QLinearMatMul", "Einsum",
    "LSTM", "GRU",           "RNN",           "Attention"};

bool HasConstantInput(const Graph& graph, const Node& node, size_t input) {
  return input < node.inputs.size() && node.inputs[input] != TensorId::kNone &&
         graph.tensor(node.inputs[input]).is_constant;
}

// Elements per image of a layer's output in its dimensions [first, rank). Dimension 0 is the batch.
absl::StatusOr<int64_t> OutputElements(const Graph& graph, const Node& node, size_t first) {
  if (node.outputs.empty() || !graph.tensor(node.outputs[0]).shape_known ||
      graph.tensor(node.outputs[0]).shape.size() < first) {
    return absl::InvalidArgumentError(
        absl::StrCat(NodeLabel(graph, node), ": its output has no shape to count from"));
  }
  const Shape& shape = graph.tensor(node.outputs[0]).shape;
  return NumElements(Shape(shape.begin() + first, shape.end()));
}

class Lister {
 public:
  explicit Lister(const Graph& graph)
      : graph_(graph), producers_(Producers(graph)), seen_(graph.tensors.size(), false) {}

  absl::Status Visit(NodeId id) {
    const Node& node = graph_.node(id);
    switch (node.op) {
      case Op::kConv: {
        AMC_ASSIGN_OR_RETURN(const int64_t positions, OutputElements(graph_, node, 2));
        AddInput(id, 1, positions);
        AddInput(id, 2, 0);
        break;
      }
      case Op::kGemm:
        AddInput(id, 1, 1);
        AddInput(id, 2, 0);
        break;
      case Op::kMatMul: {
        if (!HasConstantInput(graph_, node, 1)) break;
        AMC_ASSIGN_OR_RETURN(const int64_t outputs, OutputElements(graph_, node, 1));
        const Shape& weight = graph_.tensor(node.inputs[1]).shape;
        AMC_ASSIGN_OR_RETURN(const int64_t elements, NumElements(weight));
        // Elements of the weight per output position: its columns, times the stack if it is one.
        const int64_t rows =
            weight.empty() ? 1 : weight[weight.size() - std::min<size_t>(2, weight.size())];
        const int64_t positions = elements == 0 ? 0 : outputs / (elements / rows);
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
  bool AddsToMatMul(const Node& node, size_t input) const {
    if (input >= node.inputs.size() || node.inputs[input] == TensorId::kNone) return false;
    const NodeId producer = producers_[Index(node.inputs[input])];
    return producer != NodeId::kNone && graph_.node(producer).op == Op::kMatMul &&
           HasConstantInput(graph_, graph_.node(producer), 1);
  }

  void AddInput(NodeId id, size_t input, int64_t macs_per_element) {
    const Node& node = graph_.node(id);
    if (!HasConstantInput(graph_, node, input)) return;
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

std::vector<NodeId> UncountedLayers(const Graph& graph) {
  std::vector<NodeId> uncounted;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (!absl::c_linear_search(kMultiplyingOps, node.op_type)) continue;
    const bool is_counted =
        (node.op == Op::kConv || node.op == Op::kGemm || node.op == Op::kMatMul) &&
        HasConstantInput(graph, node, 1);
    if (!is_counted) uncounted.push_back(graph.node_id(i));
  }
  return uncounted;
}

}  // namespace amc
