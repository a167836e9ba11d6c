// What walks are worth to `ddpg`: the returns that its critic is fitted to.
//
// A reward becomes z = log(ceiling - reward), the ceiling being 1 for accuracies and 0 for what is
// negative, so that equal improvements count alike whether a budget costs little or much. A return
// is how far z lies below the median of the outcomes of about the same cost, in robust standard
// deviations of the latest outcomes on this search's budget, cut off at +-3: outcomes under other
// budgets compare with their own kind, and neither a broken candidate nor a lucky one bends the
// critic. Without a budget all compare with each other.
//
// Walks that were never measured have the return that the surrogate expects of them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "agent/exchange.h"
#include "agent/outcomes.h"
#include "agent/policy_space.h"
#include "agent/surrogate.h"

namespace amc {

// What is known before any candidate is measured.
struct ReturnGround {
  GroupTables curves;           // losses of single groups
  std::optional<double> whole;  // the reward of the whole network, where it was measured
  Choice plan;                  // what is best by the curves
  int64_t reward_images = 0;    // of a full evaluation; 0: not known
};

// A function of the ground and the outcomes. `space` must outlive it.
class Returns {
 public:
  Returns(const PolicySpace& space, const ReturnGround& ground,
          const std::vector<Outcome>& outcomes);

  // Of outcome i; nothing if it was infeasible or measured on fewer images.
  std::optional<double> Measured(size_t i) const { return measured_[i]; }
  // Of any policy on this search's budget.
  double Expected(const Choice& choice) const;

 private:
  double Standardise(double z, double centre) const;

  Surrogate surrogate_;
  std::vector<std::optional<double>> measured_;
  double centre_ = 0;  // on this search's budget
  double scale_ = 1;
};

}  // namespace amc
