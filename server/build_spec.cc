#include "server/build_spec.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "env/cost/latency_table.h"
#include "env/latency_calibration.h"
#include "env/measure/build_table.h"
#include "env/measure/runtime.h"
#include "env/measure/sampler.h"
#include "server/job_spec.h"
#include "server/spec_checker.h"

namespace amc {
namespace {

constexpr size_t kLeastDigits = 6, kAllDigits = 64;
constexpr size_t kMaxDevice = 1024;  // characters

void Unset(absl::string_view field, bool is_set, SpecChecker& check) {
  if (!is_set) return;
  check.Fail(field, "is set beside spec.build: a job either searches or measures a table");
}

void CheckUnset(const v1::JobSpec& spec, SpecChecker& check) {
  Unset("data", !spec.data().empty(), check);
  Unset("budget", spec.has_budget(), check);
  Unset("search", spec.has_search(), check);
  Unset("space", spec.has_space(), check);
  Unset("evaluation", spec.has_evaluation(), check);
  Unset("latency", spec.has_latency(), check);
  Unset("allow_weak_baseline", spec.has_allow_weak_baseline(), check);
  Unset("reuse", spec.has_reuse(), check);
  Unset("max_workers", spec.has_max_workers(), check);
  Unset("requirements", spec.has_requirements(), check);
}

// Of one processor, as /proc/cpuinfo could name it.
bool IsDevice(const std::string& device) {
  return device.size() <= kMaxDevice && device == absl::StripAsciiWhitespace(device) &&
         std::none_of(device.begin(), device.end(), [](char c) { return absl::ascii_iscntrl(c); });
}

bool IsDigestOrPrefix(const std::string& digest) {
  return digest.size() >= kLeastDigits && digest.size() <= kAllDigits &&
         std::all_of(digest.begin(), digest.end(),
                     [](char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); });
}

void ResolveBuild(v1::LatencyBuild& build, SpecChecker& check) {
  const RuntimeOptions runtime;
  const CalibrationOptions calibration;
  if (build.runtime().empty()) build.set_runtime("libtorch");
  if (!build.has_threads()) build.set_threads(runtime.threads);
  if (!build.has_batch()) build.set_batch(runtime.batch);
  if (!build.has_tolerance()) build.set_tolerance(SamplerOptions().tolerance);
  if (!build.has_points()) build.set_points(kMaxGridPoints);
  if (!build.has_networks()) build.set_networks(calibration.fitted);
  if (!build.has_unseen()) build.set_unseen(calibration.unseen);
  if (!build.has_channel_multiple()) build.set_channel_multiple(kLatencyChannelMultiple);
  if (!build.has_seed()) build.set_seed(calibration.seed);
  const std::vector<std::string> runtimes = RuntimeNames();
  if (std::find(runtimes.begin(), runtimes.end(), build.runtime()) == runtimes.end()) {
    check.Fail("build.runtime", absl::StrCat("\"", build.runtime(), "\" is none of ",
                                             absl::StrJoin(runtimes, ", ")));
  }
  check.InRange<int64_t>("build.threads", build.threads(), 1, 1024);
  check.InRange<int64_t>("build.batch", build.batch(), 1, 65536);
  check.InRange("build.tolerance", build.tolerance(), 0.001, 0.5);
  check.InRange<int64_t>("build.points", build.points(), 2, 64);
  check.InRange<int64_t>("build.networks", build.networks(), 3, 1000);
  check.InRange<int64_t>("build.unseen", build.unseen(), 1, 1000);
  check.InRange<int64_t>("build.channel_multiple", build.channel_multiple(), 1, 1024);
  if (!IsDevice(build.device())) {
    check.Fail("build.device", absl::StrCat("\"", absl::CHexEscape(build.device().substr(0, 100)),
                                            "\" is no processor's name"));
  }
  if (!build.extend().empty() && !IsDigestOrPrefix(build.extend())) {
    check.Fail("build.extend", absl::StrCat("\"", absl::CHexEscape(build.extend().substr(0, 100)),
                                            "\" is not a table's digest or its first digits, ",
                                            kLeastDigits, " at least"));
  }
}

}  // namespace

absl::StatusOr<v1::JobSpec> ResolveTableJob(const v1::JobSpec& spec) {
  v1::JobSpec resolved = spec;
  SpecChecker check("spec.");
  check.AtMostLong("name", spec.name(), kMaxJobName);
  check.IsDigest("model", spec.model(), "an ONNX artifact");
  CheckUnset(spec, check);
  ResolveBuild(*resolved.mutable_build(), check);
  if (!spec.has_max_attempts()) resolved.set_max_attempts(3);
  if (!spec.has_priority()) resolved.set_priority(0);
  check.InRange<int64_t>("max_attempts", resolved.max_attempts(), 1, 1000);
  check.InRange<int64_t>("priority", resolved.priority(), -100, 100);
  AMC_RETURN_IF_ERROR(check.status());
  return resolved;
}

}  // namespace amc
