// Algorithm 1 of the AMC paper, made exact: which counts a group may take so that the budget stays
// reachable.
//
// The reference code clamps a ratio and rounds up afterwards, which breaks the budget in up to all
// episodes. Here the choice is made on the lattice, after rounding, with the one exact cost
// function: the upper bound is the largest count with which every later group at its minimum still
// fits; the lower bound, where the job asks to land on the budget, the smallest with which every
// later group whole still reaches it. Where the two conflict the upper bound wins, so no executed
// policy ever exceeds its budget.
//
// Latency tables are not monotone: fewer channels can take longer. There "every later group at its
// minimum" proves nothing by itself, so a count is allowed when one of two known completions fits:
// the minimum of the lattice, or the witness, a policy within budget that was found once. Whichever
// of the two fitted before a step still fits if the step takes that completion's own count, so
// there is always an allowed count and the last step ends within budget.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/cost/cost_model.h"
#include "env/cost/lattice.h"

namespace amc {

// Immutable, thread-safe. Refers to the cost function and lattice it was made with.
class Budget {
 public:
  // `order` lists groups in deciding order; groups that it leaves out have one choice. OutOfRange
  // if the minimum of the lattice costs more than `limit`; the message gives that minimum, absolute
  // and relative to the whole. For cost functions that are not monotone the minimum is searched
  // (exactly on lattices of up to a few thousand policies, by coordinate descent beyond), and
  // OutOfRange says that no policy within the limit was found.
  static absl::StatusOr<Budget> Create(const CostFunction& cost, const Lattice& lattice,
                                       absl::Span<const int32_t> order, int64_t limit, bool land);

  // The count that step `step` executes when the agent asks for `wanted` (a lattice choice of group
  // order[step]). `kept` holds the executed counts of the earlier steps; entries of this and later
  // groups are scratch: they are overwritten and left undefined.
  int64_t Clamp(size_t step, int64_t wanted, std::vector<int64_t>& kept) const;

  int64_t limit() const { return limit_; }
  // The smallest cost of any policy on the lattice; where the cost is not monotone, the smallest
  // that was found.
  int64_t minimum_cost() const { return minimum_cost_; }
  // The policy that costs it.
  absl::Span<const int64_t> cheapest() const { return witness_; }

 private:
  int64_t ClampMonotone(size_t step, int64_t wanted, std::vector<int64_t>& kept) const;
  int64_t ClampByWitness(size_t step, int64_t wanted, std::vector<int64_t>& kept) const;
  // Sets the groups of the steps after `step` to what `completion` keeps of them.
  void Complete(size_t step, absl::Span<const int64_t> completion,
                std::vector<int64_t>& kept) const;

  const CostFunction* cost_ = nullptr;
  const Lattice* lattice_ = nullptr;
  std::vector<int32_t> order_;
  int64_t limit_ = 0;
  int64_t minimum_cost_ = 0;
  bool land_ = false;
  std::vector<int64_t> minimum_, whole_;  // the lattice's
  std::vector<int64_t> witness_;          // a policy within budget
};

}  // namespace amc
