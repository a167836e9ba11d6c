#include "env/prune/layers.h"

#include <algorithm>

#include "base/status_macros.h"

namespace amc {
namespace {

class LayerLister {
 public:
  explicit LayerLister(const Graph& graph) : graph_(graph), readers_(Consumers(graph)) {
    for (const TensorId output : graph.outputs) readers_[Index(output)].push_back(NodeId::kNone);
  }

  absl::StatusOr<std::vector<Layer>> List() const {
    std::vector<Layer> layers;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      AMC_ASSIGN_OR_RETURN(Layer layer, Describe(graph_.node_id(i)));
      if (layer.node == NodeId::kNone) continue;
      FindBatchNorm(layer);
      layers.push_back(layer);
    }
    return layers;
  }

 private:
  // Whether `id` holds bytes that one node alone reads.
  bool IsOwn(TensorId id) const {
    const Tensor& tensor = graph_.tensor(id);
    return tensor.is_constant && tensor.data != nullptr && tensor.type == DataType::kFloat &&
           readers_[Index(id)].size() == 1;
  }

  // A Layer without node where there is nothing to refit.
  absl::StatusOr<Layer> Describe(NodeId id) const {
    const Node& node = graph_.node(id);
    Layer layer;
    if (node.op != Op::kConv && node.op != Op::kGemm && node.op != Op::kMatMul) return layer;
    if (node.inputs.size() < 2 || !IsOwn(node.inputs[1])) return layer;
    const Shape& weight = graph_.tensor(node.inputs[1]).shape;
    if (node.op == Op::kConv) {
      AMC_ASSIGN_OR_RETURN(layer.conv, GetConvParams(graph_, node));
      layer.is_conv = true;
      layer.groups = layer.conv.groups;
      layer.outputs = layer.conv.out_channels;
      layer.features =
          layer.conv.in_channels / layer.groups * layer.conv.kernel[0] * layer.conv.kernel[1];
      layer.depthwise = layer.groups > 1 && layer.groups == layer.conv.in_channels;
    } else {
      if (weight.size() != 2 || !IsMixing(graph_, node)) return layer;
      if (node.op == Op::kGemm) {
        AMC_ASSIGN_OR_RETURN(const GemmParams gemm, GetGemmParams(graph_, node));
        if (gemm.alpha != 1 || gemm.beta != 1) return layer;
        layer.weight_by_output = gemm.trans_b;
      } else {
        layer.weight_by_output = false;
      }
      layer.outputs = weight[layer.output_dim()];
      layer.features = weight[layer.input_dim()];
    }
    if (node.inputs.size() > 2 && node.inputs[2] != TensorId::kNone) {
      layer.bias = node.inputs[2];
      if (!IsOwn(layer.bias)) return Layer();
      AMC_ASSIGN_OR_RETURN(const int64_t size, NumElements(graph_.tensor(layer.bias).shape));
      if (size != layer.outputs) return Layer();
    }
    layer.node = id;
    layer.input = node.inputs[0];
    layer.weight = node.inputs[1];
    layer.result = node.outputs[0];
    return layer;
  }

  void FindBatchNorm(Layer& layer) const {
    const std::vector<NodeId>& readers = readers_[Index(layer.result)];
    if (readers.size() != 1 || readers[0] == NodeId::kNone) return;
    const Node& node = graph_.node(readers[0]);
    if (node.op != Op::kBatchNormalization || node.inputs.size() != 5) return;
    if (!std::all_of(node.inputs.begin() + 1, node.inputs.end(),
                     [&](TensorId id) { return id != TensorId::kNone && IsOwn(id); })) {
      return;
    }
    layer.batch_norm = readers[0];
    layer.result = node.outputs[0];
  }

  const Graph& graph_;
  std::vector<std::vector<NodeId>> readers_;  // kNone stands for whoever asked for an output
};

}  // namespace

absl::StatusOr<std::vector<Layer>> ListLayers(const Graph& graph) {
  return LayerLister(graph).List();
}

std::vector<int64_t> KeptSlots(const ChannelAxis& axis, const ChannelSelection& selection) {
  std::vector<int64_t> kept;
  for (size_t i = 0; i < axis.slots.size(); ++i) {
    const ChannelRef& slot = axis.slots[i];
    if (slot.group != ChannelRef::kWhole) {
      const std::vector<int32_t>& chosen = selection[static_cast<size_t>(slot.group)];
      if (!std::binary_search(chosen.begin(), chosen.end(), slot.index)) continue;
    }
    kept.push_back(static_cast<int64_t>(i));
  }
  return kept;
}

std::vector<int64_t> KeptSlots(const Grouping& grouping, TensorId tensor, int dim, int64_t size,
                               const ChannelSelection& selection) {
  if (const ChannelAxis* axis = grouping.FindAxis(tensor, dim); axis != nullptr) {
    return KeptSlots(*axis, selection);
  }
  std::vector<int64_t> all(static_cast<size_t>(size));
  for (int64_t i = 0; i < size; ++i) all[i] = i;
  return all;
}

std::vector<ChannelRef> FeatureChannels(const Grouping& grouping, const Layer& layer) {
  std::vector<ChannelRef> channels;
  const ChannelAxis* axis = grouping.FindAxis(layer.weight, layer.input_dim());
  if (axis == nullptr || axis->slots.empty()) return channels;
  const int64_t features = layer.groups * layer.features;
  const int64_t repeat = features / static_cast<int64_t>(axis->slots.size());
  channels.reserve(static_cast<size_t>(features));
  for (const ChannelRef& slot : axis->slots) channels.insert(channels.end(), repeat, slot);
  return channels;
}

}  // namespace amc
