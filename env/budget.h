// Algorithm 1 of the AMC paper, made exact: which counts a group may take so that the budget stays
// reachable.
//
// The reference code clamps a ratio and rounds up afterwards, which breaks the budget in up to all
// episodes. Here the choice is made on the lattice, after rounding, with the one exact cost function:
// the upper bound is the largest count with which every later group at its minimum still fits; the
// lower bound, where the job asks to land on the budget, the smallest with which every later group
// whole still reaches it. Where the two conflict the upper bound wins, so no executed policy ever
// exceeds its budget.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/cost/cost_model.h"
#include "env/cost/lattice.h"

namespace amc {

// Immutable, thread-safe. Refers to the cost function and lattice it was made with.
class Budget {
 public:
  // `order` lists groups in deciding order. OutOfRange if the minimum of the lattice costs more than
  // `limit`. For cost functions that are not monotone, finds one feasible completion (the witness)
  // and keeps every step on a feasible one; OutOfRange when none was found.
  static absl::StatusOr<Budget> Create(const CostFunction& cost, const Lattice& lattice,
                                       absl::Span<const int32_t> order, int64_t limit, bool land);

  // The count that step `step` executes when the agent asks for `wanted` (a lattice choice of group
  // order[step]). `kept` holds the executed counts of the earlier steps; entries of this and later
  // groups are scratch: they are overwritten and left undefined.
  int64_t Clamp(size_t step, int64_t wanted, std::vector<int64_t>& kept) const;

  int64_t limit() const { return limit_; }
  // The smallest cost that any policy on the lattice has.
  int64_t minimum_cost() const { return minimum_cost_; }

 private:
  const CostFunction* cost_ = nullptr;
  const Lattice* lattice_ = nullptr;
  std::vector<int32_t> order_;
  int64_t limit_ = 0;
  int64_t minimum_cost_ = 0;
  bool land_ = false;
  std::vector<int64_t> witness_;   // a feasible policy, used when the cost is not monotone
};

}  // namespace amc
