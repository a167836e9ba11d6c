#include "agent/proposer.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace amc {
namespace {

constexpr size_t kParents = 8;
constexpr int kTries = 12;  // at a policy that was not seen yet, straying farther each time
constexpr double kFarther = 1.3;
constexpr int kChildren = 48;      // of which the surrogate's favourite is taken
constexpr int kMostExchanges = 3;  // of a random child
constexpr int kRandomTries = 200;
constexpr int64_t kMoves = 12;     // of a search for a sample's minimum: it stays near its start
constexpr double kInfeasible = 2;  // times the worst loss
constexpr double kSmallestLoss = 1e-9;
// Deviations are chosen anew when the outcomes have grown by a quarter.
constexpr double kGrowth = 1.25;

// The largest of a fixed series of numbers that is not above `n`.
size_t Milestone(size_t n) {
  size_t milestone = 0;
  for (double next = 2; static_cast<size_t>(next) <= n; next = std::max(next + 1, next * kGrowth)) {
    milestone = static_cast<size_t>(next);
  }
  return milestone;
}

}  // namespace

Proposer::Proposer(const PolicySpace& space, ProposalKind kind, ProposalGround ground)
    : space_(space), kind_(kind), ground_(std::move(ground)) {
  Update({});
}

// Rewards are below 0 for -KL and what is weighed by the resource, below 1 for accuracies: what is
// missing is a positive loss.
double Proposer::Ceiling(size_t outcomes) const {
  double highest = ground_.whole.value_or(0);
  for (size_t i = 0; i < outcomes; ++i) {
    if (!outcomes_[i].infeasible) highest = std::max(highest, outcomes_[i].reward);
  }
  return highest > 0 ? std::max(1.0, highest) : 0.0;
}

std::unique_ptr<Surrogate> Proposer::Believe(size_t outcomes) const {
  const double ceiling = Ceiling(outcomes);
  const double offset = ground_.whole.has_value() ? std::max(0.0, ceiling - *ground_.whole) : 0.0;
  auto surrogate =
      std::make_unique<Surrogate>(space_, ground_.curves, offset, ground_.typical, ground_.levels);
  double worst = 0;
  for (size_t i = 0; i < outcomes; ++i) {
    const Outcome& outcome = outcomes_[i];
    if (outcome.infeasible && worst == 0) continue;
    const double loss = outcome.infeasible ? kInfeasible * worst
                                           : std::max(kSmallestLoss, ceiling - outcome.reward);
    if (!outcome.infeasible) worst = std::max(worst, loss);
    surrogate->Add(outcome.choice, loss, outcome.images);
  }
  return surrogate;
}

void Proposer::Update(const std::vector<Outcome>& outcomes) {
  if (surrogate_ != nullptr && outcomes.size() == outcomes_.size()) return;
  outcomes_ = outcomes;
  ceiling_ = Ceiling(outcomes_.size());
  const size_t milestone = Milestone(outcomes_.size());
  if (deviations_.find(milestone) == deviations_.end()) {
    deviations_[milestone] = Believe(milestone)->ChooseDeviations();
  }
  surrogate_ = Believe(outcomes_.size());
  surrogate_->Fit(deviations_[milestone]);

  // A policy that was measured again counts as its last result says.
  std::map<Choice, double> scores;
  for (const Outcome& outcome : outcomes_) {
    const bool comparable = kind_ != ProposalKind::kRandom || outcome.images == 0;
    if (outcome.infeasible || !comparable || !space_.Fits(outcome.choice)) continue;
    scores[outcome.choice] = Score(outcome);
  }
  std::vector<std::pair<double, Choice>> ranked;
  ranked.reserve(scores.size());
  for (const auto& [choice, score] : scores) ranked.emplace_back(score, choice);
  std::sort(ranked.begin(), ranked.end());
  parents_.clear();
  for (size_t i = 0; i < std::min(kParents, ranked.size()); ++i) {
    parents_.push_back(std::move(ranked[i].second));
  }
  if (parents_.empty()) parents_.push_back(ground_.typical);
}

