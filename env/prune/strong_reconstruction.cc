#include "env/prune/strong_reconstruction.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "env/cost/cost_model.h"
#include "env/prune/limits.h"
#include "env/prune/strong_plan.h"
#include "env/prune/torch_activations.h"
#include "env/prune/torch_affine_fit.h"
#include "env/prune/torch_patches.h"

namespace amc {
namespace {

constexpr int64_t kActivationBytes = int64_t{6} << 30;  // of both networks together

// The original's rows that a refit aims at, and where they were taken.
struct SampledTarget {
  torch::Tensor rows;                    // positions x kept outputs
  std::vector<torch::Tensor> positions;  // one tensor per chunk
  int64_t height = 1, width = 1;
};

class Reconstructor {
 public:
  Reconstructor(const PruneOptions& options, int64_t images, std::vector<Refit> refits,
                TorchNetwork& original, TorchNetwork& pruned)
      : options_(options),
        images_(images),
        refits_(std::move(refits)),
        targets_(refits_.size()),
        pruned_network_(pruned),
        original_(original),
        pruned_(pruned) {}

  absl::Status Run(const std::vector<torch::Tensor>& chunks, const Pruner::Progress& progress) {
    original_.SetInput(chunks);
    pruned_.SetInput(chunks);
    const std::vector<NodeId> producers = Producers(original_.graph());
    for (size_t r = 0; r < refits_.size(); ++r) {
      AMC_RETURN_IF_ERROR(AdvanceOriginal(producers[Index(refits_[r].target)]));
      for (; next_pruned_ < Index(refits_[r].layer.node); ++next_pruned_) {
        AMC_RETURN_IF_ERROR(pruned_.Run(pruned_.graph().node_id(next_pruned_)));
      }
      const Node& layer = pruned_.graph().node(refits_[r].layer.node);
      const std::string label = NodeLabel(pruned_.graph(), layer);
      try {
        AMC_RETURN_IF_ERROR(Annotate(RefitLayer(refits_[r], targets_[r]), label));
      } catch (const std::exception& error) {
        return absl::InternalError(absl::StrCat(label, ": reconstruction: ", error.what()));
      }
      targets_[r] = SampledTarget();
      if (progress) progress(static_cast<int64_t>(r + 1), static_cast<int64_t>(refits_.size()));
    }
    return absl::OkStatus();
  }

  // Multiply-accumulates of what Run forwarded.
  absl::StatusOr<int64_t> Work() const {
    AMC_ASSIGN_OR_RETURN(const int64_t original, CountMacs(original_.graph(), 0, next_original_));
    AMC_ASSIGN_OR_RETURN(const int64_t pruned, CountMacs(pruned_.graph(), 0, next_pruned_));
    return images_ * (original + pruned);
  }

