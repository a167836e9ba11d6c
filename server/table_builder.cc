#include "server/table_builder.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "base/status_macros.h"
#include "env/cost/latency_model.h"
#include "env/cost/policy.h"
#include "env/latency_calibration.h"
#include "server/convert.h"
#include "server/rpc/latency_convert.h"

namespace amc {
namespace {

// A task of at most about so many points can be given up for another job, or lost with its worker,
// without much harm: a point takes up to a second.
constexpr size_t kPointsPerTask = 64;

class Builder {
 public:
  Builder(const v1::JobSpec& spec, const TablePlan& plan, const RunTaskFn& run_task, absl::Time now)
      : spec_(spec), plan_(plan), run_task_(run_task) {
    built_.table = plan.base;
    more_ = {.setting = plan.base.setting,
             .date = absl::FormatTime("%Y-%m-%d", now, absl::UTCTimeZone()),
             .tolerance = spec.build().tolerance()};
  }

  absl::Status MeasureLayers() {
    int64_t part = 0;
    for (const absl::Span<const TablePoint> points : SplitPlan(plan_.points, kPointsPerTask)) {
      AMC_RETURN_IF_ERROR(Measure(points, part++));
    }
    built_.measured = static_cast<int64_t>(plan_.points.size());
    return Extend();
  }

  absl::Status FitWholeNetworks() {
    const v1::LatencyBuild& build = spec_.build();
    const CalibrationOptions options{.fitted = build.networks(),
                                     .unseen = build.unseen(),
                                     .seed = build.seed(),
                                     .channel_multiple = build.channel_multiple()};
    AMC_ASSIGN_OR_RETURN(
        const CalibrationPlan networks,
        PlanCalibration(*plan_.graph, plan_.grouping, built_.table, spec_.model(), options));
    TaskRecord task = Task(v1::TASK_KIND_TIME, 0);
    for (const std::vector<int64_t>& kept : networks.policies) {
      *task.timing.add_policies() = ToProto(MakePolicy(plan_.grouping, kept));
    }
    AMC_ASSIGN_OR_RETURN(task, run_task_(task));
    if (!task.result->infeasible().empty()) {
      return absl::FailedPreconditionError(task.result->infeasible());
    }
    std::vector<NetworkTime> times;
    for (const v1::NetworkTiming& timing : task.result->timing().policies()) {
      times.push_back({.median_us = timing.median_us(),
                       .spread_us = timing.spread_us(),
                       .repeatability = timing.repeatability(),
                       .stable = timing.stable()});
    }
    AMC_ASSIGN_OR_RETURN(const LatencyFit fit, FitCalibration(networks, times));
    more_.fits = {fit};
    return Extend();
  }

  BuiltTable& built() { return built_; }

 private:
  TaskRecord Task(v1::TaskKind kind, int64_t number) const {
    TaskRecord task;
    task.kind = kind;
    task.episode = number;
    *task.timing.mutable_setting() = ToProto(more_.setting);
    task.timing.set_tolerance(spec_.build().tolerance());
    task.timing.set_seed(spec_.build().seed());
    task.timing.set_reference_us(reference_us_);
    return task;
  }

  absl::Status Measure(absl::Span<const TablePoint> points, int64_t part) {
    TaskRecord task = Task(v1::TASK_KIND_MEASURE_LAYERS, part);
    v1::LayerPoints& order = *task.timing.mutable_layers();
    order.set_layer(points.front().layer.kind);
    for (const TablePoint& point : points) {
      order.add_in(point.in);
      order.add_out(point.out);
    }
    order.set_first(points.data() - plan_.points.data());
    order.set_total(static_cast<int64_t>(plan_.points.size()));
    AMC_ASSIGN_OR_RETURN(task, run_task_(task));
    const v1::LayerReport& report = task.result->layers();
    more_.setting = FromProto(report.setting());
    if (reference_us_ == 0) reference_us_ = report.reference_us();
    built_.unstable += report.unstable();
    for (const v1::LatencyRow& row : report.rows()) more_.rows.push_back(FromProto(row));
    return absl::OkStatus();
  }

  // Adds what is new to the table.
  absl::Status Extend() {
    built_.table.setting = more_.setting;  // it was open, or is the same
    AMC_ASSIGN_OR_RETURN(built_.table, ExtendLatencyTable(built_.table, more_));
    more_.rows.clear();
    return absl::OkStatus();
  }

  const v1::JobSpec& spec_;
  const TablePlan& plan_;
  const RunTaskFn& run_task_;
  BuiltTable built_;
  LatencyTable more_;        // its setting: as far as it is decided
  double reference_us_ = 0;  // of the first measurement
};

}  // namespace

absl::StatusOr<BuiltTable> BuildTable(const v1::JobSpec& spec, const TablePlan& plan,
                                      const RunTaskFn& run_task, absl::Time now) {
  Builder builder(spec, plan, run_task, now);
  AMC_RETURN_IF_ERROR(builder.MeasureLayers());
  AMC_RETURN_IF_ERROR(builder.FitWholeNetworks());
  return std::move(builder.built());
}

}  // namespace amc