double Proposer::Score(const Outcome& outcome) const {
  if (outcome.infeasible) return std::numeric_limits<double>::infinity();
  if (kind_ == ProposalKind::kRandom) return -outcome.reward;
  return surrogate_->MeanGiven(outcome.choice, std::max(kSmallestLoss, ceiling_ - outcome.reward),
                               outcome.images);
}

Objective Proposer::Target(double temperature, Rng& rng) const {
  return temperature > 0 ? surrogate_->Draw(temperature, rng) : surrogate_->Expected();
}

// One to three times a group shrinks by up to an eighth of its choices and another takes what that
// frees; then groups grow in random order.
Choice Proposer::Mutate(const Choice& parent, Rng& rng) const {
  PolicyCursor cursor(space_, parent);
  const absl::Span<const int32_t> open = space_.open();
  const auto pick = [&] { return open[rng.Below(open.size())]; };
  const auto step = [&](int32_t g) {
    return 1 + static_cast<int32_t>(rng.Below(std::max(1, space_.num_choices(g) / 8)));
  };
  const uint64_t exchanges = 1 + rng.Below(kMostExchanges);
  for (uint64_t i = 0; i < exchanges; ++i) {
    const int32_t loser = pick();
    cursor.Set(loser, std::max(0, cursor.at(loser) - step(loser)));
    const int32_t winner = pick();
    if (!space_.has_budget()) {
      const int32_t most = space_.num_choices(winner) - 1;
      cursor.Set(winner, std::min(most, cursor.at(winner) + step(winner)));
    } else if (winner != loser) {
      cursor.Set(winner, cursor.LargestThatFits(winner));
    }
  }
  if (!space_.has_budget()) return cursor.choice();
  for (const int64_t i : rng.Permutation(static_cast<int64_t>(open.size()))) {
    cursor.Set(open[i], cursor.LargestThatFits(open[i]));
  }
  // Where costs are not monotone, fewer channels may have cost more.
  return cursor.fits() ? cursor.choice() : parent;
}

std::optional<Choice> Proposer::New(const std::set<Choice>& seen, double temperature,
                                    Rng& rng) const {
  const auto is_new = [&](const Choice& choice) { return seen.find(choice) == seen.end(); };
  const auto parent = [&]() -> const Choice& { return parents_[rng.Below(parents_.size())]; };
  if (kind_ == ProposalKind::kMinimised) {
    for (int i = 0; i < kTries; ++i) {
      const Objective target = Target(temperature, rng);
      Choice choice = Exchange(space_, target, parent(), {.moves = kMoves});
      if (is_new(choice)) return choice;
      temperature = std::max(temperature, 0.1) * kFarther;
    }
  } else if (kind_ == ProposalKind::kRanked) {
    const Objective target = Target(temperature, rng);
    std::optional<std::pair<double, Choice>> best;
    for (int i = 0; i < kChildren; ++i) {
      Choice child = Mutate(parent(), rng);
      const double value = target.Value(child);
      if ((!best.has_value() || value < best->first) && is_new(child)) best = {value, child};
    }
    if (best.has_value()) return best->second;
  }
  for (int i = 0; i < kRandomTries; ++i) {
    Choice child = Mutate(parent(), rng);
    if (is_new(child)) return child;
  }
  return std::nullopt;
}

const Choice& Proposer::Best(const std::vector<Choice>& choices, double temperature,
                             Rng& rng) const {
  if (kind_ == ProposalKind::kRandom) return choices[rng.Below(choices.size())];
  const Objective target = Target(temperature, rng);
  size_t best = 0;
  double least = target.Value(choices[0]);
  for (size_t i = 1; i < choices.size(); ++i) {
    if (const double value = target.Value(choices[i]); value < least) {
      least = value;
      best = i;
    }
  }
  return choices[best];
}

}  // namespace amc
