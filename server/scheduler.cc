#include "server/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/job_settings.h"
#include "server/rpc/latency_convert.h"

namespace amc {
namespace {

bool HasDevice(const JobView& job, const WorkerView& worker) {
  const auto& devices = worker.capabilities.devices();
  return std::find(devices.begin(), devices.end(), job.evaluation.device()) != devices.end();
}

bool HasThreads(const JobView& job, const WorkerView& worker) {
  return worker.capabilities.threads() >= job.evaluation.threads();
}

bool HasMemory(const JobView& job, const WorkerView& worker) {
  return worker.capabilities.memory_bytes() >= job.requirements.memory_bytes();
}

// "libtorch" asks for any version of it.
bool OffersRuntime(const v1::WorkerCapabilities& worker, const std::string& wanted) {
  return std::any_of(worker.runtimes().begin(), worker.runtimes().end(),
                     [&wanted](const std::string& runtime) {
                       return runtime == wanted || absl::StartsWith(runtime, wanted + " ");
                     });
}

bool HasRuntime(const JobView& job, const WorkerView& worker) {
  const std::string& wanted = job.requirements.runtime();
  return wanted.empty() || OffersRuntime(worker.capabilities, wanted);
}

std::string NumericsOn(const WorkerView& worker, const JobView& job) {
  return JobNumericsId(worker.capabilities.platform_id(), worker.capabilities.gpu_id(),
                       job.evaluation);
}

bool ComesBefore(const JobView& a, const JobView& b) {
  return a.priority != b.priority ? a.priority > b.priority : a.last_grant < b.last_grant;
}

bool HasNumerics(const JobView& job, const WorkerView& worker) {
  return job.numerics_id.empty() || job.numerics_id == NumericsOn(worker, job);
}

bool Fits(const JobView& job, const JobView::PendingTask& task, const WorkerView& worker) {
  return task.timing == nullptr ? Matches(job, worker)
                                : Measures(worker.capabilities, *task.timing);
}

}  // namespace

bool Matches(const JobView& job, const WorkerView& worker) {
  return HasDevice(job, worker) && HasThreads(job, worker) && HasMemory(job, worker) &&
         HasRuntime(job, worker) && HasNumerics(job, worker);
}

bool Measures(const v1::WorkerCapabilities& worker, const v1::LatencySetting& setting) {
  const std::string runtime = setting.version().empty()
                                  ? setting.runtime()
                                  : absl::StrCat(setting.runtime(), " ", setting.version());
  return (setting.device().empty() || setting.device() == worker.processor()) &&
         OffersRuntime(worker, runtime) && worker.threads() >= setting.threads();
}

std::string WhyNoWorkerFits(const JobView& job, absl::Span<const WorkerView> workers) {
  if (workers.empty()) return "no worker is connected";
  const auto fits_one = [&](const JobView::PendingTask& task) {
    return std::any_of(workers.begin(), workers.end(),
                       [&](const WorkerView& worker) { return Fits(job, task, worker); });
  };
  if (std::any_of(job.pending.begin(), job.pending.end(), fits_one)) return "";
  const auto times = [](const JobView::PendingTask& task) { return task.timing != nullptr; };
  if (const auto timing = std::find_if(job.pending.begin(), job.pending.end(), times);
      timing != job.pending.end()) {
    return absl::StrCat("none of those connected measures with ",
                        ToString(FromProto(*timing->timing)));
  }
  std::vector<const WorkerView*> left;
  for (const WorkerView& worker : workers) left.push_back(&worker);
  const auto keep = [&](bool (*has)(const JobView&, const WorkerView&)) {
    std::erase_if(left, [&](const WorkerView* worker) { return !has(job, *worker); });
    return !left.empty();
  };
  std::string missing;
  if (!keep(HasDevice)) {
    missing = absl::StrCat("device ", job.evaluation.device() == v1::DEVICE_CUDA ? "cuda" : "cpu");
  } else if (!keep(HasThreads)) {
    missing = absl::StrCat(job.evaluation.threads(), " threads");
  } else if (!keep(HasMemory)) {
    missing = absl::StrCat(job.requirements.memory_bytes(), " bytes of memory");
  } else if (!keep(HasRuntime)) {
    missing = absl::StrCat("runtime ", job.requirements.runtime());
  } else if (!keep(HasNumerics)) {
    missing = absl::StrCat("the numerics of the job's first measurements (", job.numerics_id, ")");
  } else {
    return "";
  }
  return workers.size() == 1
             ? absl::StrCat("1 worker is connected, without ", missing)
             : absl::StrCat(workers.size(), " workers are connected, none with ", missing);
}

std::optional<Assignment> PickTask(absl::Span<const JobView> jobs, const WorkerView& worker,
                                   int64_t now_ms) {
  std::optional<Assignment> best;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const JobView& job = jobs[i];
    if (best.has_value() && !ComesBefore(job, jobs[best->job])) continue;
    if (job.max_leased > 0 && job.leased >= job.max_leased) continue;
    const bool matches = Matches(job, worker);
    const auto due = std::find_if(job.pending.begin(), job.pending.end(), [&](const auto& pending) {
      return pending.not_before_ms <= now_ms &&
             (pending.timing == nullptr ? matches : Measures(worker.capabilities, *pending.timing));
    });
    if (due == job.pending.end()) continue;
    best = {.job = i,
            .task = due->task,
            .numerics_id = due->timing == nullptr ? NumericsOn(worker, job) : ""};
  }
  return best;
}

