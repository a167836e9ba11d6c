#include "env/prune/strong_plan.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace amc {
namespace {

class Planner {
 public:
  Planner(const Graph& graph, const Grouping& grouping, const ChannelSelection& selection,
          const Graph& shrunk)
      : graph_(graph),
        grouping_(grouping),
        selection_(selection),
        shrunk_(shrunk),
        producers_(Producers(graph)),
        readers_(Consumers(graph)),
        changed_(graph.tensors.size(), false) {
    for (const TensorId output : graph.outputs) readers_[Index(output)].push_back(NodeId::kNone);
  }

  absl::StatusOr<std::vector<Refit>> Plan(int64_t max_features) {
    AMC_ASSIGN_OR_RETURN(std::vector<Layer> layers, ListLayers(shrunk_));
    std::vector<Refit> refits;
    size_t next = 0;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const NodeId id = graph_.node_id(i);
      const Node& node = graph_.node(id);
      bool changes = LostInputs(node) || ReadsChanged(node);
      if (next < layers.size() && layers[next].node == id) {
        Layer& layer = layers[next++];
        if (layer.features <= max_features) {
          AMC_ASSIGN_OR_RETURN(Refit refit, Aim(layer));
          if (refit.other != TensorId::kNone) changes |= changed_[Index(refit.other)];
          if (changes) refits.push_back(std::move(refit));
        }
      }
      for (const TensorId output : node.outputs) {
        if (output != TensorId::kNone) changed_[Index(output)] = changes;
      }
    }
    return refits;
  }

 private:
  // Whether surgery took input channels from the layer's weight. Outputs alone do not matter: what
  // is left computes what it did.
  bool LostInputs(const Node& node) const {
    if (node.inputs.size() < 2 || node.inputs[1] == TensorId::kNone) return false;
    if (!IsMixing(graph_, node)) return false;
    const TensorId weight = node.inputs[1];
    for (const int dim : {0, 1}) {
      const ChannelAxis* axis = grouping_.FindAxis(weight, dim);
      const bool is_input = node.op == Op::kConv ? dim == 1 : IsInputDim(node, dim);
      if (axis != nullptr && is_input &&
          KeptSlots(*axis, selection_).size() != axis->slots.size()) {
        return true;
      }
    }
    return false;
  }

  bool IsInputDim(const Node& node, int dim) const {
    if (node.op == Op::kMatMul) return dim == 0;
    const absl::StatusOr<GemmParams> gemm = GetGemmParams(graph_, node);
    return gemm.ok() && dim == (gemm->trans_b ? 1 : 0);
  }

  bool ReadsChanged(const Node& node) const {
    return std::any_of(node.inputs.begin(), node.inputs.end(),
                       [&](TensorId id) { return id != TensorId::kNone && changed_[Index(id)]; });
  }

  // The tensor's only reader, or null.
  const Node* OnlyReader(TensorId id) const {
    const std::vector<NodeId>& readers = readers_[Index(id)];
    return readers.size() == 1 && readers[0] != NodeId::kNone ? &graph_.node(readers[0]) : nullptr;
  }

  absl::StatusOr<Refit> Aim(const Layer& layer) const {
    Refit refit;
    refit.target = layer.result;
    const Node* reader = OnlyReader(layer.result);
    if (reader != nullptr && reader->op == Op::kAdd) {
      const TensorId other = reader->inputs[reader->inputs[0] == layer.result ? 1 : 0];
      if (IsComputedBefore(other, layer.node) &&
          graph_.tensor(other).shape == graph_.tensor(layer.result).shape) {
        refit.other = other;
        refit.target = reader->outputs[0];
        reader = OnlyReader(refit.target);
      }
    }
    if (reader != nullptr && reader->op == Op::kRelu) refit.low = 0;
    if (reader != nullptr && reader->op == Op::kClip) {
      AMC_ASSIGN_OR_RETURN(const ClipParams clip, GetClipParams(graph_, *reader));
      refit.low = clip.min;
      refit.high = clip.max;
    }
    const Shape& shape = graph_.tensor(refit.target).shape;
    const int dim = layer.is_conv ? 1 : static_cast<int>(shape.size()) - 1;
    refit.kept = KeptSlots(grouping_, refit.target, dim, shape[dim], selection_);
    refit.layer = layer;
    return refit;
  }

  bool IsComputedBefore(TensorId id, NodeId node) const {
    return !graph_.tensor(id).is_constant && producers_[Index(id)] < node;  // kNone: an input
  }

  const Graph& graph_;
  const Grouping& grouping_;
  const ChannelSelection& selection_;
  const Graph& shrunk_;
  const std::vector<NodeId> producers_;
  std::vector<std::vector<NodeId>> readers_;  // kNone stands for whoever asked for an output
  std::vector<bool> changed_;  // by TensorId: no longer the original's values on kept channels
};

}  // namespace

absl::StatusOr<std::vector<Refit>> PlanRefits(const Graph& graph, const Grouping& grouping,
                                              const ChannelSelection& selection,
                                              const Graph& shrunk, int64_t max_features) {
  return Planner(graph, grouping, selection, shrunk).Plan(max_features);
}

}  // namespace amc
