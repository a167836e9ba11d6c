// TaskBoard's inner half: looking tasks up, and the changes of state that go through the store.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "server/job_error.h"
#include "server/task_board.h"
#include "server/task_result.h"

namespace amc {

v1::LeaseRef TaskBoard::RefOf(const TaskRecord& record) {
  v1::LeaseRef ref;
  ref.set_job(record.job);
  ref.set_task(record.task);
  ref.set_epoch(record.epoch);
  return ref;
}

std::vector<JobView> TaskBoard::Views() const {
  std::vector<JobView> views;
  std::vector<int64_t> orders;
  for (const auto& [id, job] : jobs_) {
    if (job.interrupted || !job.failure.ok()) continue;
    const v1::JobSpec& spec = job.job.spec();
    JobView view{.id = id,
                 .evaluation = spec.evaluation(),
                 .requirements = spec.requirements(),
                 .numerics_id = job.job.numerics_id(),
                 .priority = spec.priority(),
                 .last_grant = job.last_grant,
                 .max_leased = spec.max_workers()};
    for (const auto& [number, task] : job.tasks) {
      if (task.busy || task.record.state == TaskState::kLeased) ++view.leased;
      if (task.busy || task.record.state != TaskState::kPending) continue;
      const v1::TimingOrder& timing = task.record.timing;
      view.pending.push_back({.task = number,
                              .not_before_ms = task.record.not_before_ms,
                              .timing = timing.has_setting() ? &timing.setting() : nullptr});
    }
    if (view.pending.empty()) continue;
    const auto at = std::upper_bound(orders.begin(), orders.end(), job.order) - orders.begin();
    orders.insert(orders.begin() + at, job.order);
    views.insert(views.begin() + at, std::move(view));
  }
  return views;
}

TaskBoard::Task* TaskBoard::FindTask(const std::string& job, int64_t task) {
  const auto entry = jobs_.find(job);
  if (entry == jobs_.end()) return nullptr;
  const auto found = entry->second.tasks.find(task);
  return found == entry->second.tasks.end() ? nullptr : &found->second;
}

TaskBoard::Task* TaskBoard::FindHeld(const std::string& worker, const v1::LeaseRef& ref) {
  Task* task = FindTask(ref.job(), ref.task());
  if (task == nullptr || jobs_.at(ref.job()).interrupted || !jobs_.at(ref.job()).failure.ok()) {
    return nullptr;
  }
  const TaskRecord& record = task->record;
  const bool held =
      record.state == TaskState::kLeased && record.worker == worker && record.epoch == ref.epoch();
  return held ? task : nullptr;
}

TaskBoard::Task* TaskBoard::FindOrphan(const std::string& worker) {
  for (auto& [id, job] : jobs_) {
    for (auto& [number, task] : job.tasks) {
      if (task.orphaned && FindHeld(worker, RefOf(task.record)) != nullptr) return &task;
    }
  }
  return nullptr;
}

v1::Lease TaskBoard::MakeLease(const Job& job, const TaskRecord& record) const {
  v1::Lease lease;
  lease.set_job(record.job);
  lease.set_task(record.task);
  lease.set_epoch(record.epoch);
  lease.set_expire_time_ms(record.expire_ms);
  lease.set_kind(record.kind);
  *lease.mutable_spec() = job.job.spec();
  *lease.mutable_policy() = record.policy;
  lease.set_episode(record.episode);
  lease.set_images(record.images);
  if (record.timing.has_setting()) *lease.mutable_timing() = record.timing;
  lease.set_numerics_id(job.job.numerics_id());
  return lease;
}

absl::Status TaskBoard::EndAttempt(const std::string& job, int64_t number, AttemptOutcome outcome,
                                   const v1::TaskError& error) {
  Job& entry = jobs_.at(job);
  Task& task = entry.tasks.at(number);
  const int64_t now_ms = NowMs();
  const RetryDecision decision =
      DecideRetry({.max_attempts = entry.job.spec().max_attempts(), .backoff = options_.backoff},
                  {.lost = task.record.lost_attempts,
                   .failed = task.record.failed_attempts,
                   .crashed = task.record.crashed_attempts},
                  outcome, error, now_ms);
  task.busy = true;
  const int64_t epoch = task.record.epoch;
  mutex_.Unlock();
  // A task that failed for good ends its job but stays pending: a resumed job tries it again.
  absl::Status status = store_->EndAttempt(job, number, epoch, outcome, error, TaskState::kPending,
                                           decision.not_before_ms, now_ms);
  mutex_.Lock();
  task.busy = false;
  changed_.SignalAll();
  if (!status.ok()) return status;
  if (outcome == AttemptOutcome::kLost) ++task.record.lost_attempts;
  if (outcome == AttemptOutcome::kCrashed) ++task.record.crashed_attempts;
  if (outcome == AttemptOutcome::kError && error.kind() == v1::TASK_ERROR_KIND_RETRYABLE) {
    ++task.record.failed_attempts;
  }
  task.record.state = TaskState::kPending;
  task.record.not_before_ms = decision.not_before_ms;
  task.record.error = error;
  if (!decision.retry && entry.failure.ok()) {
    const std::string what = task.record.kind == v1::TASK_KIND_EVALUATE
                                 ? absl::StrCat("episode ", task.record.episode)
                                 : v1::TaskKind_Name(task.record.kind);
    entry.failure = JobError(decision.failure,
                             absl::StrCat(what, ", attempt ", task.record.epoch, " on worker ",
                                          task.record.worker, ": ", error.message()));
  }
  return absl::OkStatus();
}

absl::Status TaskBoard::StoreResult(const std::string& job, int64_t number,
                                    const v1::TaskResult& result) {
  Job& entry = jobs_.at(job);
  Task& task = entry.tasks.at(number);
  AMC_RETURN_IF_ERROR(CheckResult(task.record, result));
  if (!task.record.timing.has_setting() && result.numerics_id() != entry.job.numerics_id()) {
    return absl::InvalidArgumentError(absl::StrCat("result.numerics_id: ", result.numerics_id(),
                                                   ", but the job's is ", entry.job.numerics_id()));
  }
  task.busy = true;
  const int64_t epoch = task.record.epoch;
  const int64_t now_ms = NowMs();
  mutex_.Unlock();
  absl::Status status = store_->CompleteTask(job, number, epoch, result, now_ms);
  mutex_.Lock();
  task.busy = false;
  changed_.SignalAll();
  if (!status.ok()) return status;
  task.record.state = TaskState::kDone;
  task.record.result = result;
  return absl::OkStatus();
}

std::vector<LeaseView> TaskBoard::Leases(
    const std::function<bool(const TaskRecord&)>& chosen) const {
  std::vector<LeaseView> leases;
  for (const auto& [id, job] : jobs_) {
    for (const auto& [number, task] : job.tasks) {
      const TaskRecord& record = task.record;
      if (task.busy || record.state != TaskState::kLeased || !chosen(record)) continue;
      leases.push_back(
          {.job = id, .task = number, .epoch = record.epoch, .expire_ms = record.expire_ms});
    }
  }
  return leases;
}

void TaskBoard::EndAll(const std::vector<LeaseView>& leases, AttemptOutcome outcome,
                       const std::string& message) {
  v1::TaskError error;
  error.set_message(message);
  for (const LeaseView& lease : leases) {
    // EndAttempt gives the lock up in between: look again.
    const Task* task = FindTask(lease.job, lease.task);
    if (task == nullptr || task->busy || task->record.state != TaskState::kLeased ||
        task->record.epoch != lease.epoch) {
      continue;
    }
    const absl::Status status = EndAttempt(lease.job, lease.task, outcome, error);
    if (!status.ok()) {  // stays leased; expiry will try again
      AMC_LOG(kWarning) << "task " << lease.task << " of job " << lease.job << ": " << status;
    } else {
      AMC_LOG(kInfo) << "task " << lease.task << " of job " << lease.job << " at epoch "
                     << lease.epoch << ": " << message;
    }
  }
}

}  // namespace amc
