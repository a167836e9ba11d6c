#include "env/prune/torch_fast_reconstruction.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/status_macros.h"
#include "env/prune/torch_patches.h"

namespace amc {
namespace {

torch::Tensor IndexTensor(const std::vector<int64_t>& values) {
  return torch::tensor(at::ArrayRef<int64_t>(values), at::kLong);
}

void SetConstant(Graph& graph, TensorId id, const torch::Tensor& values) {
  const torch::Tensor floats = values.to(at::kFloat).contiguous();
  Tensor& tensor = graph.tensor(id);
  tensor = MakeFloats(
      tensor.name, tensor.shape,
      absl::MakeConstSpan(floats.data_ptr<float>(), static_cast<size_t>(floats.numel())));
}

// The features of each convolution group, kept and removed.
struct FeatureSplit {
  std::vector<std::vector<int64_t>> kept, removed;
  bool lost_any = false;
};

FeatureSplit SplitFeatures(const Layer& layer, const std::vector<ChannelRef>& channels,
                           const std::vector<std::vector<bool>>& stays) {
  FeatureSplit split;
  split.kept.resize(static_cast<size_t>(layer.groups));
  split.removed.resize(static_cast<size_t>(layer.groups));
  for (int64_t g = 0; g < layer.groups; ++g) {
    for (int64_t f = 0; f < layer.features; ++f) {
      const ChannelRef& channel = channels[g * layer.features + f];
      const bool kept = channel.group == ChannelRef::kWhole || stays[channel.group][channel.index];
      (kept ? split.kept : split.removed)[g].push_back(f);
      split.lost_any |= !kept;
    }
  }
  return split;
}

absl::Status RefitLayer(const Graph& graph, const Grouping& grouping, const Layer& layer,
                        const FeatureMoments& moments, const FeatureSplit& split,
                        const ChannelSelection& selection, double ridge, Graph& shrunk) {
  AMC_ASSIGN_OR_RETURN(const torch::Tensor original, ConstantTensor(graph, layer.weight));
  AMC_ASSIGN_OR_RETURN(const torch::Tensor sliced, ConstantTensor(shrunk, layer.weight));
  const torch::Tensor weight = WeightMatrix(layer, original);
  const std::vector<int64_t> kept_outputs =
      KeptSlots(grouping, layer.weight, layer.output_dim(), layer.outputs, selection);
  const int64_t outputs_per_group = layer.outputs / layer.groups;
  std::vector<torch::Tensor> weights, intercepts;
  size_t next = 0;  // into kept_outputs, which is ascending and so ordered by group
  for (int64_t g = 0; g < layer.groups; ++g) {
    std::vector<int64_t> outputs;
    for (; next < kept_outputs.size() && kept_outputs[next] < (g + 1) * outputs_per_group; ++next) {
      outputs.push_back(kept_outputs[next] - g * outputs_per_group);
    }
    const torch::Tensor rows = weight[g].index_select(0, IndexTensor(outputs));
    const torch::Tensor kept = IndexTensor(split.kept[g]);
    const torch::Tensor removed = IndexTensor(split.removed[g]);
    AMC_ASSIGN_OR_RETURN(const Compensation compensation,
                         CompensateRemoved(moments, g, kept, removed, rows.index_select(1, removed),
                                           ridge, layer.has_intercept()));
    weights.push_back(rows.index_select(1, kept) + compensation.weight);
    intercepts.push_back(compensation.intercept);
  }
  SetConstant(shrunk, layer.weight, FromWeightMatrix(layer, torch::stack(weights), sliced.sizes()));
  if (!layer.has_intercept()) return absl::OkStatus();
  const torch::Tensor intercept = torch::cat(intercepts);
  if (layer.bias != TensorId::kNone) return AddToConstant(shrunk, layer.bias, intercept);
  return AddToConstant(shrunk, shrunk.node(layer.batch_norm).inputs[3], -intercept);
}

}  // namespace

absl::StatusOr<torch::Tensor> ConstantTensor(const Graph& graph, TensorId id) {
  AMC_ASSIGN_OR_RETURN(std::vector<float> values, Values<float>(graph, id));
  return torch::tensor(at::ArrayRef<float>(values), at::kFloat).reshape(graph.tensor(id).shape);
}

absl::Status AddToConstant(Graph& graph, TensorId id, const torch::Tensor& values) {
  AMC_ASSIGN_OR_RETURN(const torch::Tensor old, ConstantTensor(graph, id));
  SetConstant(graph, id, old.flatten().to(at::kDouble) + values);
  return absl::OkStatus();
}

absl::Status ReconstructFast(const Graph& graph, const Grouping& grouping,
                             const std::vector<Layer>& layers,
                             const std::vector<std::optional<FeatureMoments>>& moments,
                             const ChannelSelection& selection, double ridge, Graph& shrunk) {
  std::vector<std::vector<bool>> stays(selection.size());
  for (size_t g = 0; g < selection.size(); ++g) {
    stays[g].assign(static_cast<size_t>(grouping.groups[g].channels), false);
    for (const int32_t channel : selection[g]) stays[g][channel] = true;
  }
  for (size_t l = 0; l < layers.size(); ++l) {
    if (!moments[l].has_value() || !moments[l]->covariance.defined()) continue;
    const FeatureSplit split =
        SplitFeatures(layers[l], FeatureChannels(grouping, layers[l]), stays);
    if (!split.lost_any) continue;
    AMC_RETURN_IF_ERROR(CheckInterrupt());
    const std::string label = NodeLabel(graph, graph.node(layers[l].node));
    try {
      AMC_RETURN_IF_ERROR(Annotate(
          RefitLayer(graph, grouping, layers[l], *moments[l], split, selection, ridge, shrunk),
          label));
    } catch (const std::exception& error) {
      return absl::InternalError(absl::StrCat(label, ": fast reconstruction: ", error.what()));
    }
  }
  return absl::OkStatus();
}

}  // namespace amc
