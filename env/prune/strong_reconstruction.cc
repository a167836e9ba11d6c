#include "env/prune/strong_reconstruction.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "env/cost/cost_model.h"
#include "env/prune/limits.h"
#include "env/prune/strong_plan.h"
#include "env/prune/torch_activations.h"
#include "env/prune/torch_refit_walk.h"
#include "env/prune/torch_targets.h"

namespace amc {
namespace {

constexpr int64_t kActivationBytes = int64_t{6} << 30;  // of both networks together

}  // namespace

absl::StatusOr<Rebuilt> ReconstructStrongly(const Graph& graph, const Grouping& grouping,
                                            const ChannelSelection& selection, const Graph& shrunk,
                                            const DataPack& pack, int64_t images,
                                            const PruneOptions& options,
                                            const Pruner::Progress& progress) {
  AMC_ASSIGN_OR_RETURN(const std::vector<Refit> refits,
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
  const int64_t samples_per_image = std::max<int64_t>(1, options.samples_per_layer / images);
  OriginalTargets targets(*original, refits, chunks, samples_per_image, options.seed);
  RefitWalk walk(*pruned, chunks, {.ridge = options.ridge});
  AMC_RETURN_IF_ERROR(walk.Run(
      refits, [&](size_t refit) { return targets.Take(refit); }, progress));
  AMC_ASSIGN_OR_RETURN(const int64_t original_macs, CountMacs(graph, 0, targets.passed()));
  AMC_ASSIGN_OR_RETURN(const int64_t pruned_macs, CountMacs(shrunk, 0, walk.passed()));
  Rebuilt rebuilt;
  rebuilt.work = images * (original_macs + pruned_macs);
  AMC_ASSIGN_OR_RETURN(rebuilt.graph, pruned->ToGraph());
  return rebuilt;
}

}  // namespace amc
