#include "agent/exchange.h"

#include <cmath>

namespace amc {
namespace {

constexpr double kLeastGain = 1e-12;

struct Change {
  int32_t group = 0, index = 0;
};

// A policy with its cost and its value, and the best of the moves from `origin` seen so far.
class Climb {
 public:
  Climb(const PolicySpace& space, const Objective& objective, const Choice& start)
      : space_(space), objective_(objective), cursor_(space, start) {
    Recount();
  }

  const Choice& choice() const { return cursor_.choice(); }

  // Takes the best move of those that one round looks at; false if none gains.
  bool Move(bool thorough) {
    gain_ = kLeastGain;
    origin_ = Value(sum_, bonus_);
    best_.clear();
    if (space_.has_budget()) {
      TryGrowing();
      for (const int32_t g : space_.open()) TryShrinking(g, /*thorough=*/false);
      if (best_.empty() && thorough) {
        for (const int32_t g : space_.open()) TryShrinking(g, /*thorough=*/true);
      }
    } else {
      TrySingle();
    }
    for (const Change& change : best_) cursor_.Set(change.group, change.index);
    if (!best_.empty()) Recount();  // rounding does not add up over moves
    return !best_.empty();
  }

 private:
  double Loss(int32_t group, int32_t index) const { return objective_.loss[group][index]; }
  double Bonus(int32_t group, int32_t index) const {
    return objective_.bonus.empty() ? 0 : objective_.bonus[group][index];
  }
  double Value(double sum, double bonus) const {
    return objective_.power * std::log(objective_.offset + sum) + bonus;
  }

  void Recount() {
    sum_ = bonus_ = 0;
    for (size_t g = 0; g < space_.num_groups(); ++g) {
      const auto group = static_cast<int32_t>(g);
      sum_ += Loss(group, cursor_.at(g));
      bonus_ += Bonus(group, cursor_.at(g));
    }
  }

  void Apply(Change change) {
    const int32_t from = cursor_.at(change.group);
    sum_ += Loss(change.group, change.index) - Loss(change.group, from);
    bonus_ += Bonus(change.group, change.index) - Bonus(change.group, from);
    cursor_.Set(change.group, change.index);
    applied_.push_back({change.group, from});
  }

  void Revert() {
    const Change back = applied_.back();
    Apply(back);
    applied_.resize(applied_.size() - 2);
  }

  // The applied changes and `last` as the best move, if it gains more than any before.
  void Offer(Change last) {
    const int32_t from = cursor_.at(last.group);
    const double sum = sum_ + Loss(last.group, last.index) - Loss(last.group, from);
    const double bonus = bonus_ + Bonus(last.group, last.index) - Bonus(last.group, from);
    const double gain = origin_ - Value(sum, bonus);
    if (gain <= gain_) return;
    gain_ = gain;
    best_.clear();
    for (const Change& change : applied_) {
      best_.push_back({change.group, cursor_.at(change.group)});
    }
    best_.push_back(last);
  }

  bool IsApplied(int32_t group) const {
    for (const Change& change : applied_) {
      if (change.group == group) return true;
    }
    return false;
  }

  // Every group as far as the budget lets it.
  void TryGrowing() {
    for (const int32_t h : space_.open()) {
      if (IsApplied(h)) continue;
      const int32_t index = cursor_.LargestThatFits(h);
      if (index > cursor_.at(h)) Offer({h, index});
    }
  }

  // `g` loses 1, 2, 4, ... of its choices, and another group grows; thoroughly it loses one, and
  // besides either a second group loses one or a second one gains one.
  void TryShrinking(int32_t g, bool thorough) {
    const int32_t from = cursor_.at(g);
    for (int32_t step = 1; step <= from && (step == 1 || !thorough); step *= 2) {
      Apply({g, from - step});
      if (thorough) {
        TrySecond(g);
      } else {
        TryGrowing();
      }
      Revert();
    }
  }

  void TrySecond(int32_t g) {
    for (const int32_t second : space_.open()) {
      if (second == g) continue;
      const int32_t at = cursor_.at(second);
      for (const int32_t index : {at - 1, at + 1}) {
        if (index < 0 || index >= space_.num_choices(second)) continue;
        if (index < at && second < g) continue;  // the same two the other way round
        if (index > at && cursor_.Delta(second, index) > cursor_.slack()) continue;
        Apply({second, index});
        TryGrowing();
        Revert();
      }
    }
  }

  void TrySingle() {
    for (const int32_t g : space_.open()) {
      for (int32_t index = 0; index < space_.num_choices(g); ++index) {
        if (index != cursor_.at(g)) Offer({g, index});
      }
    }
  }

  const PolicySpace& space_;
  const Objective& objective_;
  PolicyCursor cursor_;
  double sum_ = 0, bonus_ = 0;
  std::vector<Change> applied_;  // what would undo the changes tried at the moment
  double origin_ = 0, gain_ = 0;
  std::vector<Change> best_;
};

}  // namespace

double Objective::Value(const Choice& choice) const {
  double sum = offset, added = 0;
  for (size_t g = 0; g < choice.size(); ++g) {
    sum += loss[g][choice[g]];
    if (!bonus.empty()) added += bonus[g][choice[g]];
  }
  return power * std::log(sum) + added;
}

Choice Exchange(const PolicySpace& space, const Objective& objective, const Choice& start,
                const ExchangeOptions& options) {
  Climb climb(space, objective, start);
  for (int64_t move = 0; move < options.moves && climb.Move(options.thorough);) ++move;
  if (!space.has_budget()) return climb.choice();
  PolicyCursor cursor(space, climb.choice());
  cursor.TopUp();
  return cursor.choice();
}

}  // namespace amc
