// One cell of the budget experiment: a network, a channel multiple and a target. Random and agent
// episodes are walked through the environment, and every executed policy is counted by someone who
// knows nothing of budgets or groups' costs: on the shrunk graph's shapes, and on exported files.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "env/cost/cost_model.h"
#include "env/graph/graph.h"

namespace amc {

struct BudgetCellOptions {
  double target = 0.5;  // of the original's MACs
  int64_t multiple = 1;
  int64_t random_episodes = 0;
  int64_t agent_episodes = 0;  // ddpg-paper, learning a synthetic reward
  int64_t exported = 0;        // of either kind, also exported to ONNX, read back and counted
  uint64_t seed = 0;
};

struct BudgetCellResult {
  int64_t episodes = 0, exported = 0;
  int64_t over = 0;             // policies that cost more than the target, by either count
  int64_t disagreeing = 0;      // policies that the cost model counts otherwise
  double least = 0, worst = 0;  // smallest and largest share of the original's MACs
  std::string refusal;          // the environment's message if it refused the target
};

// `weightless` and `weights` are the same network without and with weights; `weights` may be null
// if nothing is exported.
absl::StatusOr<BudgetCellResult> RunBudgetCell(const Graph& weightless, const Graph* weights,
                                               const BudgetCellOptions& options);

// The fewest MACs that any policy of `graph` on the lattice of `multiple` has (minimum preserve
// ratio 0.2): the smallest counts worked out from their definition and counted on the shrunk graph.
// Costs are sums of products of two counts, so a cheaper policy would show in some pair of groups:
// every pair is tried on up to 16 x 16 of its choices, and a cheaper one is Internal. (budget_test
// tries every policy of lattices small enough for that.)
absl::StatusOr<int64_t> BruteForceMinimum(const Graph& graph, int64_t multiple);

}  // namespace amc
