#include "server/worker/timing.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "env/graph/groups.h"
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
  const v1::TimingOrder& order = lease.timing();
  AMC_ASSIGN_OR_RETURN(const std::string bytes,
                       ModelBytes(lease.spec().model(), progress, cancelled));
  AMC_ASSIGN_OR_RETURN(const Graph graph, ImportOnnx(bytes));
  AMC_ASSIGN_OR_RETURN(const Grouping grouping, BuildGroups(graph));
  std::vector<std::vector<int64_t>> policies;
  std::vector<int64_t>& whole = policies.emplace_back();
  for (const PruneGroup& group : grouping.groups) whole.push_back(group.channels);
  for (const v1::Policy& policy : order.policies()) {
    AMC_ASSIGN_OR_RETURN(std::vector<int64_t> kept, KeptCounts(FromProto(policy), grouping));
    policies.push_back(std::move(kept));
  }
  AMC_ASSIGN_OR_RETURN(Runtime* const runtime, Open(order.setting(), lease.spec().model()));
  MeasureOptions options;
  options.sampler.tolerance = order.tolerance();
  AMC_ASSIGN_OR_RETURN(
      const std::vector<NetworkTime> times,
      TimePruned(*runtime, graph, grouping, policies, options, [&](size_t done, size_t total) {
        progress("measuring finalists", static_cast<int64_t>(done), static_cast<int64_t>(total));
      }));
  v1::TimingReport report;
  *report.mutable_original() = ToProto(times[0]);
  for (size_t i = 1; i < times.size(); ++i) *report.add_policies() = ToProto(times[i]);
  return report;
}

absl::StatusOr<Runtime*> TimingExecutor::Open(const v1::LatencySetting& setting,
                                              const std::string& model) {
  std::string key = absl::StrCat(setting.SerializeAsString(), model);
  if (runtime_ != nullptr && key == key_) return runtime_.get();
  runtime_ = nullptr;
  AMC_ASSIGN_OR_RETURN(runtime_, CreateRuntime(setting.runtime(), {.threads = setting.threads(),
                                                                   .batch = setting.batch()}));
  key_ = std::move(key);
  const LatencySetting& here = runtime_->setting();
  if ((!setting.device().empty() && here.device != setting.device()) ||
      (!setting.version().empty() && here.version != setting.version())) {
    const std::string found = ToString(here);
    runtime_ = nullptr;
    return absl::FailedPreconditionError(absl::StrCat("this worker measures with ", found,
                                                      ", not with ", ToString(FromProto(setting))));
  }
  return runtime_.get();
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
