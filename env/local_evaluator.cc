#include "env/local_evaluator.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "env/cost/cost_model.h"
#include "env/exec/prefix_plan.h"

namespace amc {
namespace {

constexpr int64_t kPrefixBytes = int64_t{256} << 20;

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
  measurement.soft_kl = quality.soft_kl;
  return measurement;
}

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

DistillOptions ToDistillOptions(const LocalEvaluatorOptions& options) {
  return {.steps = options.finetune_steps,
          .learning_rate = options.finetune_learning_rate,
          .seed = options.prune.seed,
          .exec = options.prune.exec};
}

}  // namespace

LocalEvaluator::LocalEvaluator(const Graph& graph, const DataPack& pack,
                               const LocalEvaluatorOptions& options)
    : graph_(graph),
      pack_(pack),
      options_(options),
      distiller_(graph, pack, ToDistillOptions(options)) {}

absl::StatusOr<std::unique_ptr<LocalEvaluator>> LocalEvaluator::Create(
    const Graph& graph, const DataPack& pack, const LocalEvaluatorOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  auto evaluator = std::unique_ptr<LocalEvaluator>(new LocalEvaluator(graph, pack, options));
  AMC_RETURN_IF_ERROR(evaluator->MakePruner());
  evaluator->prefixes_ =
      std::make_unique<PrefixCaches>(graph, FirstNodes(evaluator->grouping_), pack, Split::kReward,
                                     options.prune.exec, kPrefixBytes);
  AMC_ASSIGN_OR_RETURN(const Cost cost, CountCost(graph));
  EvaluateOptions evaluate;
  evaluate.exec = options.prune.exec;
  evaluate.max_images = options.reward_images;
  evaluate.logits = &evaluator->reference_logits_;
  AMC_ASSIGN_OR_RETURN(const Quality quality, amc::Evaluate(graph, pack, Split::kReward, evaluate));
  Measurement& baseline = evaluator->baseline_;
  baseline = FromQuality(quality, cost);
  if (const std::string& why = baseline.infeasible; !why.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("the original network: ", why));
  }
  baseline.work = baseline.images * cost.macs;
  baseline.seconds = SecondsSince(start);
  return evaluator;
}

absl::Status LocalEvaluator::MakePruner() {
  const PruneOptions& prune = options_.prune;
  if (!options_.sparsity.has_value()) {
    AMC_ASSIGN_OR_RETURN(grouping_, BuildGroups(graph_));
    AMC_ASSIGN_OR_RETURN(pruner_, Pruner::Create(graph_, grouping_, pack_, prune));
    return absl::OkStatus();
  }
  if (options_.finetune_steps > 0) {
    return absl::InvalidArgumentError("fine-tuning does not keep zeros within weights");
  }
  AMC_ASSIGN_OR_RETURN(grouping_, WeightGroups(graph_, *options_.sparsity));
  const SparsifyOptions sparsify = {.sparsity = options_.sparsity->options,
                                    .exec = prune.exec,
                                    .reconstruction_images = prune.reconstruction_images,
                                    .samples_per_layer = prune.samples_per_layer,
                                    .recalibration_images = prune.recalibration_images,
                                    .ridge = prune.ridge,
                                    .seed = prune.seed};
  AMC_ASSIGN_OR_RETURN(sparsifier_, Sparsifier::Create(graph_, pack_, sparsify));
  return absl::OkStatus();
}

absl::Status LocalEvaluator::Prepare(const Pruner::Progress& progress) {
  return pruner_ != nullptr ? pruner_->Prepare(progress) : sparsifier_->Prepare(progress);
}

bool LocalEvaluator::recalibrated() const {
  return pruner_ != nullptr ? pruner_->recalibrated() : recalibrated_;
}

absl::StatusOr<std::vector<Measurement>> LocalEvaluator::Evaluate(
    absl::Span<const Candidate> candidates) {
  std::vector<Measurement> measurements;
  measurements.reserve(candidates.size());
  for (const Candidate& candidate : candidates) {
    AMC_ASSIGN_OR_RETURN(Measurement measurement, EvaluateOne(candidate, options_.reconstruction));
    measurements.push_back(std::move(measurement));
  }
  return measurements;
}

