#include "agent/fit.h"

#include <algorithm>

#include "base/log.h"

namespace amc {

Episode EpisodeOf(const Environment& env, absl::Span<const int64_t> kept, int64_t number) {
  Episode episode;
  episode.number = number;
  for (size_t g = 0; g < kept.size(); ++g) {
    const absl::Span<const int64_t> choices = env.lattice().choices(g);
    if (choices.size() < 2) continue;  // a step for every group with a choice
    episode.executed.push_back(static_cast<double>(kept[g]) / static_cast<double>(choices.back()));
  }
  episode.actions = episode.executed;
  episode.policy = MakePolicy(env.grouping(), kept);
  episode.cost = env.cost_model().Evaluate(kept);
  return episode;
}

int64_t CostOf(const Environment& env, const CostFunction& cost, const Policy& policy) {
  const absl::StatusOr<std::vector<int64_t>> kept = KeptCounts(policy, env.grouping());
  AMC_CHECK(kept.ok()) << kept.status().message();
  return cost.Evaluate(*kept);
}

int64_t BudgetedCost(const Environment& env, const Policy& policy) {
  return CostOf(env, env.cost(), policy);
}

Fit::Fit(const Environment& env)
    : env_(env), kept_(env.lattice().Maximum()), cost_(env.cost().Evaluate(kept_)) {}

void Fit::Adopt(absl::Span<const int64_t> kept) {
  kept_.assign(kept.begin(), kept.end());
  cost_ = env_.cost().Evaluate(kept_);
}

void Fit::ScaleBy(absl::Span<const double> shares, double factor) {
  const Lattice& lattice = env_.lattice();
  for (size_t g = 0; g < kept_.size(); ++g) {
    const double ratio = shares[g] > 0 ? std::min(1.0, factor * shares[g]) : 1.0;
    kept_[g] = lattice.Floor(g, ratio);
  }
  cost_ = env_.cost().Evaluate(kept_);
}

void Fit::ScaleToBudget(absl::Span<const double> shares) {
  double fitting = 0, high = 1;
  for (const double share : shares) {
    if (share > 0) high = std::max(high, 1 / share);  // from here on everything is whole
  }
  ScaleBy(shares, high);
  if (fits()) return;
  constexpr int kHalvings = 50;  // down to the spacing of doubles
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (fitting + high) / 2;
    ScaleBy(shares, middle);
    (fits() ? fitting : high) = middle;
  }
  ScaleBy(shares, fitting);
}

// A group whose step does not fit never fits again, because the others only grow.
void Fit::TopUp(absl::Span<const double> shares) {
  std::vector<int32_t> open;
  for (size_t g = 0; g < kept_.size(); ++g) {
    if (shares[g] > 0 && env_.lattice().choices(g).size() > 1) {
      open.push_back(static_cast<int32_t>(g));
    }
  }
  const auto filled = [&](int32_t g) {
    const auto group = static_cast<size_t>(g);
    const auto channels = static_cast<double>(env_.lattice().choices(group).back());
    return static_cast<double>(kept_[group]) / channels / shares[group];
  };
  while (!open.empty()) {
    const auto lowest = std::min_element(
        open.begin(), open.end(), [&](int32_t a, int32_t b) { return filled(a) < filled(b); });
    if (!Grow(*lowest)) open.erase(lowest);
  }
}

bool Fit::Grow(int32_t group) {
  const absl::Span<const int64_t> choices = env_.lattice().choices(group);
  const auto next = std::upper_bound(choices.begin(), choices.end(), kept_[group]);
  if (next == choices.end()) return false;
  const int64_t before = kept_[group];
  kept_[group] = *next;
  const int64_t cost = env_.cost().Evaluate(kept_);
  if (cost > env_.budget()) {
    kept_[group] = before;
    return false;
  }
  cost_ = cost;
  return true;
}

}  // namespace amc
