#include "agent/probes.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/fit.h"

namespace amc {
namespace {

constexpr int64_t kFewestImages = 100;
constexpr int64_t kFewestRatios = 2;
constexpr int64_t kMostRatios = 1000;
constexpr double kShareOfSearch = 0.2;
// Of a probe's work, what is left when the layers before its group are shared with others; about a
// half in theory, measured a little more.
constexpr double kUnshared = 0.6;
// Distances from whole are powers of equal steps: of four points the second mildest keeps 0.67.
constexpr double kCrowding = 1.3;

// `ratios` counts below the whole, or as many as there are, ascending.
std::vector<int64_t> CountsOf(const Lattice& lattice, size_t group, int64_t ratios) {
  const absl::Span<const int64_t> choices = lattice.choices(group);
  const auto below = absl::MakeConstSpan(choices).first(choices.size() - 1);
  if (static_cast<int64_t>(below.size()) <= ratios) return {below.begin(), below.end()};
  const auto whole = static_cast<double>(choices.back());
  const double most = 1 - static_cast<double>(choices.front()) / whole;
  std::vector<int64_t> counts;
  for (int64_t i = 0; i < ratios; ++i) {
    const double step = static_cast<double>(ratios - i) / static_cast<double>(ratios);
    const int64_t count = lattice.Round(group, 1 - most * std::pow(step, kCrowding));
    counts.push_back(std::min(count, below.back()));
  }
  counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
  return counts;
}

std::vector<ProbePoint> PointsOf(const Lattice& lattice, int64_t ratios) {
  std::vector<ProbePoint> points{{}};
  for (size_t g = 0; g < lattice.num_groups(); ++g) {
    for (const int64_t kept : CountsOf(lattice, g, ratios)) {
      points.push_back({.group = static_cast<int32_t>(g), .kept = kept});
    }
  }
  return points;
}

// What a candidate at the budget costs of the original's resource; stands for its share of MACs.
// Zeros within weights are multiplied like any other value.
double BudgetShare(const Environment& env) {
  const CostModel& costs = env.cost_model();
  if (costs.Evaluate(env.lattice().Minimum()) == costs.Evaluate(env.lattice().Maximum())) return 1;
  const int64_t whole = env.cost().Evaluate(env.lattice().Maximum());
  return static_cast<double>(std::min(env.budget(), whole)) / static_cast<double>(whole);
}

std::vector<int64_t> KeptOf(const Environment& env, const ProbePoint& point) {
  std::vector<int64_t> kept = env.lattice().Maximum();
  if (point.group != ProbePoint::kWholeNetwork) kept[point.group] = point.kept;
  return kept;
}

}  // namespace

absl::Status CheckProbeOptions(const ProbeOptions& options) {
  if (options.images < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("probes.images: ", options.images, " is not at least 0"));
  }
  if (options.ratios < 1 || options.ratios > kMostRatios) {
    return absl::InvalidArgumentError(
        absl::StrCat("probes.ratios: ", options.ratios, " is not in [1, ", kMostRatios, "]"));
  }
  return absl::OkStatus();
}

ProbePlan PlanProbes(const Environment& env, const AgentOptions& options) {
  const int64_t all = options.reward_images, more = options.overhead_images;
  // Of one probe if nothing is shared. Where the images are not known, every episode costs 1.
  const auto price = [&](int64_t images) {
    if (all == 0) return 1.0;
    return static_cast<double>(images + more) / static_cast<double>(all + more) / BudgetShare(env);
  };
  const double unshared = all == 0 ? 1 : kUnshared;
  const double affordable = kShareOfSearch * options.evaluations;

  int64_t ratios = options.probes.ratios;
  ProbePlan plan{.images = options.probes.images, .points = PointsOf(env.lattice(), ratios)};
  if (all > 0 && (plan.images == 0 || plan.images > all)) plan.images = all;
  const auto cost = [&](double share) {
    return static_cast<double>(plan.points.size()) * price(plan.images) * share;
  };
  if (all > 0 && cost(unshared) > affordable) {
    const auto images =
        static_cast<int64_t>(static_cast<double>(plan.images + more) * affordable / cost(unshared));
    plan.images = std::min(plan.images, std::max(kFewestImages, images - more));
  }
  while (cost(unshared) > affordable && ratios > kFewestRatios) {
    plan.points = PointsOf(env.lattice(), --ratios);
  }
  plan.expected_cost = cost(unshared);
  plan.highest_cost = cost(1);
  return plan;
}

ProbePhase::ProbePhase(const Environment& env, const AgentOptions& options)
    : plan_(PlanProbes(env, options)),
      highest_price_(plan_.highest_cost / static_cast<double>(plan_.points.size())) {
  for (size_t g = 0; g < env.lattice().num_groups(); ++g) {
    const absl::Span<const int64_t> choices = env.lattice().choices(g);
    choices_.emplace_back(choices.begin(), choices.end());
  }
}

Episode ProbePhase::Propose(const Environment& env, int64_t number) const {
  const ProbePoint& point = plan_.points[number];
  Episode episode = EpisodeOf(env, KeptOf(env, point), number);
  episode.kind = EpisodeKind::kProbe;
  episode.images = plan_.images;
  episode.note = point.group == ProbePoint::kWholeNetwork
                     ? "whole network"
                     : absl::StrCat(env.grouping().groups[point.group].name, " ", point.kept);
  return episode;
}