absl::StatusOr<Measurement> LocalEvaluator::EvaluateOne(const Candidate& candidate,
                                                        Reconstruction reconstruction,
                                                        Graph* pruned) {
  const auto begin = std::chrono::steady_clock::now();
  if (candidate.images < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a candidate on ", candidate.images, " images, want 0 (all) or more"));
  }
  const int64_t images =
      candidate.images == 0 ? baseline_.images : std::min(candidate.images, baseline_.images);
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> kept, KeptCounts(candidate.policy, grouping_));
  AMC_ASSIGN_OR_RETURN(Rebuilt rebuilt, Rebuild(kept, reconstruction));
  const Graph& network = rebuilt.graph;
  AMC_ASSIGN_OR_RETURN(const Cost cost, CountCost(network));
  EvaluateOptions evaluate;
  evaluate.exec = options_.prune.exec;
  evaluate.max_images = images;
  const size_t classes = reference_logits_.size() / static_cast<size_t>(baseline_.images);
  evaluate.reference_logits =
      absl::MakeConstSpan(reference_logits_).first(static_cast<size_t>(images) * classes);
  AMC_ASSIGN_OR_RETURN(evaluate.start, StartOf(network, images));
  AMC_ASSIGN_OR_RETURN(const Quality quality,
                       amc::Evaluate(network, pack_, Split::kReward, evaluate));
  AMC_ASSIGN_OR_RETURN(const int64_t macs,
                       CountMacs(network, evaluate.start.node, network.nodes.size()));
  Measurement measurement = FromQuality(quality, cost);
  measurement.work = rebuilt.work + images * macs;
  if (pruned != nullptr) *pruned = std::move(rebuilt.graph);
  measurement.seconds = SecondsSince(begin);
  return measurement;
}

absl::StatusOr<Rebuilt> LocalEvaluator::Rebuild(absl::Span<const int64_t> kept,
                                                Reconstruction reconstruction) {
  if (sparsifier_ != nullptr) return Sparsify(kept, reconstruction);
  Rebuilt rebuilt;
  AMC_ASSIGN_OR_RETURN(rebuilt.graph, pruner_->Prune(kept, reconstruction, nullptr));
  rebuilt.work = pruner_->work();
  const Graph& network = rebuilt.graph;
  if (options_.finetune_steps == 0 || CommonPrefix(graph_, network) == network.nodes.size()) {
    return rebuilt;
  }
  AMC_ASSIGN_OR_RETURN(const Cost cost, CountCost(network));
  AMC_ASSIGN_OR_RETURN(Graph tuned, distiller_.Tune(network));
  rebuilt.work += 3 * distiller_.images() * cost.macs;  // forward, and backward counted twice
  if (reconstruction == Reconstruction::kStrong && distiller_.held_out() > 0) {
    AMC_ASSIGN_OR_RETURN(const double before, distiller_.HeldOutKl(network));
    AMC_ASSIGN_OR_RETURN(const double after, distiller_.HeldOutKl(tuned));
    rebuilt.work += 2 * distiller_.held_out() * cost.macs;
    AMC_LOG(kInfo) << "held-out KL " << before << ", " << after << " after fine-tuning";
    if (!(after < before)) return rebuilt;
  }
  rebuilt.graph = std::move(tuned);
  return rebuilt;
}

// The weights that stay are solved for from what is kept of the original; what is forwarded is for
// recalibration.
absl::StatusOr<Rebuilt> LocalEvaluator::Sparsify(absl::Span<const int64_t> kept,
                                                 Reconstruction reconstruction) {
  recalibrated_ = false;
  const std::vector<SparseDecision> decisions = SparseDecisions(grouping_, kept);
  const bool refit = reconstruction != Reconstruction::kNone && !decisions.empty();
  AMC_ASSIGN_OR_RETURN(SparseNetwork network, sparsifier_->Sparsify(decisions, refit, nullptr));
  Rebuilt rebuilt{.graph = std::move(network.graph)};
  if (!refit) return rebuilt;
  recalibrated_ = options_.prune.recalibration_images > 0;
  AMC_ASSIGN_OR_RETURN(const Cost cost, CountCost(rebuilt.graph));
  rebuilt.work =
      cost.macs * std::min(options_.prune.recalibration_images, pack_.size(Split::kReconstruction));
  return rebuilt;
}

absl::StatusOr<PrefixStart> LocalEvaluator::StartOf(const Graph& network, int64_t images) {
  if (images > kMostPrefixImages) return PrefixStart();
  return prefixes_->StartOf(network, images);
}

}  // namespace amc
