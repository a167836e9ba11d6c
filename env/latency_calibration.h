// Teaches a latency table what its layers do not know: how whole networks differ from the sum of
// their layers. Prunes the network in ways spread over its range of latencies, times those networks
// against one another, fits (env/measure/fit.h) to some of them and judges the fit by the others.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/cost/latency_model.h"
#include "env/cost/latency_table.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"
#include "env/measure/build_table.h"
#include "env/measure/fit.h"
#include "env/measure/measure_networks.h"
#include "env/measure/runtime.h"

namespace amc {

struct CalibrationOptions {
  int64_t fitted = 12;  // networks that the fit sees, the original among them; at least 3
  int64_t unseen = 8;   // and others that it is judged by
  double least = 0.3;   // of the original's latency: how far they reach
  uint64_t seed = 0;
  int64_t channel_multiple = 1;  // groups keep multiples of it, or all
  MeasureOptions measure = {};
};

// Kept counts, one per group, of `count` pruned versions: every group by a random share of its own,
// all scaled so that the predictions are spread evenly over [options.least, 1) of the original's.
// Where the network cannot become so fast, as fast as it can.
std::vector<std::vector<int64_t>> SpreadPolicies(const Grouping& grouping,
                                                 const LatencyModel& model, int64_t count,
                                                 const CalibrationOptions& options, uint64_t seed);

// Prunes, loads and times, in the order of `policies`. The kept channels are the first ones: which
// they are makes no difference to time. Errors as MeasureNetworks.
absl::StatusOr<std::vector<NetworkTime>> TimePruned(
    Runtime& runtime, const Graph& graph, const Grouping& grouping,
    const std::vector<std::vector<int64_t>>& policies, const MeasureOptions& options,
    const std::function<void(size_t done, size_t total)>& progress);

// A policy with what the table says of it and what was measured.
struct TimedPolicy {
  std::vector<int64_t> kept;
  double layers_us = 0, other_bytes = 0;
  double measured_us = 0;
  double repeatability = 0;
};

// TimePruned beside what `model` says.
absl::StatusOr<std::vector<TimedPolicy>> TimePolicies(
    Runtime& runtime, const Graph& graph, const Grouping& grouping, const LatencyModel& model,
    const std::vector<std::vector<int64_t>>& policies, const MeasureOptions& options,
    const std::function<void(size_t done, size_t total)>& progress);

// The networks that a fit is made of, and what `table` says of them.
struct CalibrationPlan {
  std::string model;  // sha256 of the network's file
  std::vector<std::vector<int64_t>>
      policies;                     // kept counts, one per group; the original among them
  size_t fitted = 0;                // the first so many; the others judge
  std::vector<FitPoint> predicted;  // of each; not measured yet
};
// `table` must know all layers of `graph`, which may be weightless. InvalidArgument for options out
// of range; errors as LatencyModel::Create.
absl::StatusOr<CalibrationPlan> PlanCalibration(const Graph& graph, const Grouping& grouping,
                                                const LatencyTable& table, const std::string& model,
                                                const CalibrationOptions& options);
// The fit, with its errors on unseen networks. `times` are those of the plan's policies. Errors as
// FitLatency.
absl::StatusOr<LatencyFit> FitCalibration(const CalibrationPlan& plan,
                                          absl::Span<const NetworkTime> times);

// Plans, measures and fits. `graph` has weights; errors as PlanCalibration, MeasureNetworks and
// FitLatency.
absl::StatusOr<LatencyFit> CalibrateLatency(
    Runtime& runtime, const Graph& graph, const Grouping& grouping, const LatencyTable& table,
    const std::string& model, const CalibrationOptions& options,
    const std::function<void(size_t done, size_t total)>& progress);

}  // namespace amc
