#include "env/prune/torch_refit_walk.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "env/prune/torch_affine_fit.h"
#include "env/prune/torch_patches.h"

namespace amc {

RefitWalk::RefitWalk(TorchNetwork& pruned, std::vector<torch::Tensor> chunks,
                     const FitOptions& options)
    : options_(options), network_(pruned), activations_(pruned) {
  activations_.SetInput(std::move(chunks));
}

RefitWalk::RefitWalk(TorchNetwork& pruned, const PrefixStart& start, const FitOptions& options)
    : options_(options),
      network_(pruned),
      activations_(pruned),
      first_(start.node),
      next_(start.node) {
  activations_.SetStart(start);
}

absl::Status RefitWalk::Run(absl::Span<const Refit> refits,
                            absl::FunctionRef<absl::StatusOr<SampledTarget>(size_t refit)> target,
                            const Pruner::Progress& progress) {
  for (size_t r = 0; r < refits.size(); ++r) {
    AMC_ASSIGN_OR_RETURN(const SampledTarget sampled, target(r));
    AMC_RETURN_IF_ERROR(activations_.Run(next_, Index(refits[r].layer.node)));
    next_ = Index(refits[r].layer.node);
    const Node& layer = activations_.graph().node(refits[r].layer.node);
    const std::string label = NodeLabel(activations_.graph(), layer);
    try {
      AMC_RETURN_IF_ERROR(Annotate(RefitLayer(refits[r], sampled), label));
    } catch (const std::exception& error) {
      return absl::InternalError(absl::StrCat(label, ": reconstruction: ", error.what()));
    }
    if (progress) progress(static_cast<int64_t>(r + 1), static_cast<int64_t>(refits.size()));
  }
  return absl::OkStatus();
}

absl::Status RefitWalk::RefitLayer(const Refit& refit, const SampledTarget& sampled) {
  const Layer& layer = refit.layer;
  std::vector<torch::Tensor> features, offsets;
  for (size_t c = 0; c < sampled.positions.size(); ++c) {
    AMC_RETURN_IF_ERROR(CheckInterrupt());
    features.push_back(GatherPatches(layer, activations_.of(layer.input)[c], sampled.height,
                                     sampled.width, sampled.positions[c]));
    if (refit.other != TensorId::kNone) {
      offsets.push_back(
          GatherOutputs(activations_.of(refit.other)[c], layer.is_conv, sampled.positions[c]));
    }
  }
  FitTarget target{sampled.rows, offsets.empty() ? torch::Tensor() : torch::cat(offsets), refit.low,
                   refit.high};
  torch::Tensor all_features = torch::cat(features, 1);
  features.clear();
  torch::Tensor prior = WeightMatrix(layer, network_.constant(layer.weight));
  if (layer.batch_norm != NodeId::kNone) {
    AMC_ASSIGN_OR_RETURN(const BatchNorm norm, ReadBatchNorm(layer));
    const torch::Tensor scale = norm.scale / (norm.variance + norm.epsilon).sqrt();
    prior = prior * scale.reshape({layer.groups, -1, 1});
  }
  FitOptions options = options_;
  options.has_intercept = layer.has_intercept();
  const absl::StatusOr<AffineFit> fit = FitAffine(std::move(all_features), target, prior, options);
  if (absl::IsInvalidArgument(fit.status())) {  // an earlier fit blew up: nothing to fit to
    AMC_LOG(kWarning) << NodeLabel(activations_.graph(), activations_.graph().node(layer.node))
                      << ": " << fit.status().message();
    return absl::OkStatus();
  }
  AMC_RETURN_IF_ERROR(fit.status());
  return Store(layer, *fit);
}

absl::StatusOr<RefitWalk::BatchNorm> RefitWalk::ReadBatchNorm(const Layer& layer) {
  const Node& node = activations_.graph().node(layer.batch_norm);
  AMC_ASSIGN_OR_RETURN(const float epsilon, GetBatchNormEpsilon(activations_.graph(), node));
  const auto constant = [&](size_t i) -> torch::Tensor& {
    return network_.constant(node.inputs[i]);
  };
  return BatchNorm{constant(1), constant(2), constant(3), constant(4), epsilon};
}

absl::Status RefitWalk::Store(const Layer& layer, const AffineFit& fit) {
  torch::Tensor& weight = network_.constant(layer.weight);
  if (layer.batch_norm == NodeId::kNone) {
    weight.copy_(FromWeightMatrix(layer, fit.weight, weight.sizes()));
    if (layer.bias != TensorId::kNone) {
      torch::Tensor& bias = network_.constant(layer.bias);
      bias.copy_(fit.intercept.reshape(bias.sizes()));
    }
    return absl::OkStatus();
  }
  // Any scale would do, for batch norm divides by it: take the one that keeps the old variance.
  AMC_ASSIGN_OR_RETURN(const BatchNorm norm, ReadBatchNorm(layer));
  const torch::Tensor scale =
      (norm.variance / fit.variance.clamp_min(1e-12)).sqrt().clamp(1e-3, 1e3);
  const torch::Tensor scaled = fit.weight * scale.reshape({layer.groups, -1, 1});
  weight.copy_(FromWeightMatrix(layer, scaled, weight.sizes()));
  if (layer.bias != TensorId::kNone) network_.constant(layer.bias).zero_();
  norm.mean.copy_(fit.mean * scale);
  norm.variance.copy_(fit.variance * scale * scale);
  norm.scale.copy_((norm.variance + norm.epsilon).sqrt() / scale);
  norm.shift.copy_(fit.mean + fit.intercept);
  return absl::OkStatus();
}

}  // namespace amc
