// The pruned network's side of strong reconstruction: refits layer by layer, each from what the
// layers before it, already refitted, now give it.
#pragma once

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/exec/torch_network.h"
#include "env/prune/pruner.h"
#include "env/prune/strong_plan.h"
#include "env/prune/torch_activations.h"
#include "env/prune/torch_affine_fit.h"
#include "env/prune/torch_targets.h"

namespace amc {

// Thread-compatible. Changes the network's constants; it must outlive the walk.
class RefitWalk {
 public:
  // The walk begins at its input. Whether layers have intercepts is theirs to say.
  RefitWalk(TorchNetwork& pruned, std::vector<torch::Tensor> chunks, const FitOptions& options);
  // The walk begins at a cut (not the input) before which nothing is to be refitted.
  RefitWalk(TorchNetwork& pruned, const PrefixStart& start, const FitOptions& options);

  // `refits` in topological order. `target` hands out what a refit aims at, for the same images, in
  // the same chunks. A layer whose inputs are not finite keeps its weights.
  absl::Status Run(absl::Span<const Refit> refits,
                   absl::FunctionRef<absl::StatusOr<SampledTarget>(size_t refit)> target,
                   const Pruner::Progress& progress);

  // Nodes [first, passed) were run.
  size_t first() const { return first_; }
  size_t passed() const { return next_; }

 private:
  struct BatchNorm {
    torch::Tensor &scale, &shift, &mean, &variance;
    double epsilon;
  };
  absl::Status RefitLayer(const Refit& refit, const SampledTarget& sampled);
  absl::StatusOr<BatchNorm> ReadBatchNorm(const Layer& layer);
  absl::Status Store(const Layer& layer, const AffineFit& fit);

  const FitOptions options_;
  TorchNetwork& network_;
  TorchActivations activations_;
  const size_t first_ = 0;
  size_t next_ = 0;
};

}  // namespace amc
