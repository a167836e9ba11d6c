#include "server/worker/timing.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "env/cost/latency_layers.h"
#include "env/exec/exec_options.h"
#include "env/graph/onnx_import.h"
#include "env/latency_calibration.h"
#include "server/convert.h"
#include "server/rpc/latency_convert.h"

namespace amc {
namespace {

constexpr absl::Duration kProbe = absl::Seconds(10);  // for a helper to say its version

v1::NetworkTiming ToProto(const NetworkTime& time) {
  v1::NetworkTiming timing;
  timing.set_median_us(time.median_us);
  timing.set_spread_us(time.spread_us);
  timing.set_repeatability(time.repeatability);
  timing.set_stable(time.stable);
  return timing;
}

// The points of an order, with the first layer of their kind.
absl::StatusOr<std::vector<TablePoint>> PointsOf(const v1::LayerPoints& order, const Graph& graph,
                                                 const Grouping& grouping) {
  if (order.in_size() != order.out_size()) {
    return absl::InvalidArgumentError(absl::StrCat("timing.layers: ", order.in_size(),
                                                   " times in, ", order.out_size(), " times out"));
  }
  AMC_ASSIGN_OR_RETURN(const LatencyLayers layers, ListLatencyLayers(graph, grouping));
  const auto layer =
      std::find_if(layers.layers.begin(), layers.layers.end(),
                   [&](const LatencyLayer& each) { return each.kind == order.layer(); });
  if (layer == layers.layers.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("timing.layers: the network has no layer \"", order.layer(), "\""));
  }
  std::vector<TablePoint> points;
  points.reserve(static_cast<size_t>(order.in_size()));
  for (int i = 0; i < order.in_size(); ++i) points.push_back({*layer, order.in(i), order.out(i)});
  return points;
}

}  // namespace

std::vector<std::string> TimingExecutor::HelperRuntimes() {
  std::vector<std::string> runtimes;
  for (const std::string& name : RuntimeNames()) {
    if (name == "libtorch") continue;
    const auto runtime = CreateRuntime(name, {.timeout = kProbe});
    if (runtime.ok()) runtimes.push_back(absl::StrCat(name, " ", (*runtime)->setting().version));
  }
  return runtimes;
}

absl::StatusOr<v1::TimingReport> TimingExecutor::Time(const v1::Lease& lease,
                                                      const Progress& progress,
                                                      const std::function<bool()>& cancelled) {
  AMC_ASSIGN_OR_RETURN(const Subject subject, Open(lease, progress, cancelled));
  std::vector<std::vector<int64_t>> policies;
  std::vector<int64_t>& whole = policies.emplace_back();
  for (const PruneGroup& group : subject.grouping.groups) whole.push_back(group.channels);
  for (const v1::Policy& policy : lease.timing().policies()) {
    AMC_ASSIGN_OR_RETURN(std::vector<int64_t> kept,
                         KeptCounts(FromProto(policy), subject.grouping));
    policies.push_back(std::move(kept));
  }
  const char* const what =
      lease.spec().has_build() ? "measuring whole networks" : "measuring finalists";
  const absl::StatusOr<std::vector<NetworkTime>> times =
      TimePruned(*subject.runtime, subject.graph, subject.grouping, policies, subject.options,
                 [&](size_t done, size_t total) {
                   progress(what, static_cast<int64_t>(done), static_cast<int64_t>(total));
                 });
  if (!times.ok()) return DropRuntime(times.status());
  v1::TimingReport report;
  *report.mutable_original() = ToProto(times->front());
  for (size_t i = 1; i < times->size(); ++i) *report.add_policies() = ToProto((*times)[i]);
  return report;
}

absl::StatusOr<v1::LayerReport> TimingExecutor::MeasureLayers(
    const v1::Lease& lease, const Progress& progress, const std::function<bool()>& cancelled) {
  const v1::LayerPoints& order = lease.timing().layers();
  AMC_ASSIGN_OR_RETURN(const Subject subject, Open(lease, progress, cancelled));
  AMC_ASSIGN_OR_RETURN(const std::vector<TablePoint> points,
                       PointsOf(order, subject.graph, subject.grouping));
  const absl::StatusOr<MeasuredRows> measured = MeasurePoints(
      *subject.runtime, subject.graph, points, subject.options, [&](size_t done, size_t) {
        progress("measuring layers", order.first() + static_cast<int64_t>(done), order.total());
      });
  if (!measured.ok()) return DropRuntime(measured.status());
  v1::LayerReport report;
  *report.mutable_setting() = amc::ToProto(subject.runtime->setting());
  for (const LatencyRow& row : measured->rows) *report.add_rows() = amc::ToProto(row);
  report.set_unstable(measured->unstable);
  report.set_reference_us(subject.runtime->reference().us);
  return report;
}

absl::StatusOr<TimingExecutor::Subject> TimingExecutor::Open(
    const v1::Lease& lease, const Progress& progress, const std::function<bool()>& cancelled) {
  const v1::TimingOrder& order = lease.timing();
  Subject subject;
  AMC_ASSIGN_OR_RETURN(const std::string bytes,
                       ModelBytes(lease.spec().model(), progress, cancelled));
  AMC_ASSIGN_OR_RETURN(subject.graph, ImportOnnx(bytes));
  AMC_ASSIGN_OR_RETURN(subject.grouping, BuildGroups(subject.graph));
  AMC_ASSIGN_OR_RETURN(subject.runtime, OpenRuntime(order.setting(), lease.spec().model()));
  // 0: this measurement makes the scale, whatever was measured before it.
  subject.runtime->reference().us = order.reference_us();
  subject.options.sampler.tolerance = order.tolerance();
  subject.options.sampler.seed = order.seed();
  return subject;
}

absl::StatusOr<Runtime*> TimingExecutor::OpenRuntime(const v1::LatencySetting& setting,
                                                     const std::string& model) {
  // Device and version are this machine's, or not to be had.
  std::string key = absl::StrJoin(
      std::make_tuple(setting.runtime(), setting.threads(), setting.batch(), model), " ");
  if (runtime_ == nullptr || key != key_) {
    runtime_ = nullptr;
    auto made =
        CreateRuntime(setting.runtime(), {.threads = setting.threads(), .batch = setting.batch()});
    // That it was here when the worker registered makes it this worker's own trouble.
    if (absl::IsFailedPrecondition(made.status())) {
      return absl::UnavailableError(made.status().message());
    }
    AMC_ASSIGN_OR_RETURN(runtime_, std::move(made));
    key_ = std::move(key);
  } else if (setting.runtime() == "libtorch") {
    TuneProcess(static_cast<int>(setting.threads()));  // evaluations may have changed it
  }
  const LatencySetting& here = runtime_->setting();
  if ((!setting.device().empty() && here.device != setting.device()) ||
      (!setting.version().empty() && here.version != setting.version())) {
    return absl::UnavailableError(absl::StrCat("this worker measures with ", ToString(here),
                                               ", not with ", ToString(FromProto(setting))));
  }
  return runtime_.get();
}

absl::Status TimingExecutor::DropRuntime(const absl::Status& why) {
  runtime_ = nullptr;
  return why;
}

absl::StatusOr<std::string> TimingExecutor::ModelBytes(const std::string& digest,
                                                       const Progress& progress,
                                                       const std::function<bool()>& cancelled) {
  AMC_ASSIGN_OR_RETURN(
      const std::string path,
      cache_->Path(
          digest, [&](int64_t done, int64_t total) { progress("downloading", done, total); },
          cancelled));
  return ReadFile(path);
}

}  // namespace amc
