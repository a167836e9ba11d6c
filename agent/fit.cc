#include "agent/fit.h"

#include <algorithm>

namespace amc {

Fit::Fit(const Environment& env)
    : env_(env),
      kept_(env.lattice().Maximum()),
      cost_(env.cost_model().Evaluate(env.resource(), kept_)) {}

void Fit::ScaleBy(absl::Span<const double> shares, double factor) {
  const Lattice& lattice = env_.lattice();
  for (size_t g = 0; g < kept_.size(); ++g) {
    const double ratio = shares[g] > 0 ? std::min(1.0, factor * shares[g]) : 1.0;
    kept_[g] = lattice.Floor(g, ratio);
  }
  cost_ = env_.cost_model().Evaluate(env_.resource(), kept_);
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

bool Fit::Grow(int32_t group) {
  const absl::Span<const int64_t> choices = env_.lattice().choices(group);
  const auto next = std::upper_bound(choices.begin(), choices.end(), kept_[group]);
  if (next == choices.end()) return false;
  const int64_t before = kept_[group];
  kept_[group] = *next;
  const int64_t cost = env_.cost_model().Evaluate(env_.resource(), kept_);
  if (cost > env_.budget()) {
    kept_[group] = before;
    return false;
  }
  cost_ = cost;
  return true;
}

Episode Fit::ToEpisode(int64_t number) const {
  Episode episode;
  episode.number = number;
  for (size_t g = 0; g < kept_.size(); ++g) {
    if (env_.lattice().choices(g).size() < 2) continue;  // a step for every group with a choice
    episode.executed.push_back(static_cast<double>(kept_[g]) /
                               static_cast<double>(env_.lattice().choices(g).back()));
  }
  episode.actions = episode.executed;
  episode.policy = MakePolicy(env_.grouping(), kept_);
  episode.cost = env_.cost_model().Evaluate(kept_);
  return episode;
}

}  // namespace amc
