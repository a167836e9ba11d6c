#include "env/amc_env.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/budget.h"
#include "env/observation.h"

namespace amc {
namespace {

constexpr int64_t kNoBudget = std::numeric_limits<int64_t>::max();

// The budget in units of the resource; kNoBudget if the options ask for none.
absl::StatusOr<int64_t> LimitOf(const EnvOptions& options, int64_t original) {
  const absl::string_view resource = ResourceName(options.resource);
  if (options.target_absolute != 0) {
    if (options.target_absolute < 0 || options.target_absolute > original) {
      return absl::InvalidArgumentError(absl::StrCat("target_absolute: ", options.target_absolute,
                                                     " ", resource, " is not in [1, ", original,
                                                     "], the original's"));
    }
    return options.target_absolute;
  }
  if (!(options.target_ratio >= 0 && options.target_ratio <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("target_ratio: ", options.target_ratio, " is not in [0, 1]"));
  }
  if (options.target_ratio == 0) return kNoBudget;
  return static_cast<int64_t>(std::floor(options.target_ratio * static_cast<double>(original)));
}

// Why no group has a choice.
absl::Status NothingToPrune(const Grouping& grouping, const EnvOptions& options) {
  constexpr size_t kShown = 5;
  std::string message = "nothing can be pruned: ";
  if (!grouping.groups.empty()) {
    absl::StrAppend(&message, "each of ", grouping.groups.size(),
                    " groups has one choice, its original count (", options.frozen.size(),
                    " frozen, channel_multiple ", options.channel_multiple, ", min_preserve_ratio ",
                    options.min_preserve_ratio,
                    options.keep_residual ? ", residual paths whole" : "", ")");
  } else if (grouping.barriers.empty()) {
    absl::StrAppend(&message, "the network has no channels between two mixing layers");
  } else {
    absl::StrAppend(&message, "all channels touch a barrier");
    for (size_t b = 0; b < std::min(kShown, grouping.barriers.size()); ++b) {
      absl::StrAppend(&message, b == 0 ? " (" : "; ", grouping.barriers[b].where, ": ",
                      grouping.barriers[b].reason);
    }
    if (grouping.barriers.size() > kShown) {
      absl::StrAppend(&message, "; and ", grouping.barriers.size() - kShown, " more");
    }
    absl::StrAppend(&message, ")");
  }
  return absl::FailedPreconditionError(message);
}

}  // namespace

struct AmcEnv::Shared {
  Grouping grouping;
  CostModel cost_model;
  Lattice lattice;
  Resource resource = Resource::kMacs;
  std::unique_ptr<CostFunction> cost;  // refers to cost_model
  std::vector<int32_t> order;          // groups with a choice, in deciding order
  Budget budget;                       // refers to cost and lattice
  Observer observer;
  std::vector<int64_t> minimum, whole;  // the lattice's
  int64_t original = 0;                 // cost of the whole network
};

absl::StatusOr<std::unique_ptr<AmcEnv>> AmcEnv::Create(const Graph& graph,
                                                       const EnvOptions& options) {
  auto shared = std::make_shared<Shared>();
  AMC_ASSIGN_OR_RETURN(shared->grouping, BuildGroups(graph));
  AMC_ASSIGN_OR_RETURN(shared->cost_model, CostModel::Create(graph, shared->grouping));
  AMC_ASSIGN_OR_RETURN(
      shared->lattice,
      Lattice::Create(shared->grouping, {.channel_multiple = options.channel_multiple,
                                         .min_preserve_ratio = options.min_preserve_ratio,
                                         .frozen = options.frozen,
                                         .keep_residual = options.keep_residual}));
  shared->resource = options.resource;
  shared->cost = shared->cost_model.Function(options.resource);
  shared->minimum = shared->lattice.Minimum();
  shared->whole = shared->lattice.Maximum();
  shared->original = shared->cost->Evaluate(shared->whole);
  for (size_t g = 0; g < shared->grouping.groups.size(); ++g) {
    if (shared->lattice.choices(g).size() > 1) shared->order.push_back(static_cast<int32_t>(g));
  }
  AMC_ASSIGN_OR_RETURN(const int64_t limit, LimitOf(options, shared->original));
  if (shared->order.empty()) return NothingToPrune(shared->grouping, options);
  const bool land = options.land_on_budget && limit != kNoBudget;
  auto budget = Budget::Create(*shared->cost, shared->lattice, shared->order, limit, land);
  if (!budget.ok()) return Annotate(budget.status(), ResourceName(options.resource));
  shared->budget = *std::move(budget);
  AMC_ASSIGN_OR_RETURN(shared->observer, Observer::Create(graph, shared->grouping,
                                                          shared->cost_model, shared->order));
  return std::unique_ptr<AmcEnv>(new AmcEnv(std::move(shared)));
}

AmcEnv::AmcEnv(std::shared_ptr<const Shared> shared)
    : shared_(std::move(shared)), kept_(shared_->whole), scratch_(shared_->whole) {}

Observation AmcEnv::Reset() {
  kept_ = shared_->whole;
  step_ = 0;
  started_ = true;
  last_action_ = 1;
  return Observe();
}

absl::StatusOr<StepResult> AmcEnv::Step(double action) {
  if (!(action > 0 && action <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("step ", step_, ": action ", action, " is not in (0, 1]"));
  }
  if (!started_) return absl::FailedPreconditionError("step before the first reset");
  if (done()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the episode ended after ", step_, " steps: reset before the next step"));
  }
  const int32_t group = shared_->order[step_];
  scratch_ = kept_;
  const int64_t kept =
      shared_->budget.Clamp(step_, shared_->lattice.Round(group, action), scratch_);
  kept_[group] = kept;
  last_action_ = static_cast<double>(kept) / static_cast<double>(shared_->whole[group]);
  ++step_;
  return StepResult{
      .observation = Observe(), .executed = last_action_, .kept = kept, .done = done()};
}

// After the last step the last group is described once more.
Observation AmcEnv::Observe() const {
  const size_t step = std::min(step_, shared_->order.size() - 1);
  const int64_t now = shared_->cost->Evaluate(kept_);
  scratch_ = kept_;
  for (size_t s = step + 1; s < shared_->order.size(); ++s) {
    scratch_[shared_->order[s]] = shared_->minimum[shared_->order[s]];
  }
  const auto original = static_cast<double>(std::max<int64_t>(1, shared_->original));
  const double reduced = static_cast<double>(shared_->original - now) / original;
  const double rest = static_cast<double>(now - shared_->cost->Evaluate(scratch_)) / original;
  return shared_->observer.Observe(step, reduced, rest, last_action_);
}

bool AmcEnv::done() const { return started_ && step_ == shared_->order.size(); }
size_t AmcEnv::num_steps() const { return shared_->order.size(); }
Policy AmcEnv::policy() const { return MakePolicy(shared_->grouping, kept_); }
const Grouping& AmcEnv::grouping() const { return shared_->grouping; }
const CostModel& AmcEnv::cost_model() const { return shared_->cost_model; }
const Lattice& AmcEnv::lattice() const { return shared_->lattice; }
Resource AmcEnv::resource() const { return shared_->resource; }
int64_t AmcEnv::budget() const { return shared_->budget.limit(); }
std::unique_ptr<Environment> AmcEnv::Clone() const {
  return std::unique_ptr<Environment>(new AmcEnv(shared_));
}

}  // namespace amc
