#include "env/cost/lattice.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace amc {
namespace {

// Counts made from ratios such as 3.0 / 15 must come back as 3, not as a hair above or below.
constexpr double kRatioSlack = 1e-9;

// Larger multiples than this are mistakes, and lcm() with a group's cells must not overflow.
constexpr int64_t kMaxChannelMultiple = int64_t{1} << 20;

std::vector<int64_t> ChoicesOf(const PruneGroup& group, const LatticeOptions& options) {
  if (group.granularity == Granularity::kNM) return {group.cells, group.channels};
  const int64_t step = std::lcm(options.channel_multiple, group.cells);
  const int64_t floor = std::max<int64_t>(
      1, std::llround(std::ceil(options.min_preserve_ratio * group.channels - kRatioSlack)));
  std::vector<int64_t> choices;
  for (int64_t kept = (floor + step - 1) / step * step; kept < group.channels; kept += step) {
    choices.push_back(kept);
  }
  choices.push_back(group.channels);
  return choices;
}

}  // namespace

absl::StatusOr<Lattice> Lattice::Create(const Grouping& grouping, LatticeOptions options) {
  if (options.channel_multiple < 1 || options.channel_multiple > kMaxChannelMultiple) {
    return absl::InvalidArgumentError(absl::StrCat("channel_multiple: ", options.channel_multiple,
                                                   " is not in [1, ", kMaxChannelMultiple, "]"));
  }
  if (!(options.min_preserve_ratio >= 0 && options.min_preserve_ratio <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("min_preserve_ratio: ", options.min_preserve_ratio, " is not in [0, 1]"));
  }
  Lattice lattice;
  lattice.choices_.reserve(grouping.groups.size());
  for (const PruneGroup& group : grouping.groups) {
    lattice.choices_.push_back(options.keep_residual && group.residual
                                   ? std::vector<int64_t>{group.channels}
                                   : ChoicesOf(group, options));
  }
  for (const std::string& name : options.frozen) {
    const int group = grouping.FindGroup(name);
    if (group < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("frozen: group ", name, ": no such group among ", grouping.groups.size()));
    }
    lattice.choices_[group] = {grouping.groups[group].channels};
  }
  return lattice;
}

bool Lattice::Contains(size_t group, int64_t kept) const {
  return std::binary_search(choices_[group].begin(), choices_[group].end(), kept);
}

int64_t Lattice::Floor(size_t group, double ratio) const {
  const std::vector<int64_t>& choices = choices_[group];
  const double count = ratio * static_cast<double>(choices.back()) + kRatioSlack;
  const auto above = std::upper_bound(choices.begin(), choices.end(), count,
                                      [](double c, int64_t k) { return c < k; });
  return above == choices.begin() ? choices.front() : *(above - 1);
}

int64_t Lattice::Ceil(size_t group, double ratio) const {
  const std::vector<int64_t>& choices = choices_[group];
  const double count = ratio * static_cast<double>(choices.back()) - kRatioSlack;
  const auto not_below = std::lower_bound(choices.begin(), choices.end(), count,
                                          [](int64_t k, double c) { return k < c; });
  return not_below == choices.end() ? choices.back() : *not_below;
}

int64_t Lattice::Round(size_t group, double ratio) const {
  const double count = ratio * static_cast<double>(choices_[group].back());
  const int64_t low = Floor(group, ratio);
  const int64_t high = Ceil(group, ratio);
  return count - low < high - count - kRatioSlack ? low : high;
}

std::vector<int64_t> Lattice::Minimum() const {
  std::vector<int64_t> kept;
  kept.reserve(choices_.size());
  for (const std::vector<int64_t>& choices : choices_) kept.push_back(choices.front());
  return kept;
}

std::vector<int64_t> Lattice::Maximum() const {
  std::vector<int64_t> kept;
  kept.reserve(choices_.size());
  for (const std::vector<int64_t>& choices : choices_) kept.push_back(choices.back());
  return kept;
}

}  // namespace amc
