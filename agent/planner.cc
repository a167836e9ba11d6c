#include "agent/planner.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace amc {
namespace {

constexpr int kBisections = 60;
constexpr int kSweeps = 30;      // a descent that has not settled by then is good enough
constexpr size_t kImproved = 4;  // plans that exchanges try to improve
constexpr size_t kFewGroups = 12;

double SumOf(const GroupTables& loss, const Choice& choice) {
  double sum = 0;
  for (size_t g = 0; g < choice.size(); ++g) sum += loss[g][choice[g]];
  return sum;
}

// Group by group the choice of least loss + price * cost, until none changes.
Choice Descend(const PolicySpace& space, const GroupTables& loss, double price, Choice start) {
  PolicyCursor cursor(space, std::move(start));
  bool changed = true;
  for (int sweep = 0; changed && sweep < kSweeps; ++sweep) {
    changed = false;
    for (const int32_t g : space.open()) {
      int32_t best = cursor.at(g);
      double least = loss[g][best];
      for (int32_t index = 0; index < space.num_choices(g); ++index) {
        const double value = loss[g][index] + price * static_cast<double>(cursor.Delta(g, index));
        if (value < least) {
          least = value;
          best = index;
        }
      }
      changed |= best != cursor.at(g);
      cursor.Set(g, best);
    }
  }
  return cursor.choice();
}

}  // namespace

Choice PlanPolicy(const PolicySpace& space, const GroupTables& loss) {
  const Objective objective{.loss = loss, .bonus = {}};
  Choice whole = space.Whole();
  const Choice& minimum = space.Cheapest();
  if (!space.has_budget()) return Exchange(space, objective, whole, {});
  if (space.Fits(whole)) return whole;

  // What fits, best first by loss, found on the way.
  std::vector<std::pair<double, Choice>> plans{{SumOf(loss, minimum), minimum}};
  const auto keep = [&](const Choice& choice) {
    if (space.Fits(choice)) plans.emplace_back(SumOf(loss, choice), choice);
  };
  // Where costs are products the descent depends on where it starts, so it starts at both ends.
  const double most = SumOf(loss, minimum);
  for (const Choice& start : {whole, minimum}) {
    double low = 0, high = 2 * most + std::numeric_limits<double>::min();  // per unit of cost
    for (int i = 0; i < kBisections; ++i) {
      // Geometric once there is a lower end: prices span orders of magnitude.
      const double price = low > 0 ? std::sqrt(low * high) : high / 16;
      const Choice choice = Descend(space, loss, price, start);
      keep(choice);
      if (space.Fits(choice)) {
        high = price;
      } else {
        low = price;
      }
      if (low > 0 && high / low < 1 + 1e-9) break;
    }
  }
  std::sort(plans.begin(), plans.end());
  plans.erase(std::unique(plans.begin(), plans.end()), plans.end());
  plans.resize(std::min(plans.size(), kImproved));
  // Where costs are products of few groups, each a large part, descents miss what exchanges find
  // from one group being as large as can be.
  if (space.open().size() <= kFewGroups) {
    for (const int32_t g : space.open()) {
      PolicyCursor cursor(space, minimum);
      cursor.Set(g, cursor.LargestThatFits(g));
      cursor.TopUp();
      plans.emplace_back(SumOf(loss, cursor.choice()), cursor.choice());
    }
  }
  Choice best;
  double least = std::numeric_limits<double>::max();
  for (const auto& [sum, plan] : plans) {
    Choice improved = Exchange(space, objective, plan, {.thorough = true});
    if (const double improved_sum = SumOf(loss, improved); improved_sum < least) {
      least = improved_sum;
      best = std::move(improved);
    }
  }
  return best;
}

}  // namespace amc
