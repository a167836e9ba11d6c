#include "agent/netadapt_steps.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace amc {
namespace {

constexpr int kHalvings = 50;       // of a common factor, down to the spacing of doubles
constexpr double kRounding = 1e-9;  // of sums of steps
constexpr int32_t kNoGroup = -1;

class Cutter {
 public:
  Cutter(const Environment& env, absl::Span<const int64_t> kept, int64_t target)
      : env_(env), from_(kept), target_(target) {}

  int64_t CostOf(const std::vector<int64_t>& kept) const { return env_.cost().Evaluate(kept); }

  bool CanShrink(int32_t group) const {
    return env_.lattice().choices(group).front() < from_[group];
  }

  // `group` alone, as little as reaches the target; at its smallest if nothing does.
  Proposal Alone(int32_t group) const {
    Proposal proposal{.kept = Copy(), .group = group};
    const absl::Span<const int64_t> choices = env_.lattice().choices(group);
    const auto too_many = std::partition_point(choices.begin(), choices.end(), [&](int64_t count) {
      proposal.kept[group] = count;
      return count <= from_[group] && CostOf(proposal.kept) <= target_;
    });
    proposal.kept[group] = too_many == choices.begin() ? choices.front() : *(too_many - 1);
    proposal.cost = CostOf(proposal.kept);
    return proposal;
  }

  // `group` at its smallest, all others by one common factor.
  Proposal WithOthers(int32_t group) const {
    Proposal proposal{.kept = Copy(), .group = group};
    if (group != kNoGroup) proposal.kept[group] = env_.lattice().choices(group).front();
    double fitting = 0, high = 1;
    for (int i = 0; i < kHalvings; ++i) {
      const double middle = (fitting + high) / 2;
      Scale(group, middle, proposal.kept);
      (CostOf(proposal.kept) <= target_ ? fitting : high) = middle;
    }
    Scale(group, fitting, proposal.kept);
    std::vector<int64_t> most = Copy();
    if (group != kNoGroup) most[group] = proposal.kept[group];
    Grow(most, target_, proposal.kept);
    proposal.cost = CostOf(proposal.kept);
    return proposal;
  }

  // Spends what a proposal leaves of `goal`.
  void TopUp(int64_t goal, Proposal& proposal) const {
    if (proposal.cost > goal) return;
    Grow(env_.lattice().Maximum(), goal, proposal.kept);
    proposal.cost = CostOf(proposal.kept);
  }

 private:
  std::vector<int64_t> Copy() const { return {from_.begin(), from_.end()}; }

  void Scale(int32_t except, double factor, std::vector<int64_t>& kept) const {
    for (size_t g = 0; g < kept.size(); ++g) {
      if (static_cast<int32_t>(g) == except) continue;
      const auto whole = static_cast<double>(env_.lattice().choices(g).back());
      kept[g] = env_.lattice().Floor(g, factor * static_cast<double>(from_[g]) / whole);
    }
  }

  // Round after round, until no group can keep its next larger count, `most` at the largest.
  void Grow(absl::Span<const int64_t> most, int64_t limit, std::vector<int64_t>& kept) const {
    for (bool grew = true; grew;) {
      grew = false;
      for (size_t g = 0; g < kept.size(); ++g) {
        if (kept[g] >= most[g]) continue;
        const absl::Span<const int64_t> choices = env_.lattice().choices(g);
        const int64_t before = kept[g];
        kept[g] = *std::upper_bound(choices.begin(), choices.end(), before);
        if (CostOf(kept) <= limit) {
          grew = true;
        } else {
          kept[g] = before;
        }
      }
    }
  }

  const Environment& env_;
  const absl::Span<const int64_t> from_;
  const int64_t target_;
};

// The sum of `count` steps from `first` on, each `decay` times the one before.
double SumOfSteps(double first, double decay, int64_t count) {
  const auto n = static_cast<double>(count);
  return decay < 1 ? first * (1 - std::pow(decay, n)) / (1 - decay) : first * n;
}

double StepOf(const NetAdaptOptions& options, int64_t iteration) {
  return options.step * std::pow(options.decay, static_cast<double>(iteration));
}

}  // namespace

absl::Status CheckNetAdaptOptions(const NetAdaptOptions& options) {
  if (!(options.step > 0 && options.step <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("netadapt.step: ", options.step, " is not in (0, 1]"));
  }
  if (!(options.decay > 0 && options.decay <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("netadapt.decay: ", options.decay, " is not in (0, 1]"));
  }
  if (options.step + kRounding < 1 - options.decay) {
    return absl::InvalidArgumentError(absl::StrCat(
        "netadapt.step: steps of ", options.step, " that decay by ", options.decay, " end at ",
        options.step / (1 - options.decay), " of the way to the budget; a step of at least ",
        1 - options.decay, " arrives"));
  }
  return absl::OkStatus();
}

int64_t IterationsLeft(const NetAdaptOptions& options, int64_t iteration, double rest) {
  const double step = StepOf(options, iteration);
  int64_t count = 1;
  while (count < kMostIterations &&
         SumOfSteps(step, options.decay, count) < rest * (1 - kRounding)) {
    ++count;
  }
  return count;
}

double RestAfter(const NetAdaptOptions& options, int64_t iteration, double rest,
                 int64_t affordable) {
  const int64_t count = std::min(affordable, IterationsLeft(options, iteration, rest));
  if (count <= 1) return 0;
  const double step = StepOf(options, iteration);
  const double longer = std::max(1.0, rest / SumOfSteps(step, options.decay, count));
  return std::max(0.0, rest - longer * step);
}

std::vector<Proposal> ProposeCuts(const Environment& env, absl::Span<const int64_t> kept,
                                  int64_t target, int64_t goal) {
  const Cutter cutter(env, kept, target);
  std::vector<Proposal> proposals;
  const auto groups = static_cast<int32_t>(kept.size());
  for (int32_t g = 0; g < groups; ++g) {
    if (!cutter.CanShrink(g)) continue;
    Proposal proposal = cutter.Alone(g);
    if (proposal.cost <= target) proposals.push_back(std::move(proposal));
  }
  if (proposals.empty()) {
    for (int32_t g = 0; g < groups; ++g) {
      if (!cutter.CanShrink(g)) continue;
      Proposal proposal = cutter.WithOthers(g);
      if (proposal.cost <= target) proposals.push_back(std::move(proposal));
    }
  }
  for (Proposal& proposal : proposals) cutter.TopUp(goal, proposal);
  std::stable_sort(proposals.begin(), proposals.end(),
                   [](const Proposal& a, const Proposal& b) { return a.cost > b.cost; });
  return proposals;
}

Proposal ScaleAll(const Environment& env, absl::Span<const int64_t> kept, int64_t goal) {
  const Cutter cutter(env, kept, goal);
  Proposal proposal = cutter.WithOthers(kNoGroup);
  if (proposal.cost > goal && goal == env.budget()) {  // costs that are not monotone
    proposal.kept.assign(env.cheapest().begin(), env.cheapest().end());
    proposal.cost = cutter.CostOf(proposal.kept);
  }
  cutter.TopUp(goal, proposal);
  return proposal;
}

}  // namespace amc
