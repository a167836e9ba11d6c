// The walk through the groups as `ddpg` sees it: what it observes before a step, and what its
// actions mean.
//
// State: the paper's 11 features (env/observation.h), then
//
//   curve at 0.3, 0.5, 0.7, 0.9   log of the group's own loss there, standardised over all groups
//   marginal cost                 what the group's whole range is worth of the network's cost, with
//                                 the others as they stand, times the number of steps
//   centre                        the ratio at which the walk lands on its budget if this and all
//                                 later groups are in the proportions of the plan
//   loss so far                   of the decided groups, in units of the plan's whole loss
//   budget                        as a fraction of the whole network's cost
//
// An action a in (0, 1) is relative to the centre: ratio = centre * 2^(2a - 1). At 0.5 all the way
// the walk is the plan, whatever the earlier steps did being made up for. Without a budget there is
// nothing to land on, and actions are linear from the group's smallest ratio to 1.
//
// States depend on counts and the budget alone, so that a policy of another search, under another
// budget, is a walk too.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "agent/loss_curves.h"
#include "env/env.h"

namespace amc {

// Immutable, thread-compatible.
class WalkModel {
 public:
  static constexpr size_t kCurvePoints = 4;
  static constexpr int64_t kStateSize = Observation::kSize + kCurvePoints + 4;

  struct View {
    std::vector<float> state;
    double centre = 1;    // ratio
    double least = 0;     // smallest ratio of the group
    bool bounded = true;  // there is a budget
  };
  struct Transition {
    std::vector<float> state;
    float action = 0;
  };

  // `plan` has one count per group. Keeps a clone of `env`.
  WalkModel(const Environment& env, LossCurves curves, std::vector<int64_t> plan);

  size_t steps() const { return order_.size(); }
  int32_t group(size_t step) const { return order_[step]; }
  const std::vector<int64_t>& plan() const { return plan_; }

  // Before `step` of a walk with `kept` (whole where not yet decided) under `budget`.
  View Look(size_t step, absl::Span<const int64_t> kept, int64_t budget) const;

  static double RatioOf(const View& view, double action);
  static double ActionOf(const View& view, double ratio);  // in [0, 1]

  // The walk that leads to `kept` under `budget`.
  std::vector<Transition> WalkTo(absl::Span<const int64_t> kept, int64_t budget) const;

 private:
  struct Group {
    std::array<float, Observation::kReduced> layer{};  // the features that no decision changes
    std::array<float, kCurvePoints> curve{};
  };

  int64_t CostOf(absl::Span<const int64_t> kept) const;
  // This and the later groups in the plan's proportions, as much of them as `budget` allows.
  void Land(size_t step, int64_t budget, std::vector<int64_t>& kept) const;
  void ScaleFrom(size_t step, double factor, std::vector<int64_t>& kept) const;

  std::unique_ptr<Environment> env_;
  LossCurves curves_;
  std::vector<int64_t> plan_;
  std::vector<double> plan_ratios_;
  std::vector<int32_t> order_;
  std::vector<Group> groups_;  // by step
  double whole_cost_ = 0, plan_loss_ = 0;
};

}  // namespace amc