std::optional<int64_t> NextDue(absl::Span<const JobView> jobs, int64_t now_ms) {
  std::optional<int64_t> next;
  for (const JobView& job : jobs) {
    for (const JobView::PendingTask& pending : job.pending) {
      if (pending.not_before_ms <= now_ms) continue;
      next = std::min(next.value_or(pending.not_before_ms), pending.not_before_ms);
    }
  }
  return next;
}

RetryDecision DecideRetry(const RetryPolicy& policy, const AttemptCounts& counts,
                          AttemptOutcome outcome, const v1::TaskError& error, int64_t now_ms) {
  int64_t earlier = 0, most = policy.max_attempts;
  absl::Duration longest = policy.max_backoff;
  v1::FailureReason failure = v1::FAILURE_REASON_UNSPECIFIED;
  switch (outcome) {
    case AttemptOutcome::kLost:
      earlier = counts.lost;
      most = policy.max_lost;
      longest = policy.max_lost_backoff;
      failure = v1::FAILURE_REASON_LOST_WORKERS;
      break;
    case AttemptOutcome::kCrashed:
      earlier = counts.crashed;
      failure = v1::FAILURE_REASON_QUARANTINED;
      break;
    case AttemptOutcome::kError:
      if (error.kind() == v1::TASK_ERROR_KIND_EXPORT) return {.failure = v1::FAILURE_REASON_EXPORT};
      failure = v1::FAILURE_REASON_EVALUATION;
      if (error.kind() != v1::TASK_ERROR_KIND_RETRYABLE) return {.failure = failure};
      earlier = counts.failed;
      break;
    default:
      return {.retry = true, .not_before_ms = now_ms};
  }
  if (earlier + 1 >= most) return {.failure = failure};
  absl::Duration wait = policy.backoff;
  for (int64_t i = 0; i < earlier && wait < longest; ++i) wait *= 2;
  wait = std::min(wait, longest);
  return {.retry = true, .not_before_ms = now_ms + absl::ToInt64Milliseconds(wait)};
}

std::vector<LeaseView> Expired(absl::Span<const LeaseView> leases, int64_t now_ms) {
  std::vector<LeaseView> expired;
  std::copy_if(leases.begin(), leases.end(), std::back_inserter(expired),
               [&](const LeaseView& lease) { return lease.expire_ms <= now_ms; });
  return expired;
}

bool MustStoreRenewal(int64_t stored_expire_ms, int64_t now_ms, absl::Duration term) {
  return stored_expire_ms - now_ms < absl::ToInt64Milliseconds(term) / 2;
}

}  // namespace amc