void ProbePhase::Remember(const Environment& env, const Episode& episode, double reward) {
  if (episode.kind != EpisodeKind::kProbe) return;
  const auto kept = KeptCounts(episode.policy, env.grouping());
  if (!kept.ok()) return;
  const auto same = [&](const ProbePoint& point) { return KeptOf(env, point) == *kept; };
  const auto point = std::find_if(plan_.points.begin(), plan_.points.end(), same);
  if (point == plan_.points.end()) return;
  const bool as_many = episode.images == plan_.images;
  const bool more = episode.images == 0 || (plan_.images > 0 && episode.images > plan_.images);
  if (!as_many && !more) return;
  remembered_.push_back({*point, episode.images, reward});
  if (as_many || point->group != ProbePoint::kWholeNetwork) plan_.points.erase(point);
}

bool ProbePhase::informed() const {
  const auto is_cut = [](const ProbePoint& point) {
    return point.group != ProbePoint::kWholeNetwork;
  };
  const auto of_earlier = [&](const Remembered& earlier) { return is_cut(earlier.point); };
  return std::any_of(plan_.points.begin(), plan_.points.begin() + measured(), is_cut) ||
         std::any_of(remembered_.begin(), remembered_.end(), of_earlier);
}

double ProbePhase::ReferenceOn(int64_t images) const {
  std::optional<double> whole, best;
  const auto look = [&](const ProbePoint& point, int64_t on, double reward) {
    if (point.group == ProbePoint::kWholeNetwork && (on == images || !whole.has_value())) {
      whole = reward;
    }
    best = std::max(best.value_or(reward), reward);
  };
  for (const Remembered& earlier : remembered_) look(earlier.point, earlier.images, earlier.reward);
  for (size_t i = 0; i < rewards_.size(); ++i) {
    if (rewards_[i].has_value()) look(plan_.points[i], plan_.images, *rewards_[i]);
  }
  return whole.value_or(best.value_or(0));
}

LossCurves ProbePhase::Curves(const Lattice& lattice) const {
  std::vector<LossPoint> points;
  const auto add = [&](const ProbePoint& point, double reference, std::optional<double> reward) {
    if (point.group == ProbePoint::kWholeNetwork) return;
    points.push_back({.group = point.group,
                      .kept = point.kept,
                      .loss = reference - reward.value_or(0),
                      .infeasible = !reward.has_value()});
  };
  for (const Remembered& earlier : remembered_) {
    add(earlier.point, ReferenceOn(earlier.images), earlier.reward);
  }
  for (size_t i = 0; i < rewards_.size(); ++i) add(plan_.points[i], Reference(), rewards_[i]);
  return LossCurves::Fit(lattice, points);
}

// Images i64; the points planned: count, of each group u32, kept i64; what was remembered: count,
// of each a point, images i64, reward f64; what was measured: count, of each whether it was
// feasible u8, reward f64.
void ProbePhase::Save(ByteWriter& writer) const {
  const auto save = [&](const ProbePoint& point) {
    writer.U32(static_cast<uint32_t>(point.group));
    writer.I64(point.kept);
  };
  writer.I64(plan_.images);
  writer.U64(plan_.points.size());
  for (const ProbePoint& point : plan_.points) save(point);
  writer.U64(remembered_.size());
  for (const Remembered& earlier : remembered_) {
    save(earlier.point);
    writer.I64(earlier.images);
    writer.Double(earlier.reward);
  }
  writer.U64(rewards_.size());
  for (const std::optional<double>& reward : rewards_) {
    writer.U8(reward.has_value());
    writer.Double(reward.value_or(0));
  }
}

absl::Status ProbePhase::Read(ByteReader& reader) {
  bool known = true;
  const auto read = [&] {
    ProbePoint point;
    point.group = static_cast<int32_t>(reader.U32());
    point.kept = reader.I64();
    known = known && (point == ProbePoint() ||
                      (point.group >= 0 && point.group < static_cast<int64_t>(choices_.size()) &&
                       std::binary_search(choices_[point.group].begin(),
                                          choices_[point.group].end(), point.kept)));
    return point;
  };
  const int64_t images = reader.I64();
  std::vector<ProbePoint> points(reader.Count(12));
  for (ProbePoint& point : points) point = read();
  std::vector<Remembered> remembered(reader.Count(28));
  for (Remembered& earlier : remembered) {
    earlier.point = read();
    earlier.images = reader.I64();
    earlier.reward = reader.Double();
  }
  std::vector<std::optional<double>> rewards(reader.Count(9));
  for (std::optional<double>& reward : rewards) {
    const bool feasible = reader.U8() != 0;
    const double value = reader.Double();
    if (feasible) reward = value;
  }
  if (reader.failed() || !known || images < 0 || rewards.size() > points.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("probes: ", rewards.size(), " of ", points.size(), " points were measured on ",
                     images, " images", known ? "" : ", and not all are on the lattice"));
  }
  plan_.images = images;
  plan_.points = std::move(points);
  remembered_ = std::move(remembered);
  rewards_ = std::move(rewards);
  return absl::OkStatus();
}

}  // namespace amc
