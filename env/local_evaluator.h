// Evaluates candidates in this process: choose channels, shrink, reconstruct, measure.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "env/evaluator.h"
#include "env/exec/data_pack.h"
#include "env/exec/evaluate.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"
#include "env/prune/pruner.h"

namespace amc {

struct LocalEvaluatorOptions {
  PruneOptions prune;
  Reconstruction reconstruction = Reconstruction::kFast;  // what ranks candidates
  int64_t reward_images = 0;                              // 0: the whole reward split
};

// Keeps the original's logits on the reward split and the pruner's statistics. Thread-compatible.
class LocalEvaluator : public Evaluator {
 public:
  // `graph` and `pack` must outlive it. Measures the original on the reward split (see baseline());
  // InvalidArgument if its logits there are not finite.
  static absl::StatusOr<std::unique_ptr<LocalEvaluator>> Create(
      const Graph& graph, const DataPack& pack, const LocalEvaluatorOptions& options);

  absl::StatusOr<std::vector<Measurement>> Evaluate(absl::Span<const Policy> policies) override;

  // One candidate; also hands out the network when `pruned` is set. After Cancelled (see
  // base/interrupt.h) the next one is measured as if nothing had been begun.
  absl::StatusOr<Measurement> EvaluateOne(const Policy& policy, Reconstruction reconstruction,
                                          Graph* pruned = nullptr);

  // The original on the same images.
  const Measurement& baseline() const { return baseline_; }
  const Grouping& grouping() const { return grouping_; }
  Reconstruction reconstruction() const {
    return options_.reconstruction;
  }  // what ranks candidates
  Pruner& pruner() { return *pruner_; }

 private:
  LocalEvaluator(const DataPack& pack, LocalEvaluatorOptions options)
      : pack_(pack), options_(options) {}

  const DataPack& pack_;
  LocalEvaluatorOptions options_;
  Grouping grouping_;
  std::unique_ptr<Pruner> pruner_;
  Measurement baseline_;
  std::vector<float> reference_logits_;
};

}  // namespace amc
