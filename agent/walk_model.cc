#include "agent/walk_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/log.h"

namespace amc {
namespace {

constexpr std::array<double, WalkModel::kCurvePoints> kCurveRatios{0.3, 0.5, 0.7, 0.9};
constexpr int kHalvings = 16;       // of the factor that lands: finer than any lattice
constexpr double kNoLoss = 1e-12;   // instead of the logarithm of nothing
constexpr double kMostFeature = 3;  // features stay within +-3

float Feature(double value) {
  return static_cast<float>(std::clamp(value, -kMostFeature, kMostFeature));
}

}  // namespace

WalkModel::WalkModel(const Environment& env, LossCurves curves, std::vector<int64_t> plan)
    : env_(env.Clone()), curves_(std::move(curves)), plan_(std::move(plan)) {
  const Lattice& lattice = env_->lattice();
  for (size_t g = 0; g < plan_.size(); ++g) {
    plan_ratios_.push_back(static_cast<double>(plan_[g]) /
                           static_cast<double>(lattice.choices(g).back()));
  }
  // One walk tells the order and what of the observations stays the same.
  Observation observation = env_->Reset();
  while (!env_->done()) {
    order_.push_back(observation.group);
    Group group;
    std::copy_n(observation.features.begin(), group.layer.size(), group.layer.begin());
    groups_.push_back(group);
    absl::StatusOr<StepResult> result = env_->Step(plan_ratios_[observation.group]);
    AMC_CHECK(result.ok()) << result.status().ToString();
    observation = std::move(result->observation);
  }
  whole_cost_ = std::max(1.0, static_cast<double>(CostOf(lattice.Maximum())));
  plan_loss_ = std::max(kNoLoss, curves_.Sum(plan_));

  double sum = 0, squares = 0;
  const auto log_loss = [&](size_t step, size_t point) {
    const int32_t g = order_[step];
    const absl::Span<const int64_t> choices = lattice.choices(g);
    // The mildest cut stands for ratios that round to the whole group.
    const int64_t count = std::min(lattice.Round(g, kCurveRatios[point]), *(choices.end() - 2));
    return std::log(std::max(kNoLoss, curves_.Loss(g, count)));
  };
  for (size_t s = 0; s < order_.size(); ++s) {
    for (size_t p = 0; p < kCurvePoints; ++p) {
      const double value = log_loss(s, p);
      sum += value;
      squares += value * value;
    }
  }
  const auto number = static_cast<double>(order_.size() * kCurvePoints);
  const double mean = sum / number;
  const double deviation = std::sqrt(std::max(kNoLoss, squares / number - mean * mean));
  for (size_t s = 0; s < order_.size(); ++s) {
    for (size_t p = 0; p < kCurvePoints; ++p) {
      groups_[s].curve[p] = Feature((log_loss(s, p) - mean) / deviation);
    }
  }
}

int64_t WalkModel::CostOf(absl::Span<const int64_t> kept) const {
  return env_->cost().Evaluate(kept);
}

void WalkModel::ScaleFrom(size_t step, double factor, std::vector<int64_t>& kept) const {
  for (size_t s = step; s < order_.size(); ++s) {
    const int32_t g = order_[s];
    kept[g] = env_->lattice().Floor(g, std::min(1.0, factor * plan_ratios_[g]));
  }
}

void WalkModel::Land(size_t step, int64_t budget, std::vector<int64_t>& kept) const {
  double fitting = 0, high = 1;
  for (size_t s = step; s < order_.size(); ++s) {
    high = std::max(high, 1 / plan_ratios_[order_[s]]);  // from here on everything is whole
  }
  ScaleFrom(step, high, kept);
  if (CostOf(kept) <= budget) return;
  // The plan itself is where most walks are, so it is not missed by rounding.
  ScaleFrom(step, 1, kept);
  (CostOf(kept) <= budget ? fitting : high) = 1;
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (fitting + high) / 2;
    ScaleFrom(step, middle, kept);
    (CostOf(kept) <= budget ? fitting : high) = middle;
  }
  ScaleFrom(step, fitting, kept);
}

WalkModel::View WalkModel::Look(size_t step, absl::Span<const int64_t> kept, int64_t budget) const {
  const Lattice& lattice = env_->lattice();
  const int32_t g = order_[step];
  const auto channels = static_cast<double>(lattice.choices(g).back());
  std::vector<int64_t> scratch(kept.begin(), kept.end());
  const auto now = static_cast<double>(CostOf(scratch));
  for (size_t s = step + 1; s < order_.size(); ++s) {
    scratch[order_[s]] = lattice.choices(order_[s]).front();
  }
  const auto least = static_cast<double>(CostOf(scratch));
  const int32_t last = step == 0 ? -1 : order_[step - 1];
  double loss = 0;
  for (size_t s = 0; s < step; ++s) loss += curves_.Loss(order_[s], kept[order_[s]]);

  Land(step, budget, scratch);
  View view;
  view.centre = static_cast<double>(scratch[g]) / channels;
  view.bounded = budget < std::numeric_limits<int64_t>::max();
  view.least = static_cast<double>(lattice.choices(g).front()) / channels;
  scratch[g] = lattice.choices(g).back();
  const int64_t most = CostOf(scratch);
  scratch[g] = lattice.choices(g).front();
  const auto range = static_cast<double>(most - CostOf(scratch));

  view.state.assign(groups_[step].layer.begin(), groups_[step].layer.end());
  for (const double value : {1 - now / whole_cost_, (now - least) / whole_cost_,
                             last < 0 ? 1.0
                                      : static_cast<double>(kept[last]) /
                                            static_cast<double>(lattice.choices(last).back())}) {
    view.state.push_back(static_cast<float>(value));
  }
  view.state.insert(view.state.end(), groups_[step].curve.begin(), groups_[step].curve.end());
  view.state.push_back(Feature(range / whole_cost_ * static_cast<double>(order_.size())));
  view.state.push_back(static_cast<float>(view.centre));
  view.state.push_back(Feature(loss / plan_loss_));
  view.state.push_back(
      static_cast<float>(std::min(1.0, static_cast<double>(budget) / whole_cost_)));
  return view;
}

double WalkModel::RatioOf(const View& view, double action) {
  if (!view.bounded) return std::lerp(view.least, 1.0, action);
  return std::clamp(view.centre * std::exp2(2 * action - 1), view.least, 1.0);
}

double WalkModel::ActionOf(const View& view, double ratio) {
  if (!view.bounded) {
    return view.least < 1 ? std::clamp((ratio - view.least) / (1 - view.least), 0.0, 1.0) : 0.5;
  }
  return std::clamp((std::log2(ratio / view.centre) + 1) / 2, 0.0, 1.0);
}

std::vector<WalkModel::Transition> WalkModel::WalkTo(absl::Span<const int64_t> kept,
                                                     int64_t budget) const {
  std::vector<int64_t> sofar = env_->lattice().Maximum();
  std::vector<Transition> walk;
  for (size_t s = 0; s < order_.size(); ++s) {
    const int32_t g = order_[s];
    View view = Look(s, sofar, budget);
    const double ratio =
        static_cast<double>(kept[g]) / static_cast<double>(env_->lattice().choices(g).back());
    const double action = ActionOf(view, ratio);
    walk.push_back({std::move(view.state), static_cast<float>(action)});
    sofar[g] = kept[g];
  }
  return walk;
}

}  // namespace amc
