#include "agent/starts.h"

#include <algorithm>

#include "agent/fit.h"

namespace amc {
namespace {

// `shares` scaled to the budget and topped up.
Choice Scale(const Environment& env, const PolicySpace& space, absl::Span<const double> shares) {
  Fit fit(env);
  fit.ScaleToBudget(shares);
  PolicyCursor cursor(space, fit.fits() ? space.IndexOf(fit.kept()) : space.Cheapest());
  if (space.has_budget()) cursor.TopUp();
  return cursor.choice();
}

// Whether no group can grow within the budget.
bool IsFull(const PolicySpace& space, const PolicyCursor& cursor) {
  return std::all_of(space.open().begin(), space.open().end(), [&](int32_t g) {
    return cursor.at(g) + 1 == space.num_choices(g) ||
           cursor.Delta(g, cursor.at(g) + 1) > cursor.slack();
  });
}

}  // namespace

Choice UniformStart(const Environment& env, const PolicySpace& space) {
  if (!space.has_budget()) return space.Whole();
  for (const bool inner_only : {true, false}) {
    std::vector<double> shares(space.num_groups(), 0);
    for (const int32_t g : space.open()) {
      if (!inner_only || !env.grouping().groups[g].residual) shares[g] = 1;
    }
    Fit fit(env);
    fit.ScaleToBudget(shares);
    if (fit.fits()) return Scale(env, space, shares);
  }
  return space.Cheapest();
}

Choice FittedStart(const Environment& env, const PolicySpace& space,
                   absl::Span<const int64_t> kept) {
  Choice choice = space.IndexOf(kept);
  if (!space.has_budget()) return choice;
  if (space.Fits(choice)) {
    PolicyCursor cursor(space, std::move(choice));
    cursor.TopUp();
    return cursor.choice();
  }
  std::vector<double> shares;
  for (size_t g = 0; g < choice.size(); ++g) shares.push_back(space.Ratio(g, choice[g]));
  return Scale(env, space, shares);
}

std::optional<std::vector<Choice>> AllPolicies(const PolicySpace& space, size_t limit) {
  constexpr double kMostTried = 20000;
  // With a budget, all groups but the one of most choices are enumerated, and it takes what fits.
  int32_t last = space.open().empty() ? -1 : space.open().front();
  double tried = 1;
  for (const int32_t g : space.open()) {
    if (space.num_choices(g) > space.num_choices(last)) last = g;
    tried *= space.num_choices(g);
  }
  if (!space.has_budget()) last = -1;
  if (last >= 0) tried /= space.num_choices(last);
  if (tried > kMostTried) return std::nullopt;

  std::vector<Choice> policies;
  PolicyCursor cursor(space, space.Minimum());
  while (true) {
    if (last >= 0) cursor.Set(last, cursor.LargestThatFits(last));
    if (cursor.fits() && (!space.has_budget() || IsFull(space, cursor))) {
      policies.push_back(cursor.choice());
      if (policies.size() > limit) return std::nullopt;
    }
    if (last >= 0) cursor.Set(last, 0);
    // The next one, as an odometer counts.
    auto digit = space.open().begin();
    for (; digit != space.open().end(); ++digit) {
      if (*digit == last) continue;
      if (cursor.at(*digit) + 1 < space.num_choices(*digit)) {
        cursor.Set(*digit, cursor.at(*digit) + 1);
        break;
      }
      cursor.Set(*digit, 0);
    }
    if (digit == space.open().end()) return policies;
  }
}

}  // namespace amc
