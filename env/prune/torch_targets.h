// The original's side of strong reconstruction: rows of its activations, at sampled positions, that
// the pruned network's layers are refitted to.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "env/exec/torch_network.h"
#include "env/prune/strong_plan.h"
#include "env/prune/torch_activations.h"

namespace amc {

// What one refit aims at, and where it was taken.
struct SampledTarget {
  torch::Tensor rows;                    // positions x outputs
  std::vector<torch::Tensor> positions;  // one tensor per chunk
  int64_t height = 1, width = 1;         // of the layer's output
};

// Walks the original no further than the targets asked for, and samples each when it passes it, as
// activations are freed after their last reader. Thread-compatible; the network must outlive it.
class OriginalTargets {
 public:
  // Of each refit the channels `kept`. Positions are a function of `seed`, the layer and the
  // images.
  OriginalTargets(TorchNetwork& original, std::vector<Refit> refits,
                  std::vector<torch::Tensor> chunks, int64_t samples_per_image, uint64_t seed);

  // The target of the refit at this index. It is handed out once.
  absl::StatusOr<SampledTarget> Take(size_t refit);

  // How many nodes were run.
  size_t passed() const { return next_; }

 private:
  absl::StatusOr<SampledTarget> Sample(const Refit& refit) const;

  const std::vector<Refit> refits_;
  const int64_t samples_per_image_;
  const uint64_t seed_;
  TorchActivations activations_;
  const std::vector<NodeId> producers_;
  std::vector<SampledTarget> sampled_;  // by refit, until it is taken
  size_t next_ = 0;
};

}  // namespace amc
