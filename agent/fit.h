// Fitting whole candidates to a budget: for agents that choose all counts at once instead of
// walking the environment step by step.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "agent/agent.h"
#include "env/env.h"

namespace amc {

// A candidate of these counts, one per group: no observations, actions are the ratios.
Episode EpisodeOf(const Environment& env, absl::Span<const int64_t> kept, int64_t number);

// What a policy of the environment's groups costs by one of its cost functions, and of its budget.
int64_t CostOf(const Environment& env, const CostFunction& cost, const Policy& policy);
int64_t BudgetedCost(const Environment& env, const Policy& policy);

// Counts of one candidate, one per group, and what they cost of the environment's budget.
class Fit {
 public:
  // Everything whole.
  explicit Fit(const Environment& env);

  const std::vector<int64_t>& kept() const { return kept_; }
  int64_t cost() const { return cost_; }
  bool fits() const { return cost_ <= env_.budget(); }

  void Adopt(absl::Span<const int64_t> kept);

  // Group g keeps lattice.Floor(g, min(1, factor * shares[g])); groups whose share is 0 stay whole.
  void ScaleBy(absl::Span<const double> shares, double factor);
  // The same with the largest factor that fits, or as little as there is if none does (of costs
  // that are not monotone, one that fits where smaller ones may not, and none may be found).
  void ScaleToBudget(absl::Span<const double> shares);

  // Grows what fits among the groups with a share: always the one that is lowest against its share.
  void TopUp(absl::Span<const double> shares);

  // Whether `group` can keep its next larger count within the budget; grows it if so.
  bool Grow(int32_t group);

  Episode ToEpisode(int64_t number) const { return EpisodeOf(env_, kept_, number); }

 private:
  const Environment& env_;
  std::vector<int64_t> kept_;
  int64_t cost_ = 0;
};

}  // namespace amc
