#include "agent/policy_space.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace amc {
namespace {

// Reads the form off the model: at nothing kept, one and two units of a group, one unit of two.
CostForm ReadForm(const Environment& env, const std::vector<int64_t>& cells) {
  const size_t groups = cells.size();
  std::vector<int64_t> kept(groups, 0);
  const auto cost = [&] { return env.cost().Evaluate(kept); };
  CostForm form;
  form.constant = cost();
  form.linear.resize(groups);
  form.pairs.assign(groups, std::vector<int64_t>(groups));
  for (size_t g = 0; g < groups; ++g) {
    kept[g] = cells[g];
    const int64_t one = cost() - form.constant;
    kept[g] = 2 * cells[g];
    const int64_t two = cost() - form.constant;
    kept[g] = 0;
    form.pairs[g][g] = (two - 2 * one) / 2;
    form.linear[g] = one - form.pairs[g][g];
  }
  for (size_t g = 0; g < groups; ++g) {
    kept[g] = cells[g];
    for (size_t h = 0; h < g; ++h) {
      kept[h] = cells[h];
      form.pairs[g][h] = form.pairs[h][g] = cost() - form.constant - form.linear[g] -
                                            form.pairs[g][g] - form.linear[h] - form.pairs[h][h];
      kept[h] = 0;
    }
    kept[g] = 0;
  }
  return form;
}

}  // namespace

PolicySpace::PolicySpace(const Environment& env) : budget_(env.budget()) {
  const Lattice& lattice = env.lattice();
  for (size_t g = 0; g < lattice.num_groups(); ++g) {
    cells_.push_back(env.grouping().groups[g].cells);
    units_.emplace_back();
    for (const int64_t kept : lattice.choices(g)) units_[g].push_back(kept / cells_[g]);
  }
  if (env.cost().bilinear()) {
    form_ = ReadForm(env, cells_);
  } else {
    function_ = &env.cost();
  }
  cheapest_ = IndexOf(env.cheapest());
  ListOpen();
}

PolicySpace::PolicySpace(std::vector<std::vector<int64_t>> units, CostForm form, int64_t budget)
    : cells_(units.size(), 1), units_(std::move(units)), form_(std::move(form)), budget_(budget) {
  cheapest_ = Minimum();
  ListOpen();
}

void PolicySpace::ListOpen() {
  for (size_t g = 0; g < units_.size(); ++g) {
    if (units_[g].size() > 1) open_.push_back(static_cast<int32_t>(g));
  }
}

bool PolicySpace::has_budget() const { return budget_ != std::numeric_limits<int64_t>::max(); }

double PolicySpace::Ratio(size_t group, int32_t index) const {
  return static_cast<double>(units_[group][index]) / static_cast<double>(units_[group].back());
}

Choice PolicySpace::Whole() const {
  Choice choice;
  for (const auto& units : units_) choice.push_back(static_cast<int32_t>(units.size()) - 1);
  return choice;
}

Choice PolicySpace::Minimum() const { return Choice(units_.size(), 0); }

int64_t PolicySpace::Cost(const Choice& choice) const {
  if (function_ != nullptr) return function_->Evaluate(Kept(choice));
  int64_t cost = form_.constant;
  for (size_t g = 0; g < choice.size(); ++g) {
    int64_t per_unit = form_.linear[g];
    for (size_t h = 0; h <= g; ++h) per_unit += form_.pairs[g][h] * units_[h][choice[h]];
    cost += per_unit * units_[g][choice[g]];
  }
  return cost;
}

std::vector<int64_t> PolicySpace::Kept(const Choice& choice) const {
  std::vector<int64_t> kept;
  for (size_t g = 0; g < choice.size(); ++g) kept.push_back(units_[g][choice[g]] * cells_[g]);
  return kept;
}

Choice PolicySpace::IndexOf(absl::Span<const int64_t> kept) const {
  Choice choice;
  for (size_t g = 0; g < kept.size(); ++g) {
    const std::vector<int64_t>& units = units_[g];
    const auto above = std::upper_bound(units.begin(), units.end(), kept[g] / cells_[g]);
    choice.push_back(std::max<int32_t>(0, static_cast<int32_t>(above - units.begin()) - 1));
  }
  return choice;
}

PolicyCursor::PolicyCursor(const PolicySpace& space, Choice choice)
    : space_(space),
      choice_(std::move(choice)),
      cost_(space.Cost(choice_)),
      gradient_(space.form().linear) {
  if (space.function() != nullptr) {
    kept_ = space.Kept(choice_);
    return;
  }
  for (size_t g = 0; g < choice_.size(); ++g) {
    for (size_t h = 0; h < choice_.size(); ++h) {
      if (h != g) gradient_[g] += space.form().pairs[g][h] * space.units(h, choice_[h]);
    }
  }
}

int64_t PolicyCursor::Delta(int32_t group, int32_t index) const {
  if (index == choice_[group]) return 0;
  if (space_.function() != nullptr) {
    return space_.function()->EvaluateChange(kept_, cost_, group, space_.KeptAt(group, index)) -
           cost_;
  }
  const int64_t from = space_.units(group, choice_[group]), to = space_.units(group, index);
  return (to - from) * (gradient_[group] + space_.form().pairs[group][group] * (to + from));
}

void PolicyCursor::Set(int32_t group, int32_t index) {
  if (choice_[group] == index) return;
  if (space_.function() != nullptr) {
    kept_[group] = space_.KeptAt(group, index);
    choice_[group] = index;
    cost_ = space_.function()->Evaluate(kept_);
    return;
  }
  cost_ += Delta(group, index);
  const int64_t change = space_.units(group, index) - space_.units(group, choice_[group]);
  const std::vector<int64_t>& pairs = space_.form().pairs[group];
  for (size_t h = 0; h < pairs.size(); ++h) {
    if (h != static_cast<size_t>(group)) gradient_[h] += pairs[h] * change;
  }
  choice_[group] = index;
}

int32_t PolicyCursor::LargestThatFits(int32_t group) const {
  if (space_.function() != nullptr && !space_.function()->monotone()) {
    int32_t index = space_.num_choices(group) - 1;
    while (index > choice_[group] && Delta(group, index) > slack()) --index;
    return index;
  }
  int32_t low = choice_[group], high = space_.num_choices(group) - 1;
  while (low < high) {
    const int32_t middle = low + (high - low + 1) / 2;
    if (Delta(group, middle) <= slack()) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

void PolicyCursor::TopUp() {
  std::vector<int32_t> growing(space_.open().begin(), space_.open().end());
  while (!growing.empty()) {
    const auto lowest = std::min_element(growing.begin(), growing.end(), [&](int32_t g, int32_t h) {
      return space_.Ratio(g, choice_[g]) < space_.Ratio(h, choice_[h]);
    });
    const int32_t next = choice_[*lowest] + 1;
    if (next < space_.num_choices(*lowest) && Delta(*lowest, next) <= slack()) {
      Set(*lowest, next);
    } else {
      growing.erase(lowest);  // the others only grow: it never fits again
    }
  }
}

}  // namespace amc
