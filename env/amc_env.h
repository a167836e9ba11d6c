// AMC's environment: walks the groups in the order of their first mixing consumer, clamps every
// action to the budget (budget.h), describes groups by the paper's features (observation.h).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/cost/latency_table.h"
#include "env/env.h"
#include "env/graph/graph.h"
#include "env/sparse_space.h"

namespace amc {

// A bound on what the result may cost in one resource.
struct BudgetTarget {
  Resource resource = Resource::kMacs;
  double ratio = 0;      // of the original's, in (0, 1]
  int64_t absolute = 0;  // wins over the ratio when > 0
};

struct EnvOptions {
  std::vector<BudgetTarget> budget = {{.ratio = 0.5}};  // all of them hold; empty: R_Err rewards
  bool land_on_budget = true;  // also clamp from below, so that the budget is used up
  double min_preserve_ratio = 0.2;
  int64_t channel_multiple = 1;
  std::vector<std::string> frozen{};  // groups that stay whole
  bool keep_residual = false;         // so do all groups on residual paths
  // Search zeros within weights instead of channels; targets are then on nonzeros or latency.
  std::optional<SparseSpace> sparsity = std::nullopt;
  // For targets and rewards on latency: the device's table, and the sha256 of the model's file, by
  // which the table may know how its whole networks differ from the sum of their layers.
  std::shared_ptr<const LatencyTable> latency = nullptr;
  std::string model = "";
};

class AmcEnv : public Environment {
 public:
  // Works on weightless graphs; keeps nothing of `graph`. Groups with a single choice are not asked
  // about. InvalidArgument for an option out of range, for two targets on one resource and for a
  // latency table that does not know the network's layers; FailedPrecondition when no group is left
  // to ask about, saying why; OutOfRange when the budget is below the smallest reachable cost: the
  // message gives that value, absolute and as a ratio.
  static absl::StatusOr<std::unique_ptr<AmcEnv>> Create(const Graph& graph,
                                                        const EnvOptions& options);

  Observation Reset() override;
  absl::StatusOr<StepResult> Step(double action) override;
  bool done() const override;
  size_t num_steps() const override;
  Policy policy() const override;
  const Grouping& grouping() const override;
  const CostModel& cost_model() const override;
  const Lattice& lattice() const override;
  const CostFunction& cost() const override;
  int64_t budget() const override;
  const std::vector<CostBound>& bounds() const override;
  const CostFunction* resource_cost(Resource resource) const override;
  absl::Span<const int64_t> cheapest() const override;
  std::unique_ptr<Environment> Clone() const override;

  // The counts of policy(), one per group.
  absl::Span<const int64_t> kept() const { return kept_; }

 private:
  struct Shared;  // what all clones have in common: grouping, costs, lattice, scaled features
  explicit AmcEnv(std::shared_ptr<const Shared> shared);
  Observation Observe() const;

  std::shared_ptr<const Shared> shared_;
  std::vector<int64_t> kept_;  // whole where not yet decided
  mutable std::vector<int64_t> scratch_;
  size_t step_ = 0;
  bool started_ = false;
  double last_action_ = 1;
};

}  // namespace amc
