#include "agent/returns.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

namespace amc {
namespace {

constexpr double kSmallestLoss = 1e-9;
constexpr double kSameCost = 0.01;  // of the whole network's
constexpr double kMostReturn = 3;
constexpr size_t kLatest = 32;  // outcomes that give the scale
constexpr size_t kEnough = 4;   // of them; with fewer the scale is kFirstScale
constexpr double kFirstScale = 0.1, kLeastScale = 0.003;
constexpr double kDeviations = 1.4826;  // of a normal distribution in its median absolute deviation

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double CeilingOf(const ReturnGround& ground, const std::vector<Outcome>& outcomes) {
  double highest = ground.whole.value_or(0);
  for (const Outcome& outcome : outcomes) {
    if (!outcome.infeasible) highest = std::max(highest, outcome.reward);
  }
  return highest > 0 ? std::max(1.0, highest) : 0.0;
}

int64_t FullImages(const ReturnGround& ground) {
  return std::max<int64_t>(1, ground.reward_images);
}

bool IsFull(const ReturnGround& ground, const Outcome& outcome) {
  return outcome.images == 0 || outcome.images >= FullImages(ground);
}

// The numbers of images that outcomes were measured on, the last being all.
std::vector<int64_t> LevelsOf(const ReturnGround& ground, const std::vector<Outcome>& outcomes) {
  std::set<int64_t> levels{FullImages(ground)};
  for (const Outcome& outcome : outcomes) {
    if (!IsFull(ground, outcome)) levels.insert(outcome.images);
  }
  return {levels.begin(), levels.end()};
}

}  // namespace

Returns::Returns(const PolicySpace& space, const ReturnGround& ground,
                 const std::vector<Outcome>& outcomes)
    : surrogate_(space, ground.curves,
                 std::max(0.0, CeilingOf(ground, outcomes) -
                                   ground.whole.value_or(CeilingOf(ground, outcomes))),
                 ground.plan, LevelsOf(ground, outcomes)),
      measured_(outcomes.size()) {
  const double ceiling = CeilingOf(ground, outcomes);
  struct Point {
    size_t outcome = 0;
    double z = 0, cost = 0;
  };
  std::vector<Point> points;
  const auto whole = static_cast<double>(std::max<int64_t>(1, space.Cost(space.Whole())));
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const Outcome& outcome = outcomes[i];
    if (outcome.infeasible) continue;
    const double loss = std::max(kSmallestLoss, ceiling - outcome.reward);
    surrogate_.Add(outcome.choice, loss, outcome.images);
    if (!IsFull(ground, outcome)) continue;
    points.push_back({i, std::log(loss), static_cast<double>(space.Cost(outcome.choice)) / whole});
  }
  surrogate_.Fit(surrogate_.ChooseDeviations());

  const double budget = std::min(1.0, static_cast<double>(space.budget()) / whole);
  const auto near = [&](double cost) {
    std::vector<double> values;
    for (const Point& point : points) {
      const bool alike = !space.has_budget() || std::abs(point.cost - cost) <= kSameCost;
      if (alike) values.push_back(point.z);
    }
    return values;
  };
  std::vector<double> own = near(budget);
  centre_ = own.empty() ? surrogate_.Mean(ground.plan) : Median(own);
  if (own.size() > kLatest) own.erase(own.begin(), own.end() - kLatest);
  scale_ = kFirstScale;
  if (own.size() >= kEnough) {
    const double median = Median(own);
    for (double& z : own) z = std::abs(z - median);
    scale_ = std::max(kLeastScale, kDeviations * Median(own));
  }
  for (const Point& point : points) {
    measured_[point.outcome] = Standardise(point.z, Median(near(point.cost)));
  }
}

double Returns::Expected(const Choice& choice) const {
  return Standardise(surrogate_.Mean(choice), centre_);
}

double Returns::Standardise(double z, double centre) const {
  return std::clamp((centre - z) / scale_, -kMostReturn, kMostReturn);
}

}  // namespace amc
