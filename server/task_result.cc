#include "server/task_result.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "env/cost/latency_table.h"
#include "server/rpc/latency_convert.h"

namespace amc {
namespace {

bool IsTime(double us) { return us > 0 && std::isfinite(us); }

absl::Status CheckTiming(const v1::TimingOrder& order, const v1::TimingReport& report) {
  if (report.policies_size() != order.policies_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("result.timing.policies: ", report.policies_size(), " for the ",
                     order.policies_size(), " of the task"));
  }
  const auto good = [](const v1::NetworkTiming& timing) { return IsTime(timing.median_us()); };
  if (!good(report.original()) ||
      !std::all_of(report.policies().begin(), report.policies().end(), good)) {
    return absl::InvalidArgumentError(
        "result.timing: a median_us is not a positive number of microseconds");
  }
  return absl::OkStatus();
}

// An order may leave device and version open; a report names them.
absl::Status CheckSetting(const v1::LatencySetting& order, const v1::LatencySetting& report) {
  LatencySetting wanted = FromProto(order);
  const LatencySetting got = FromProto(report);
  if (wanted.device.empty()) wanted.device = got.device;
  if (wanted.version.empty()) wanted.version = got.version;
  if (got == wanted && !got.device.empty() && !got.version.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("result.layers.setting: ", ToString(got),
                                                 ", but the task's is ",
                                                 ToString(FromProto(order))));
}

absl::Status CheckLayers(const v1::TimingOrder& order, const v1::LayerReport& report) {
  AMC_RETURN_IF_ERROR(CheckSetting(order.setting(), report.setting()));
  const v1::LayerPoints& points = order.layers();
  if (report.rows_size() != points.in_size()) {
    return absl::InvalidArgumentError(absl::StrCat("result.layers.rows: ", report.rows_size(),
                                                   " for the ", points.in_size(),
                                                   " points of the task"));
  }
  for (int i = 0; i < report.rows_size(); ++i) {
    const v1::LatencyRow& row = report.rows(i);
    const bool same =
        row.layer() == points.layer() && row.in() == points.in(i) && row.out() == points.out(i);
    if (same && IsTime(row.median_us()) && row.spread_us() >= 0 && std::isfinite(row.spread_us())) {
      continue;
    }
    return absl::InvalidArgumentError(
        absl::StrCat("result.layers.rows[", i, "]: ", row.layer(), " ", row.in(), " ", row.out(),
                     ": ", row.median_us(), " us, spread ", row.spread_us(), ", is no time of ",
                     points.layer(), " ", points.in(i), " ", points.out(i)));
  }
  if (!IsTime(report.reference_us())) {
    return absl::InvalidArgumentError(
        absl::StrCat("result.layers.reference_us: ", report.reference_us(),
                     " is not a positive number of microseconds"));
  }
  return absl::OkStatus();
}

absl::Status Missing(const TaskRecord& task, absl::string_view field) {
  return absl::InvalidArgumentError(absl::StrCat("result.", field, ": missing for a task of kind ",
                                                 v1::TaskKind_Name(task.kind)));
}

}  // namespace

absl::Status CheckResult(const TaskRecord& task, const v1::TaskResult& result) {
  if (!result.infeasible().empty()) {
    if (task.kind == v1::TASK_KIND_EVALUATE && !result.has_measurement()) return absl::OkStatus();
    if (task.kind == v1::TASK_KIND_TIME && !result.has_timing()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("result.infeasible: set for a task of kind ", v1::TaskKind_Name(task.kind),
                     result.has_measurement() ? ", together with a measurement" : ""));
  }
  switch (task.kind) {
    case v1::TASK_KIND_FINISH:
      return result.has_result() ? absl::OkStatus() : Missing(task, "result");
    case v1::TASK_KIND_TIME:
      return result.has_timing() ? CheckTiming(task.timing, result.timing())
                                 : Missing(task, "timing");
    case v1::TASK_KIND_MEASURE_LAYERS:
      return result.has_layers() ? CheckLayers(task.timing, result.layers())
                                 : Missing(task, "layers");
    default:
      return result.has_measurement() ? absl::OkStatus() : Missing(task, "measurement");
  }
}

}  // namespace amc
