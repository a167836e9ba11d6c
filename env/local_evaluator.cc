#include "env/local_evaluator.h"

#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace amc {
namespace {

// Of the reward split.
Measurement FromQuality(const Quality& quality, const Cost& cost) {
  Measurement measurement;
  measurement.images = quality.images;
  measurement.cost = cost;
  measurement.infeasible = DescribeNotFinite(quality, Split::kReward);
  if (!measurement.infeasible.empty()) return measurement;
  measurement.top1 = quality.top1;
  measurement.top5 = quality.top5;
  measurement.loss = quality.loss;
  measurement.kl = quality.kl;
  return measurement;
}

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalEvaluator>> LocalEvaluator::Create(
    const Graph& graph, const DataPack& pack, const LocalEvaluatorOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  auto evaluator = std::unique_ptr<LocalEvaluator>(new LocalEvaluator(pack, options));
  AMC_ASSIGN_OR_RETURN(evaluator->grouping_, BuildGroups(graph));
  AMC_ASSIGN_OR_RETURN(evaluator->pruner_,
                       Pruner::Create(graph, evaluator->grouping_, pack, options.prune));
  AMC_ASSIGN_OR_RETURN(const Cost cost, CountCost(graph));
  EvaluateOptions evaluate;
  evaluate.exec = options.prune.exec;
  evaluate.max_images = options.reward_images;
  evaluate.logits = &evaluator->reference_logits_;
  AMC_ASSIGN_OR_RETURN(const Quality quality, amc::Evaluate(graph, pack, Split::kReward, evaluate));
  evaluator->baseline_ = FromQuality(quality, cost);
  if (const std::string& why = evaluator->baseline_.infeasible; !why.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("the original network: ", why));
  }
  evaluator->baseline_.seconds = SecondsSince(start);
  return evaluator;
}

absl::StatusOr<std::vector<Measurement>> LocalEvaluator::Evaluate(
    absl::Span<const Policy> policies) {
  std::vector<Measurement> measurements;
  measurements.reserve(policies.size());
  for (const Policy& policy : policies) {
    AMC_ASSIGN_OR_RETURN(Measurement measurement, EvaluateOne(policy, options_.reconstruction));
    measurements.push_back(std::move(measurement));
  }
  return measurements;
}

absl::StatusOr<Measurement> LocalEvaluator::EvaluateOne(const Policy& policy,
                                                        Reconstruction reconstruction,
                                                        Graph* pruned) {
  const auto start = std::chrono::steady_clock::now();
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> kept, KeptCounts(policy, grouping_));
  AMC_ASSIGN_OR_RETURN(Graph candidate, pruner_->Prune(kept, reconstruction, nullptr));
  AMC_ASSIGN_OR_RETURN(const Cost cost, CountCost(candidate));
  EvaluateOptions evaluate;
  evaluate.exec = options_.prune.exec;
  evaluate.max_images = options_.reward_images;
  evaluate.reference_logits = &reference_logits_;
  AMC_ASSIGN_OR_RETURN(const Quality quality,
                       amc::Evaluate(candidate, pack_, Split::kReward, evaluate));
  if (pruned != nullptr) *pruned = std::move(candidate);
  Measurement measurement = FromQuality(quality, cost);
  measurement.seconds = SecondsSince(start);
  return measurement;
}

}  // namespace amc
