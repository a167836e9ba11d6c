// The best policy within a budget if the groups' losses added up.
//
// Minimising sum_g loss_g subject to the exact cost is a knapsack with several choices per item
// whose weights depend on the neighbours' choices where costs are products. Its Lagrangian (loss +
// lambda * cost) is minimised by coordinate descent, exactly where costs are separable, and lambda
// is bisected to the budget. That leaves at most one group's step unspent; exchanges (exchange.h)
// spend it. Of 3,000 random problems small enough to enumerate all are solved exactly where costs
// are separable; of 3,000 with costs of a chain all but one, which loses 6% more (planner_test).
#pragma once

#include "agent/exchange.h"
#include "agent/policy_space.h"

namespace amc {

// `loss` has the space's shape and falls as a group keeps more. The minimum of the lattice must be
// within budget. Without a budget the policy that loses least.
Choice PlanPolicy(const PolicySpace& space, const GroupTables& loss);

}  // namespace amc
