#include "server/task_board.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "server/job_error.h"

namespace amc {
namespace {

std::string Describe(absl::string_view job, int64_t task) {
  return absl::StrCat("task ", task, " of job ", job);
}

// Of two tasks of one kind and episode.
bool SameTask(const TaskRecord& a, const TaskRecord& b) {
  return a.images == b.images && a.policy.SerializeAsString() == b.policy.SerializeAsString() &&
         a.timing.SerializeAsString() == b.timing.SerializeAsString();
}

absl::Status ShuttingDown() { return absl::UnavailableError("the server is shutting down"); }

}  // namespace

TaskBoard::TaskBoard(Store* store, EventHub* hub, const Clock* clock, TaskBoardOptions options)
    : store_(store), hub_(hub), clock_(clock), options_(options), dispatcher_([this] {
        Dispatch();
      }) {}

TaskBoard::~TaskBoard() { Shutdown(); }

absl::Status TaskBoard::OpenJob(const v1::Job& job) {
  AMC_ASSIGN_OR_RETURN(std::vector<TaskRecord> records, store_->Tasks(job.id()));
  MutexLock lock(&mutex_);
  const auto [place, is_new] = jobs_.try_emplace(job.id());
  if (!is_new) return absl::OkStatus();
  Job& entry = place->second;
  entry.job = job;
  entry.order = ++opened_;
  for (TaskRecord& record : records) {
    Task& task = entry.tasks[record.task];
    task.stored_expire_ms = record.expire_ms;
    task.orphaned = record.state == TaskState::kLeased;
    task.record = std::move(record);
  }
  changed_.SignalAll();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TaskRecord>> TaskBoard::Run(const std::string& job,
                                                       std::vector<TaskRecord> tasks) {
  std::vector<int64_t> numbers(tasks.size(), 0);
  std::vector<TaskRecord> missing;
  std::vector<size_t> missing_at;
  {
    MutexLock lock(&mutex_);
    const auto entry = jobs_.find(job);
    AMC_CHECK(entry != jobs_.end()) << "job " << job << " is not open";
    for (size_t i = 0; i < tasks.size(); ++i) {
      for (const auto& [number, task] : entry->second.tasks) {
        if (task.record.kind != tasks[i].kind || task.record.episode != tasks[i].episode) continue;
        if (!SameTask(task.record, tasks[i])) {
          return JobError(
              v1::FAILURE_REASON_INTERNAL,
              absl::StrCat(v1::TaskKind_Name(tasks[i].kind), " of episode ", tasks[i].episode,
                           " was drawn again and came out differently"));
        }
        numbers[i] = number;
      }
      if (numbers[i] != 0) continue;
      tasks[i].job = job;
      missing.push_back(std::move(tasks[i]));
      missing_at.push_back(i);
    }
  }
  if (!missing.empty()) {
    AMC_ASSIGN_OR_RETURN(missing, store_->AddTasks(missing));
  }
  MutexLock lock(&mutex_);
  Job& entry = jobs_[job];
  for (size_t i = 0; i < missing.size(); ++i) {
    const int64_t number = numbers[missing_at[i]] = missing[i].task;
    entry.tasks[number].record = std::move(missing[i]);
  }
  changed_.SignalAll();
  const auto done = [&entry](int64_t number) {
    return entry.tasks[number].record.state == TaskState::kDone;
  };
  while (true) {
    if (shutdown_) return ShuttingDown();
    if (entry.interrupted) return absl::CancelledError(absl::StrCat("job ", job, " is cancelled"));
    if (!entry.failure.ok()) return entry.failure;
    if (std::all_of(numbers.begin(), numbers.end(), done)) break;
    changed_.Wait(&mutex_);
  }
  std::vector<TaskRecord> records;
  records.reserve(numbers.size());
  for (const int64_t number : numbers) records.push_back(entry.tasks[number].record);
  return records;
}

void TaskBoard::Forget(const std::string& job, absl::Span<const TaskRecord> tasks) {
  MutexLock lock(&mutex_);
  const auto entry = jobs_.find(job);
  if (entry == jobs_.end()) return;
  for (const TaskRecord& task : tasks) entry->second.tasks.erase(task.task);
}

void TaskBoard::Interrupt(const std::string& job) {
  MutexLock lock(&mutex_);
  const auto entry = jobs_.find(job);
  if (entry == jobs_.end()) return;
  entry->second.interrupted = true;
  changed_.SignalAll();
}

void TaskBoard::CloseJob(const std::string& job) {
  MutexLock lock(&mutex_);
  const auto entry = jobs_.find(job);
  if (entry == jobs_.end()) return;
  entry->second.interrupted = true;  // no new leases
  const auto busy = [](const auto& task) { return task.second.busy; };
  const auto of_job = [&job](const TaskRecord& record) { return record.job == job; };
  // Ending leases gives the lock up: others may make a task busy meanwhile, and must find it again.
  for (size_t left = std::numeric_limits<size_t>::max();;) {
    while (std::any_of(entry->second.tasks.begin(), entry->second.tasks.end(), busy)) {
      changed_.Wait(&mutex_);
    }
    const std::vector<LeaseView> leases = Leases(of_job);
    if (leases.empty() || leases.size() >= left) break;  // what the store does not end runs out
    left = leases.size();
    EndAll(leases, AttemptOutcome::kCancelled, "the job ended");
  }
  jobs_.erase(job);
  changed_.SignalAll();
}

std::string TaskBoard::NumericsId(const std::string& job) const {
  MutexLock lock(&mutex_);
  const auto entry = jobs_.find(job);
  return entry == jobs_.end() ? "" : entry->second.job.numerics_id();
}

std::vector<v1::LeaseRef> TaskBoard::Renew(const std::string& worker,
                                           absl::Span<const v1::TaskProgress* const> leases) {
  std::vector<v1::LeaseRef> lost, to_store;
  std::vector<v1::JobEvent> progress(leases.size());
  const int64_t now_ms = NowMs();
  const int64_t expire_ms = now_ms + absl::ToInt64Milliseconds(options_.lease_term);
  {
    MutexLock lock(&mutex_);
    for (size_t i = 0; i < leases.size(); ++i) {
      const v1::LeaseRef& ref = leases[i]->lease();
      Task* task = FindHeld(worker, ref);
      if (task == nullptr) {
        lost.push_back(ref);
        continue;
      }
      task->record.expire_ms = expire_ms;
      task->orphaned = false;
      if (MustStoreRenewal(task->stored_expire_ms, now_ms, options_.lease_term)) {
        task->stored_expire_ms = expire_ms;
        to_store.push_back(ref);
      }
      if (leases[i]->what().empty()) continue;
      progress[i].set_kind(v1::EVENT_KIND_PROGRESS);
      progress[i].set_time_ms(now_ms);
      progress[i].set_message(leases[i]->what());
      progress[i].set_done(leases[i]->done());
      progress[i].set_total(leases[i]->total());
    }
  }
  for (const v1::LeaseRef& ref : to_store) {
    const absl::Status status = store_->RenewLease(ref.job(), ref.task(), ref.epoch(), expire_ms);
    if (!status.ok()) {  // the lease lives on in memory
      AMC_LOG(kWarning) << Describe(ref.job(), ref.task()) << ": renewal: " << status;
    }
  }
  for (size_t i = 0; i < leases.size(); ++i) {
    if (progress[i].kind() != 0) hub_->Progress(leases[i]->lease().job(), progress[i]);
  }
  return lost;
}

absl::Status TaskBoard::Complete(const std::string& worker, const v1::CompleteTaskRequest& request,
                                 bool* is_new) {
  const v1::LeaseRef& ref = request.lease();
  if (request.outcome_case() == v1::CompleteTaskRequest::OUTCOME_NOT_SET) {
    return absl::InvalidArgumentError("outcome: neither result nor error is set");
  }
  {
    MutexLock lock(&mutex_);
    Task* task = FindTask(ref.job(), ref.task());
    while (task != nullptr && task->busy) {
      changed_.Wait(&mutex_);
      task = FindTask(ref.job(), ref.task());
    }
    if (task != nullptr && task->record.state == TaskState::kLeased &&
        task->record.epoch == ref.epoch()) {
      if (task->record.worker != worker) {
        return absl::PermissionDeniedError(absl::StrCat(Describe(ref.job(), ref.task()),
                                                        " is leased by ", task->record.worker,
                                                        ", not by ", worker));
      }
      if (is_new != nullptr) *is_new = true;
      if (request.has_result()) return StoreResult(ref.job(), ref.task(), request.result());
      AMC_LOG(kWarning) << Describe(ref.job(), ref.task()) << " failed on worker " << worker << ": "
                        << request.error().message();
      return EndAttempt(ref.job(), ref.task(), AttemptOutcome::kError, request.error());
    }
  }
  // Not a lease of an open job. The store knows every attempt there was, and tells a repeat of its
  // outcome (OK) from a stale one (Aborted).
  const absl::StatusOr<AttemptRecord> attempt =
      store_->GetAttempt(ref.job(), ref.task(), ref.epoch());
  if (absl::IsNotFound(attempt.status())) {
    return absl::AbortedError(absl::StrCat(Describe(ref.job(), ref.task()), " is gone"));
  }
  AMC_RETURN_IF_ERROR(attempt.status());
  if (attempt->worker != worker) {
    return absl::PermissionDeniedError(absl::StrCat(Describe(ref.job(), ref.task()), " at epoch ",
                                                    ref.epoch(), " was leased by ", attempt->worker,
                                                    ", not by ", worker));
  }
  if (attempt->outcome == AttemptOutcome::kOpen) {
    return absl::AbortedError(absl::StrCat(Describe(ref.job(), ref.task()), ": its job has ended"));
  }
  return request.has_result()
             ? store_->CompleteTask(ref.job(), ref.task(), ref.epoch(), request.result(), NowMs())
             : store_->EndAttempt(ref.job(), ref.task(), ref.epoch(), AttemptOutcome::kError,
                                  request.error(), TaskState::kPending, NowMs(), NowMs());
}

void TaskBoard::Release(const std::string& worker, AttemptOutcome outcome, const std::string& why) {
  EndPoll(worker);
  MutexLock lock(&mutex_);
  EndAll(Leases([&worker](const TaskRecord& record) { return record.worker == worker; }), outcome,
         why);
  peers_.erase(worker);
}

void TaskBoard::ForgetWorker(const std::string& worker) {
  MutexLock lock(&mutex_);
  peers_.erase(worker);
}

int64_t TaskBoard::leased() const {
  MutexLock lock(&mutex_);
  int64_t count = 0;
  for (const auto& [id, job] : jobs_) {
    count += std::count_if(job.tasks.begin(), job.tasks.end(), [](const auto& task) {
      return task.second.record.state == TaskState::kLeased;
    });
  }
  return count;
}

std::map<std::string, v1::LeaseRef> TaskBoard::HeldLeases() const {
  std::map<std::string, v1::LeaseRef> held;
  MutexLock lock(&mutex_);
  for (const auto& [id, job] : jobs_) {
    for (const auto& [number, task] : job.tasks) {
      const TaskRecord& record = task.record;
      if (record.state == TaskState::kLeased) held[record.worker] = RefOf(record);
    }
  }
  return held;
}

void TaskBoard::ExpireLeases() {
  const int64_t now_ms = NowMs();
  MutexLock lock(&mutex_);
  if (shutdown_) return;
  std::vector<LeaseView> lost, orphaned;
  for (LeaseView& lease : Expired(Leases([](const TaskRecord&) { return true; }), now_ms)) {
    (FindTask(lease.job, lease.task)->orphaned ? orphaned : lost).push_back(std::move(lease));
  }
  EndAll(lost, AttemptOutcome::kLost, "no heartbeat for the whole term");
  // Server and workers may have died together, of a power cut: that says nothing of the task.
  EndAll(orphaned, AttemptOutcome::kCancelled, "not heard of since the server started again");
}

void TaskBoard::ReportStarved(absl::Span<const WorkerView> workers) {
  std::map<std::string, std::string> starved;  // job to why
  {
    MutexLock lock(&mutex_);
    for (const JobView& view : Views()) {
      std::string why = WhyNoWorkerFits(view, workers);
      if (!why.empty()) starved[view.id] = std::move(why);
    }
    for (const auto& [job, why] : starved) {
      const auto said = starved_.find(job);
      if (said != starved_.end() && said->second == why) continue;  // in the log already
      AMC_LOG(kWarning) << "job " << job << " waits for a worker: " << why;
    }
    starved_ = starved;
  }
  for (const auto& [job, why] : starved) {
    v1::JobEvent event;
    event.set_kind(v1::EVENT_KIND_PROGRESS);
    event.set_time_ms(NowMs());
    event.set_message(absl::StrCat("waiting for a worker: ", why));
    hub_->Progress(job, event);
  }
}

void TaskBoard::Shutdown() {
  {
    MutexLock lock(&mutex_);
    shutdown_ = true;
    changed_.SignalAll();
  }
  if (dispatcher_.joinable()) dispatcher_.join();
}

}  // namespace amc
