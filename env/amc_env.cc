#include "env/amc_env.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "env/budget.h"
#include "env/cost/activation_memory.h"
#include "env/cost/combined_cost.h"
#include "env/cost/latency_model.h"
#include "env/observation.h"

namespace amc {
namespace {

constexpr int64_t kNoBudget = std::numeric_limits<int64_t>::max();
constexpr Resource kResources[] = {
    Resource::kMacs,       Resource::kParams,  Resource::kActivationBytes,
    Resource::kModelBytes, Resource::kLatency, Resource::kNonZeros};

// A target in units of its resource; kNoBudget if it asks for none.
absl::StatusOr<int64_t> LimitOf(const BudgetTarget& target, int64_t original) {
  const absl::string_view resource = ResourceName(target.resource);
  if (target.absolute != 0) {
    if (target.absolute < 0 || target.absolute > original) {
      return absl::InvalidArgumentError(absl::StrCat("budget: ", target.absolute, " ", resource,
                                                     " is not in [1, ", original,
                                                     "], the original's"));
    }
    return target.absolute;
  }
  if (!(target.ratio >= 0 && target.ratio <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("budget: a ratio of ", target.ratio, " of the ",
                                                   resource, " is not in [0, 1]"));
  }
  if (target.ratio == 0) return kNoBudget;
  return static_cast<int64_t>(std::floor(target.ratio * static_cast<double>(original)));
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

std::string BudgetName(const std::vector<CostBound>& bounds) {
  return absl::StrJoin(bounds, " and ", [](std::string* out, const CostBound& bound) {
    absl::StrAppend(out, ResourceName(bound.resource));
  });
}

struct AmcEnv::Shared {
  Grouping grouping;
  CostModel cost_model;
  std::optional<ActivationMemory> memory;  // these two where they are known
  std::optional<LatencyModel> latency;
  Lattice lattice;
  std::map<Resource, std::unique_ptr<CostFunction>> functions;  // refer to the models above
  std::vector<CostBound> bounds;                                // refer to the functions
  std::optional<CombinedCost> combined;                         // of several bounds
  const CostFunction* cost = nullptr;
  std::vector<int32_t> order;  // groups with a choice, in deciding order
  Budget budget;               // refers to cost and lattice
  Observer observer;
  std::vector<int64_t> minimum, whole;  // the lattice's
  int64_t original = 0;                 // cost of the whole network

  absl::StatusOr<std::unique_ptr<CostFunction>> MakeCost(const Graph& graph, Resource resource,
                                                         const EnvOptions& options);
  absl::StatusOr<std::unique_ptr<CostFunction>> MakeSparseCost(const Graph& graph,
                                                               Resource resource,
                                                               const EnvOptions& options);
  absl::Status SetBounds(const Graph& graph, const EnvOptions& options);
  absl::Status SetBudget(bool land);
};

absl::StatusOr<std::unique_ptr<CostFunction>> AmcEnv::Shared::MakeCost(const Graph& graph,
                                                                       Resource resource,
                                                                       const EnvOptions& options) {
  if (options.sparsity.has_value()) return MakeSparseCost(graph, resource, options);
  if (resource == Resource::kNonZeros) {
    return absl::InvalidArgumentError(
        "budget: a target on nonzeros needs sparsity: channels that go leave no zeros");
  }
  if (resource == Resource::kActivationBytes) {
    AMC_ASSIGN_OR_RETURN(memory, ActivationMemory::Create(graph, grouping));
    return memory->Function();
  }
  if (resource == Resource::kLatency) {
    if (options.latency == nullptr) {
      return absl::InvalidArgumentError("budget: a target on latency needs a latency table");
    }
    auto model = LatencyModel::Create(graph, grouping, *options.latency, options.model);
    if (!model.ok()) return absl::InvalidArgumentError(model.status().message());
    latency = *std::move(model);
    return latency->Function();
  }
  return cost_model.Function(resource);
}

absl::StatusOr<std::unique_ptr<CostFunction>> AmcEnv::Shared::MakeSparseCost(
    const Graph& graph, Resource resource, const EnvOptions& options) {
  if (resource == Resource::kNonZeros) return NonZeroCost(graph, grouping, *options.sparsity);
  if (resource != Resource::kLatency) {
    return absl::InvalidArgumentError(
        absl::StrCat("budget: zeros within weights do not change ", ResourceName(resource),
                     ": set a target on nonzeros, or on latency with a simulated runtime's table"));
  }
  if (options.latency == nullptr) {
    return absl::InvalidArgumentError("budget: a target on latency needs a latency table");
  }
  auto cost = SimulatedCost(graph, grouping, *options.sparsity, *options.latency);
  if (!cost.ok()) return absl::InvalidArgumentError(cost.status().message());
  return cost;
}

absl::Status AmcEnv::Shared::SetBounds(const Graph& graph, const EnvOptions& options) {
  std::vector<BudgetTarget> targets = options.budget;
  const Resource usual = options.sparsity ? Resource::kNonZeros : Resource::kMacs;
  if (targets.empty()) targets.push_back({.resource = usual, .ratio = 0});
  for (const BudgetTarget& target : targets) {
    for (const CostBound& other : bounds) {
      if (other.resource != target.resource) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("budget: two targets on ", ResourceName(target.resource)));
    }
    std::unique_ptr<CostFunction>& function = functions[target.resource];
    AMC_ASSIGN_OR_RETURN(function, MakeCost(graph, target.resource, options));
    const int64_t whole_cost = function->Evaluate(whole);
    AMC_ASSIGN_OR_RETURN(const int64_t limit, LimitOf(target, whole_cost));
    if (limit == kNoBudget && targets.size() > 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("budget: the target on ", ResourceName(target.resource), " has no value"));
    }
    bounds.push_back({target.resource, function.get(), whole_cost, limit});
  }
  for (const Resource resource : kResources) {  // what no target is on is known if it can be
    if (functions.contains(resource)) continue;
    auto function = MakeCost(graph, resource, options);
    if (function.ok()) functions[resource] = *std::move(function);
  }
  return absl::OkStatus();
}

// One bound by itself, several as one.
absl::Status AmcEnv::Shared::SetBudget(bool land) {
  for (const CostBound& bound : bounds) {
    const bool use_up = land && bounds.size() == 1 && bound.limit != kNoBudget;
    auto alone = Budget::Create(*bound.cost, lattice, order, bound.limit, use_up);
    if (!alone.ok()) return Annotate(alone.status(), ResourceName(bound.resource));
    budget = *std::move(alone);
  }
  cost = bounds[0].cost;
  if (bounds.size() > 1) {
    std::vector<CombinedCost::Part> parts;
    for (const CostBound& bound : bounds) {
      parts.push_back({bound.cost, std::max<int64_t>(1, bound.limit)});
    }
    cost = &combined.emplace(std::move(parts));
    auto together = Budget::Create(*cost, lattice, order, CombinedCost::kFull, land);
    if (absl::IsOutOfRange(together.status())) {
      return absl::OutOfRangeError(absl::StrCat(
          BudgetName(bounds), ": each bound can be met, but no policy was found that meets all"));
    }
    AMC_ASSIGN_OR_RETURN(budget, std::move(together));
  }
  original = cost->Evaluate(whole);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<AmcEnv>> AmcEnv::Create(const Graph& graph,
                                                       const EnvOptions& options) {
  auto shared = std::make_shared<Shared>();
  if (options.sparsity.has_value()) {
    AMC_ASSIGN_OR_RETURN(shared->grouping, WeightGroups(graph, *options.sparsity));
  } else {
    AMC_ASSIGN_OR_RETURN(shared->grouping, BuildGroups(graph));
  }
  AMC_ASSIGN_OR_RETURN(shared->cost_model, CostModel::Create(graph, shared->grouping));
  AMC_ASSIGN_OR_RETURN(
      shared->lattice,
      Lattice::Create(shared->grouping, {.channel_multiple = options.channel_multiple,
                                         .min_preserve_ratio = options.min_preserve_ratio,
                                         .frozen = options.frozen,
                                         .keep_residual = options.keep_residual}));
  shared->minimum = shared->lattice.Minimum();
  shared->whole = shared->lattice.Maximum();
  AMC_RETURN_IF_ERROR(shared->SetBounds(graph, options));
  for (size_t g = 0; g < shared->grouping.groups.size(); ++g) {
    if (shared->lattice.choices(g).size() > 1) shared->order.push_back(static_cast<int32_t>(g));
  }
  if (shared->order.empty()) return NothingToPrune(shared->grouping, options);
  AMC_RETURN_IF_ERROR(shared->SetBudget(options.land_on_budget));
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
const CostFunction& AmcEnv::cost() const { return *shared_->cost; }
int64_t AmcEnv::budget() const { return shared_->budget.limit(); }
const std::vector<CostBound>& AmcEnv::bounds() const { return shared_->bounds; }
const CostFunction* AmcEnv::resource_cost(Resource resource) const {
  const auto found = shared_->functions.find(resource);
  return found == shared_->functions.end() ? nullptr : found->second.get();
}
absl::Span<const int64_t> AmcEnv::cheapest() const { return shared_->budget.cheapest(); }
std::unique_ptr<Environment> AmcEnv::Clone() const {
  return std::unique_ptr<Environment>(new AmcEnv(shared_));
}

}  // namespace amc
