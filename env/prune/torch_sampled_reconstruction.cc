#include "env/prune/torch_sampled_reconstruction.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include "base/status_macros.h"
#include "env/cost/cost_model.h"
#include "env/exec/prefix_plan.h"
#include "env/prune/limits.h"
#include "env/prune/torch_activations.h"
#include "env/prune/torch_refit_walk.h"

namespace amc {
namespace {

// Towards the weights of fast reconstruction, relative to the mean diagonal of the features'
// covariance. From 2,500 or 5,000 samples of ResNet-56's layers, 0.3 to 3 rank candidates alike and
// lose least; with 1e-4, which suits the winner's 40,000 samples, refits follow theirs too closely.
// tests/bench/ranker_fidelity.cc measures what this ranking is worth.
constexpr FitOptions kFit = {.ridge = 1, .rounds = 1};
constexpr int64_t kActivationBytes = int64_t{1} << 30;
constexpr int64_t kPrefixBytes = int64_t{128} << 20;  // of the original's kept activations

int64_t ImagesThatFit(const Graph& graph, int64_t images) {
  // Of both networks: the pruned one's are at most as large.
  return std::max<int64_t>(1,
                           std::min(images, kActivationBytes / (2 * PeakActivationBytes(graph))));
}

}  // namespace

SampledReconstruction::SampledReconstruction(const Graph& graph, const Grouping& grouping,
                                             const DataPack& pack, int64_t images,
                                             const PruneOptions& options)
    : graph_(graph),
      grouping_(grouping),
      pack_(pack),
      images_(ImagesThatFit(graph, images)),
      options_(options),
      prefix_(graph, FirstNodes(grouping), pack, Split::kReconstruction, images_,
              WalkOptions(options.exec), kPrefixBytes) {}

absl::StatusOr<Rebuilt> SampledReconstruction::Run(const ChannelSelection& selection,
                                                   const Graph& shrunk,
                                                   const Pruner::Progress& progress) {
  AMC_ASSIGN_OR_RETURN(const std::vector<Refit> refits,
                       PlanRefits(graph_, grouping_, selection, shrunk, kMaxRefitFeatures));
  if (refits.empty()) return Rebuilt{shrunk};
  AMC_RETURN_IF_ERROR(KeepTargets(refits));
  const ExecOptions exec = WalkOptions(options_.exec);
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<TorchNetwork> pruned,
                       TorchNetwork::Create(shrunk, exec));
  AMC_ASSIGN_OR_RETURN(const PrefixStart start, prefix_.StartOf(shrunk));
  const at::NoGradGuard no_grad;
  std::optional<RefitWalk> walk;
  if (start.cache != nullptr) {
    walk.emplace(*pruned, start, kFit);
  } else {
    AMC_ASSIGN_OR_RETURN(std::vector<torch::Tensor> chunks,
                         LoadChunks(pack_, Split::kReconstruction, 0, images_, exec));
    walk.emplace(*pruned, std::move(chunks), kFit);
  }
  const auto target = [&](size_t r) -> absl::StatusOr<SampledTarget> {
    SampledTarget sampled = targets_.at(refits[r].layer.node);
    const torch::Tensor kept = torch::tensor(at::ArrayRef<int64_t>(refits[r].kept), at::kLong);
    sampled.rows = sampled.rows.index_select(1, kept.to(sampled.rows.device()));
    return sampled;
  };
  AMC_RETURN_IF_ERROR(walk->Run(refits, target, progress));
  AMC_ASSIGN_OR_RETURN(const int64_t macs, CountMacs(shrunk, walk->first(), walk->passed()));
  Rebuilt rebuilt;
  rebuilt.work = images_ * macs;
  AMC_ASSIGN_OR_RETURN(rebuilt.graph, pruned->ToGraph());
  return rebuilt;
}

absl::Status SampledReconstruction::KeepTargets(absl::Span<const Refit> refits) {
  std::vector<Refit> missing;
  for (const Refit& refit : refits) {
    if (targets_.find(refit.layer.node) != targets_.end()) continue;
    Refit& whole = missing.emplace_back(refit);
    const Shape& shape = graph_.tensor(refit.target).shape;
    whole.kept.resize(static_cast<size_t>(refit.layer.is_conv ? shape[1] : shape.back()));
    std::iota(whole.kept.begin(), whole.kept.end(), 0);
  }
  if (missing.empty()) return absl::OkStatus();
  const ExecOptions exec = WalkOptions(options_.exec);
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<TorchNetwork> original,
                       TorchNetwork::Create(graph_, exec));
  AMC_ASSIGN_OR_RETURN(std::vector<torch::Tensor> chunks,
                       LoadChunks(pack_, Split::kReconstruction, 0, images_, exec));
  const at::NoGradGuard no_grad;
  // As many samples as of all images that were asked for, also where not all of them fit.
  const int64_t samples =
      options_.samples_per_layer * options_.sampled_images / options_.reconstruction_images;
  const int64_t samples_per_image = std::max<int64_t>(1, samples / images_);
  OriginalTargets walk(*original, missing, std::move(chunks), samples_per_image, options_.seed);
  std::map<NodeId, SampledTarget> found;
  for (size_t r = 0; r < missing.size(); ++r) {
    AMC_ASSIGN_OR_RETURN(found[missing[r].layer.node], walk.Take(r));
  }
  targets_.merge(found);
  return absl::OkStatus();
}

}  // namespace amc
