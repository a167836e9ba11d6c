#include "agent/sensitivity_agent.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "agent/planning_agent.h"

namespace amc {
namespace {

// Losses fall with the index: the first one that is small enough.
Choice KeepBelow(const PolicySpace& space, const GroupTables& loss, double threshold) {
  Choice choice = space.Whole();
  for (const int32_t g : space.open()) {
    const auto above = [&](double value, double limit) { return value > limit; };
    const auto first = std::lower_bound(loss[g].begin(), loss[g].end(), threshold, above);
    choice[g] = std::min(choice[g], static_cast<int32_t>(first - loss[g].begin()));
  }
  return choice;
}

}  // namespace

Choice ThresholdPolicy(const PolicySpace& space, const GroupTables& loss) {
  if (!space.has_budget()) return space.Whole();
  // Nothing changes between two values that occur.
  std::vector<double> thresholds{0};
  for (const int32_t g : space.open()) {
    thresholds.insert(thresholds.end(), loss[g].begin(), loss[g].end());
  }
  std::sort(thresholds.begin(), thresholds.end());
  const auto least = std::partition_point(
      thresholds.begin(), thresholds.end() - 1,
      [&](double threshold) { return !space.Fits(KeepBelow(space, loss, threshold)); });
  Choice chosen = KeepBelow(space, loss, *least);
  if (!space.Fits(chosen)) chosen = space.Cheapest();  // costs that are not monotone
  PolicyCursor cursor(space, std::move(chosen));
  std::vector<int32_t> growing(space.open().begin(), space.open().end());
  while (!growing.empty()) {
    const auto worst = std::max_element(growing.begin(), growing.end(), [&](int32_t g, int32_t h) {
      return loss[g][cursor.at(g)] < loss[h][cursor.at(h)];
    });
    const int32_t next = cursor.at(*worst) + 1;
    if (next < space.num_choices(*worst) && cursor.Delta(*worst, next) <= cursor.slack()) {
      cursor.Set(*worst, next);
    } else {
      growing.erase(worst);  // the others only grow: it never fits again
    }
  }
  return cursor.choice();
}

absl::StatusOr<std::unique_ptr<Agent>> MakeSensitivityAgent(const Environment& env,
                                                            const AgentOptions& options) {
  return MakePlanningAgent("sensitivity", env, options, ThresholdPolicy);
}

}  // namespace amc
