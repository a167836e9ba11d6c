// A policy in, a smaller network out: choose channels, shrink, reconstruct.
//
// Fast reconstruction solves sub-matrices of normal equations accumulated once, from the original's
// activations, then recalibrates: matches the channels' moments to the original's. Strong
// reconstruction refits layer by layer from the already pruned network's inputs, the target being
// the original block's output minus the pruned shortcut (He et al., ICCV 2017, section 3.2); the
// winner always gets it. Sampled reconstruction is both, from few images, for ranking. Networks
// whose batch norm was folded before export are treated alike.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/exec/data_pack.h"
#include "env/exec/exec_options.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"

namespace amc {

// l1, l2: norms of the weights that make a channel. energy: what it contributes to its consumers'
// outputs. greedy: what its consumers cannot make up for without it (backward elimination).
enum class Criterion { kL1 = 1, kL2 = 2, kActivationEnergy = 3, kGreedy = 4 };
enum class Reconstruction { kNone = 1, kFast = 2, kStrong = 3, kSampled = 4 };

// "l1", "l2", "energy", "greedy"
absl::StatusOr<Criterion> ParseCriterion(absl::string_view name);
absl::string_view CriterionName(Criterion criterion);
// "none", "fast", "sampled", "strong"
absl::StatusOr<Reconstruction> ParseReconstruction(absl::string_view name);
absl::string_view ReconstructionName(Reconstruction reconstruction);

struct PruneOptions {
  Criterion criterion = Criterion::kGreedy;
  ExecOptions exec;
  int64_t reconstruction_images = 4000;  // from the reconstruction split (all if it has fewer)
  int64_t samples_per_layer = 40000;     // output positions that enter a layer's normal equations
  int64_t sampled_images = 250;          // of these, that sampled reconstruction fits to
  int64_t recalibration_images = 128;    // that fast reconstruction recalibrates on; 0: never
  double ridge = 1e-4;                   // relative to the mean diagonal of X^T X
  uint64_t seed = 0;                     // of the sampled positions
};

// What a job keeps of one network and one data set. The expensive part, reading activations of the
// original, happens once, on first need. Thread-compatible; deterministic in its arguments.
class Pruner {
 public:
  using Progress = std::function<void(int64_t done, int64_t total)>;

  // Copies graph and grouping; `pack` must outlive the pruner. InvalidArgument when they do
  // not fit.
  static absl::StatusOr<std::unique_ptr<Pruner>> Create(const Graph& graph,
                                                        const Grouping& grouping,
                                                        const DataPack& pack,
                                                        const PruneOptions& options);
  virtual ~Pruner() = default;

  // Prepare and Prune can be interrupted (base/interrupt.h). Cancelled, they leave what is kept
  // between candidates as it was, and the next call gives what it would have given.

  // Accumulates the statistics that Prune with kFast and kSampled needs. Optional: Prune does it
  // otherwise.
  virtual absl::Status Prepare(const Progress& progress) = 0;

  // `kept` has one count per group, on its cells.
  virtual absl::StatusOr<Graph> Prune(absl::Span<const int64_t> kept, Reconstruction reconstruction,
                                      const Progress& progress) = 0;

  // Whether the network that Prune gave last is a recalibrated one. Strong reconstruction keeps a
  // recalibration only where the KL divergence on held-out images falls.
  virtual bool recalibrated() const = 0;

  // Multiply-accumulates of what that network was forwarded for, and the original beside it: images
  // times the MACs of the layers that they passed. Fast reconstruction: recalibration, from the
  // cut at which it starts. Sampled: the walk through the network, from such a cut. Strong: the
  // walk through both networks, fresh statistics, and the held-out images with and without these.
  // What is made once and serves all candidates is left out: the normal equations, the original's
  // moments, logits and activations at cuts.
  virtual int64_t work() const = 0;
};

}  // namespace amc
