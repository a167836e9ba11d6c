#include "env/latency_calibration.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "env/measure/sampler.h"
#include "env/prune/surgery.h"

namespace amc {
namespace {

constexpr double kLeastShare = 0.3;  // of a group's own share
constexpr int kHalvings = 40;

// What the groups keep when every share is multiplied by `factor`.
std::vector<int64_t> Scaled(const Grouping& grouping, const std::vector<double>& shares,
                            double factor, int64_t multiple) {
  std::vector<int64_t> kept;
  for (size_t g = 0; g < shares.size(); ++g) {
    const PruneGroup& group = grouping.groups[g];
    const double share = std::min(1.0, factor * shares[g]);
    const int64_t unit = std::lcm(group.cells, multiple);
    const auto units = static_cast<int64_t>(
        std::llround(share * static_cast<double>(group.channels) / static_cast<double>(unit)));
    kept.push_back(std::min(group.channels, unit * std::max<int64_t>(1, units)));
  }
  return kept;
}

}  // namespace

std::vector<std::vector<int64_t>> SpreadPolicies(const Grouping& grouping,
                                                 const LatencyModel& model, int64_t count,
                                                 const CalibrationOptions& options, uint64_t seed) {
  std::vector<int64_t> whole;
  for (const PruneGroup& group : grouping.groups) whole.push_back(group.channels);
  const auto original = static_cast<double>(model.Evaluate(whole));
  std::vector<std::vector<int64_t>> policies;
  for (int64_t i = 0; i < count; ++i) {
    Rng rng(seed, static_cast<uint64_t>(i));
    std::vector<double> shares;
    for (size_t g = 0; g < whole.size(); ++g) shares.push_back(rng.Uniform(kLeastShare, 1));
    const double place = (static_cast<double>(i) + rng.Uniform()) / static_cast<double>(count);
    const double target = (options.least + (1 - options.least) * place) * original;
    double low = 0, high = 1 / kLeastShare;  // from here on everything is whole
    for (int halving = 0; halving < kHalvings; ++halving) {
      const double middle = (low + high) / 2;
      const auto predicted = static_cast<double>(
          model.Evaluate(Scaled(grouping, shares, middle, options.channel_multiple)));
      (predicted <= target ? low : high) = middle;
    }
    policies.push_back(Scaled(grouping, shares, low, options.channel_multiple));
  }
  return policies;
}

absl::StatusOr<std::vector<NetworkTime>> TimePruned(
    Runtime& runtime, const Graph& graph, const Grouping& grouping,
    const std::vector<std::vector<int64_t>>& policies, const MeasureOptions& options,
    const std::function<void(size_t done, size_t total)>& progress) {
  std::vector<Graph> networks;
  for (const std::vector<int64_t>& kept : policies) {
    AMC_ASSIGN_OR_RETURN(networks.emplace_back(),
                         Shrink(graph, grouping, KeepFirst(grouping, kept)));
  }
  return MeasureNetworks(runtime, networks, options, progress);
}

absl::StatusOr<std::vector<TimedPolicy>> TimePolicies(
    Runtime& runtime, const Graph& graph, const Grouping& grouping, const LatencyModel& model,
    const std::vector<std::vector<int64_t>>& policies, const MeasureOptions& options,
    const std::function<void(size_t done, size_t total)>& progress) {
  AMC_ASSIGN_OR_RETURN(const std::vector<NetworkTime> times,
                       TimePruned(runtime, graph, grouping, policies, options, progress));
  std::vector<TimedPolicy> timed;
  for (size_t i = 0; i < policies.size(); ++i) {
    timed.push_back({.kept = policies[i],
                     .layers_us = model.SumOfLayersUs(policies[i]),
                     .other_bytes = static_cast<double>(model.OtherBytes(policies[i])),
                     .measured_us = times[i].median_us,
                     .repeatability = times[i].repeatability});
  }
  return timed;
}

absl::StatusOr<CalibrationPlan> PlanCalibration(const Graph& graph, const Grouping& grouping,
                                                const LatencyTable& table, const std::string& model,
                                                const CalibrationOptions& options) {
  if (options.fitted < 3 || options.unseen < 1 || options.channel_multiple < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("calibration with ", options.fitted, " networks to fit to and ",
                     options.unseen, " to judge by, channels in multiples of ",
                     options.channel_multiple, "; want at least 3, 1 and 1"));
  }
  // Policies are spread by what the layers alone say: an old fit must not matter.
  LatencyTable bare = table;
  bare.fits.clear();
  AMC_ASSIGN_OR_RETURN(const LatencyModel layers,
                       LatencyModel::Create(graph, grouping, bare, model));
  CalibrationPlan plan{
      .model = model,
      .policies = SpreadPolicies(grouping, layers, options.fitted - 1, options, options.seed),
      .fitted = static_cast<size_t>(options.fitted),
      .predicted = {}};
  std::vector<int64_t>& whole = plan.policies.emplace_back();
  for (const PruneGroup& group : grouping.groups) whole.push_back(group.channels);
  for (std::vector<int64_t>& kept :
       SpreadPolicies(grouping, layers, options.unseen, options, options.seed + 1)) {
    plan.policies.push_back(std::move(kept));
  }
  for (const std::vector<int64_t>& kept : plan.policies) {
    plan.predicted.push_back({.layers_us = layers.SumOfLayersUs(kept),
                              .other_bytes = static_cast<double>(layers.OtherBytes(kept)),
                              .channels = static_cast<double>(layers.ChannelsMade(kept))});
  }
  return plan;
}

absl::StatusOr<LatencyFit> FitCalibration(const CalibrationPlan& plan,
                                          absl::Span<const NetworkTime> times) {
  AMC_CHECK(times.size() == plan.policies.size());
  std::vector<FitPoint> seen, unseen;
  std::vector<double> repeatability;
  for (size_t i = 0; i < times.size(); ++i) {
    FitPoint& point = (i < plan.fitted ? seen : unseen).emplace_back(plan.predicted[i]);
    point.measured_us = times[i].median_us;
    repeatability.push_back(times[i].repeatability);
  }
  AMC_ASSIGN_OR_RETURN(LatencyFit fit, FitLatency(seen));
  SetErrors(fit, unseen);
  fit.model = plan.model;
  fit.repeatability = Median(repeatability);
  return fit;
}

absl::StatusOr<LatencyFit> CalibrateLatency(
    Runtime& runtime, const Graph& graph, const Grouping& grouping, const LatencyTable& table,
    const std::string& model, const CalibrationOptions& options,
    const std::function<void(size_t done, size_t total)>& progress) {
  AMC_ASSIGN_OR_RETURN(const CalibrationPlan plan,
                       PlanCalibration(graph, grouping, table, model, options));
  AMC_ASSIGN_OR_RETURN(
      const std::vector<NetworkTime> times,
      TimePruned(runtime, graph, grouping, plan.policies, options.measure, progress));
  return FitCalibration(plan, times);
}

}  // namespace amc