 private:
  // Runs the original up to and including `last`, taking samples of the targets on the way.
  absl::Status AdvanceOriginal(NodeId last) {
    for (; next_original_ <= Index(last); ++next_original_) {
      const NodeId id = original_.graph().node_id(next_original_);
      AMC_RETURN_IF_ERROR(original_.Run(id));
      const std::vector<TensorId>& outputs = original_.graph().node(id).outputs;
      for (size_t r = 0; r < refits_.size(); ++r) {
        if (std::count(outputs.begin(), outputs.end(), refits_[r].target) == 0) continue;
        try {
          AMC_ASSIGN_OR_RETURN(targets_[r], Sample(refits_[r]));
        } catch (const std::exception& error) {
          return absl::InternalError(
              absl::StrCat(NodeLabel(original_.graph(), original_.graph().node(id)),
                           ": sampling: ", error.what()));
        }
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<SampledTarget> Sample(const Refit& refit) {
    const bool is_conv = refit.layer.is_conv;
    const std::vector<torch::Tensor>& chunks = original_.of(refit.target);
    const int64_t per_image = std::max<int64_t>(1, options_.samples_per_layer / images_);
    Rng rng(options_.seed, Index(refit.layer.node));
    SampledTarget target;
    if (is_conv) {
      target.height = chunks[0].size(2);
      target.width = chunks[0].size(3);
    }
    const torch::Tensor kept =
        torch::tensor(at::ArrayRef<int64_t>(refit.kept), at::kLong).to(chunks[0].device());
    std::vector<torch::Tensor> rows;
    for (const torch::Tensor& chunk : chunks) {
      AMC_RETURN_IF_ERROR(CheckInterrupt());
      target.positions.push_back(
          SamplePositions(chunk.size(0), PositionsPerImage(chunk, is_conv), per_image, rng));
      rows.push_back(GatherOutputs(chunk, is_conv, target.positions.back()).index_select(1, kept));
    }
    target.rows = torch::cat(rows);
    return target;
  }

  absl::Status RefitLayer(const Refit& refit, const SampledTarget& sampled) {
    const Layer& layer = refit.layer;
    std::vector<torch::Tensor> features, offsets;
    for (size_t c = 0; c < sampled.positions.size(); ++c) {
      AMC_RETURN_IF_ERROR(CheckInterrupt());
      features.push_back(GatherPatches(layer, pruned_.of(layer.input)[c], sampled.height,
                                       sampled.width, sampled.positions[c]));
      if (refit.other != TensorId::kNone) {
        offsets.push_back(
            GatherOutputs(pruned_.of(refit.other)[c], layer.is_conv, sampled.positions[c]));
      }
    }
    FitTarget target{sampled.rows, offsets.empty() ? torch::Tensor() : torch::cat(offsets),
                     refit.low, refit.high};
    torch::Tensor all_features = torch::cat(features, 1);
    features.clear();
    torch::Tensor prior = WeightMatrix(layer, pruned_network_.constant(layer.weight));
    if (layer.batch_norm != NodeId::kNone) {
      AMC_ASSIGN_OR_RETURN(const BatchNorm norm, ReadBatchNorm(layer));
      const torch::Tensor scale = norm.scale / (norm.variance + norm.epsilon).sqrt();
      prior = prior * scale.reshape({layer.groups, -1, 1});
    }
    const absl::StatusOr<AffineFit> fit =
        FitAffine(std::move(all_features), target, prior, options_.ridge, layer.has_intercept());
    if (absl::IsInvalidArgument(fit.status())) {  // an earlier fit blew up: nothing to fit to
      AMC_LOG(kWarning) << NodeLabel(pruned_.graph(), pruned_.graph().node(layer.node)) << ": "
                        << fit.status().message();
      return absl::OkStatus();
    }
    AMC_RETURN_IF_ERROR(fit.status());
    return Store(layer, *fit);
  }

  struct BatchNorm {
    torch::Tensor &scale, &shift, &mean, &variance;
    double epsilon;
  };
  absl::StatusOr<BatchNorm> ReadBatchNorm(const Layer& layer) {
    const Node& node = pruned_.graph().node(layer.batch_norm);
    AMC_ASSIGN_OR_RETURN(const float epsilon, GetBatchNormEpsilon(pruned_.graph(), node));
    const auto constant = [&](size_t i) -> torch::Tensor& {
      return pruned_network_.constant(node.inputs[i]);
    };
    return BatchNorm{constant(1), constant(2), constant(3), constant(4), epsilon};
  }

  absl::Status Store(const Layer& layer, const AffineFit& fit) {
    torch::Tensor& weight = pruned_network_.constant(layer.weight);
    if (layer.batch_norm == NodeId::kNone) {
      weight.copy_(FromWeightMatrix(layer, fit.weight, weight.sizes()));
      if (layer.bias != TensorId::kNone) {
        torch::Tensor& bias = pruned_network_.constant(layer.bias);
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
    if (layer.bias != TensorId::kNone) pruned_network_.constant(layer.bias).zero_();
    norm.mean.copy_(fit.mean * scale);
    norm.variance.copy_(fit.variance * scale * scale);
    norm.scale.copy_((norm.variance + norm.epsilon).sqrt() / scale);
    norm.shift.copy_(fit.mean + fit.intercept);
    return absl::OkStatus();
  }

  const PruneOptions& options_;
  const int64_t images_;
  const std::vector<Refit> refits_;
  std::vector<SampledTarget> targets_;  // by refit, while it is needed
  TorchNetwork& pruned_network_;
  TorchActivations original_, pruned_;
  size_t next_original_ = 0, next_pruned_ = 0;  // the nodes to be run next
};

}  // namespace

absl::StatusOr<Rebuilt> ReconstructStrongly(const Graph& graph, const Grouping& grouping,
                                            const ChannelSelection& selection, const Graph& shrunk,
                                            const DataPack& pack, int64_t images,
                                            const PruneOptions& options,
                                            const Pruner::Progress& progress) {
  AMC_ASSIGN_OR_RETURN(std::vector<Refit> refits,
                       PlanRefits(graph, grouping, selection, shrunk, kMaxRefitFeatures));
  if (refits.empty()) return Rebuilt{shrunk};
  const ExecOptions exec = WalkOptions(options.exec);
  const int64_t bytes = PeakActivationBytes(graph) + PeakActivationBytes(shrunk);
  images = std::max<int64_t>(1, std::min(images, kActivationBytes / bytes));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<TorchNetwork> original,
                       TorchNetwork::Create(graph, exec));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<TorchNetwork> pruned,
                       TorchNetwork::Create(shrunk, exec));
  AMC_ASSIGN_OR_RETURN(const std::vector<torch::Tensor> chunks,
                       LoadChunks(pack, Split::kReconstruction, 0, images, exec));
  const at::NoGradGuard no_grad;
  Reconstructor reconstructor(options, images, std::move(refits), *original, *pruned);
  AMC_RETURN_IF_ERROR(reconstructor.Run(chunks, progress));
  Rebuilt rebuilt;
  AMC_ASSIGN_OR_RETURN(rebuilt.work, reconstructor.Work());
  AMC_ASSIGN_OR_RETURN(rebuilt.graph, pruned->ToGraph());
  return rebuilt;
}

}  // namespace amc
