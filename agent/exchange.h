// Local search by budget-neutral exchanges: some groups shrink, others grow into what that frees.
//
// What is minimised is power * log(offset + sum_g loss_g) + sum_g bonus_g: with nothing but losses
// the plan of `dp` (the logarithm changes no order), with bonuses a surrogate's belief or a sample
// of it (surrogate.h). Both are tables over the lattice, so a move is judged in constant time.
#pragma once

#include <cstdint>
#include <vector>

#include "agent/policy_space.h"

namespace amc {

// One number per choice of every group.
using GroupTables = std::vector<std::vector<double>>;

struct Objective {
  GroupTables loss;   // positive but for the whole groups
  GroupTables bonus;  // empty: none
  double power = 1;
  double offset = 1e-12;

  double Value(const Choice& choice) const;
};

struct ExchangeOptions {
  int64_t moves = 1000;  // at most
  // Once no exchange of one group for one other helps, also two for one and one for two.
  bool thorough = false;
};

// The policy that improving moves lead to from `start`, always the best move first; within budget
// if `start` is, and then no group can grow any more. Without a budget, moves change one group.
// `objective` has the space's shape.
Choice Exchange(const PolicySpace& space, const Objective& objective, const Choice& start,
                const ExchangeOptions& options);

}  // namespace amc
