// The policies that a search chooses from, with their exact cost made cheap to follow.
//
// A policy is one index per group into its lattice. Where costs are sums of products of two kept
// counts (MACs, parameters: CostFunction::bilinear), a quadratic form gives them exactly; its
// coefficients are read off the cost function once, in units of a group's cells. A PolicyCursor
// keeps a policy, its cost and the form's gradient, so that what changing a group costs is a
// handful of operations. Other costs (latency, several budgets at once) are asked of the cost
// function.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "env/env.h"

namespace amc {

// One index per group into the choices of its lattice.
using Choice = std::vector<int32_t>;

// cost(y) = constant + sum_g linear[g] y[g] + sum_{g <= h} pairs[g][h] y[g] y[h], y in units.
struct CostForm {
  int64_t constant = 0;
  std::vector<int64_t> linear;
  std::vector<std::vector<int64_t>> pairs;  // symmetric; pairs[g][g] is the coefficient of y[g]^2
};

// Immutable, thread-safe.
class PolicySpace {
 public:
  // Refers to the environment's cost function, which must outlive it, unless that is bilinear.
  explicit PolicySpace(const Environment& env);
  // `units[g]` are the group's choices in units, ascending, the last being the whole group.
  PolicySpace(std::vector<std::vector<int64_t>> units, CostForm form, int64_t budget);

  size_t num_groups() const { return units_.size(); }
  int32_t num_choices(size_t group) const { return static_cast<int32_t>(units_[group].size()); }
  absl::Span<const int32_t> open() const { return open_; }  // groups with more than one choice
  int64_t units(size_t group, int32_t index) const { return units_[group][index]; }
  // The cost as a form, if it is one, or else as a function.
  const CostForm& form() const { return form_; }
  const CostFunction* function() const { return function_; }
  int64_t budget() const { return budget_; }
  bool has_budget() const;
  // Kept channels.
  int64_t KeptAt(size_t group, int32_t index) const { return units_[group][index] * cells_[group]; }
  // Kept / channels.
  double Ratio(size_t group, int32_t index) const;

  Choice Whole() const;
  Choice Minimum() const;
  // A policy within budget, the cheapest that is known: the minimum where costs are monotone.
  const Choice& Cheapest() const { return cheapest_; }
  int64_t Cost(const Choice& choice) const;
  bool Fits(const Choice& choice) const { return Cost(choice) <= budget_; }
  std::vector<int64_t> Kept(const Choice& choice) const;
  // Of counts one per group; those off the lattice become the next smaller choice, or the smallest.
  Choice IndexOf(absl::Span<const int64_t> kept) const;

 private:
  void ListOpen();

  std::vector<int64_t> cells_;
  std::vector<std::vector<int64_t>> units_;
  CostForm form_;
  const CostFunction* function_ = nullptr;  // null if form_ says it all
  Choice cheapest_;
  int64_t budget_ = 0;
  std::vector<int32_t> open_;
};

// Thread-compatible. `space` must outlive it.
class PolicyCursor {
 public:
  PolicyCursor(const PolicySpace& space, Choice choice);

  const Choice& choice() const { return choice_; }
  int32_t at(size_t group) const { return choice_[group]; }
  int64_t cost() const { return cost_; }
  bool fits() const { return cost_ <= space_.budget(); }
  int64_t slack() const { return space_.budget() - cost_; }

  void Set(int32_t group, int32_t index);

  // What the cost changes by if `group` took `index`.
  int64_t Delta(int32_t group, int32_t index) const;

  // The largest index that `group` can take within the budget, or the present one if no larger one
  // can.
  int32_t LargestThatFits(int32_t group) const;

  // Grows what fits: always the group with the lowest ratio whose next choice does.
  void TopUp();

 private:
  const PolicySpace& space_;
  Choice choice_;
  int64_t cost_ = 0;
  std::vector<int64_t> gradient_;  // without the squares: linear + sum of pairs with the others
  std::vector<int64_t> kept_;      // instead, where the cost is no form
};

}  // namespace amc
