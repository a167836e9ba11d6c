// Evaluates candidates in this process: choose channels, shrink, reconstruct, tune, measure.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "env/evaluator.h"
#include "env/exec/data_pack.h"
#include "env/exec/evaluate.h"
#include "env/exec/prefix_caches.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"
#include "env/prune/pruner.h"
#include "env/prune/rebuilt.h"
#include "env/prune/sparsifier.h"
#include "env/sparse_space.h"
#include "env/train/distillation.h"

namespace amc {

struct LocalEvaluatorOptions {
  PruneOptions prune;
  Reconstruction reconstruction = Reconstruction::kSampled;  // what ranks candidates
  int64_t reward_images = 0;                                 // 0: the whole reward split
  // SGD steps after the reconstruction of every network that lost channels, on batches of 64
  // (env/train/distillation.h). After a strong one, which has less to gain, the weights are taken
  // only if they bring the network nearer to the original on held-out images.
  int64_t finetune_steps = 0;
  double finetune_learning_rate = 0.01;
  // Candidates are zeros within weights (sparse_space.h): any reconstruction but kNone fits the
  // weights that stay (env/prune/sparsifier.h). Not with finetune_steps, which know of no zeros.
  std::optional<SparseSpace> sparsity = std::nullopt;
};

// Keeps the original's logits on the reward split, the pruner's statistics and, for the numbers of
// images that were last asked for, activations of the original (up to 256 MiB in all): candidates
// on at most kMostPrefixImages that keep the first groups whole start from these.
// Thread-compatible.
class LocalEvaluator : public Evaluator {
 public:
  static constexpr int64_t kMostPrefixImages = 1000;  // probes and screening, not whole splits

  // `graph` and `pack` must outlive it. Measures the original on the reward split (see baseline());
  // InvalidArgument if its logits there are not finite.
  static absl::StatusOr<std::unique_ptr<LocalEvaluator>> Create(
      const Graph& graph, const DataPack& pack, const LocalEvaluatorOptions& options);

  absl::StatusOr<std::vector<Measurement>> Evaluate(
      absl::Span<const Candidate> candidates) override;

  // One candidate; also hands out the network when `pruned` is set. InvalidArgument if it asks for
  // fewer than 0 images. After Cancelled (see base/interrupt.h) the next one is measured as if
  // nothing had been begun.
  absl::StatusOr<Measurement> EvaluateOne(const Candidate& candidate, Reconstruction reconstruction,
                                          Graph* pruned = nullptr);

  // The original on the same images.
  const Measurement& baseline() const { return baseline_; }
  const Grouping& grouping() const { return grouping_; }
  Reconstruction reconstruction() const {
    return options_.reconstruction;
  }  // what ranks candidates
  // Of channels: not with sparsity.
  Pruner& pruner() { return *pruner_; }
  // Whether the network of the last candidate is a recalibrated one (Pruner::recalibrated). With
  // sparsity: whether its weights were fitted anew, with images to recalibrate on.
  bool recalibrated() const;
  // Measures what reconstruction needs of the original, before the first candidate. Optional.
  absl::Status Prepare(const Pruner::Progress& progress);

 private:
  LocalEvaluator(const Graph& graph, const DataPack& pack, const LocalEvaluatorOptions& options);

  absl::Status MakePruner();
  // Prunes and reconstructs, then tunes.
  absl::StatusOr<Rebuilt> Rebuild(absl::Span<const int64_t> kept, Reconstruction reconstruction);
  absl::StatusOr<Rebuilt> Sparsify(absl::Span<const int64_t> kept, Reconstruction reconstruction);
  absl::StatusOr<PrefixStart> StartOf(const Graph& network, int64_t images);

  const Graph& graph_;
  const DataPack& pack_;
  LocalEvaluatorOptions options_;
  Grouping grouping_;
  std::unique_ptr<Pruner> pruner_;          // one of these two
  std::unique_ptr<Sparsifier> sparsifier_;  // with options_.sparsity
  bool recalibrated_ = false;               // what the sparsifier gave last
  Distiller distiller_;
  Measurement baseline_;
  std::vector<float> reference_logits_;
  std::unique_ptr<PrefixCaches> prefixes_;  // of the reward split
};

}  // namespace amc
