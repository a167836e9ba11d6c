// The open tasks of the running jobs: added by job threads, leased to workers, completed by them.
//
// Workers that wait for a task cost no thread: one thread of the board's own gives tasks to the
// polls that wait, as many as there are in one transaction, so that a thousand idle workers are a
// thousand small entries and busy ones share the disk's syncs.
//
// A view in memory over the store's tasks. Every change of state is on disk before anybody is told
// (and before it shows here), and the store is called without the board's lock: a task in the
// middle of such a change is `busy`, and whoever wants to change it too waits for that.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/event_hub.h"
#include "server/scheduler.h"
#include "storage/store.h"

namespace amc {

struct TaskBoardOptions {
  absl::Duration lease_term = absl::Seconds(15);
  absl::Duration backoff = absl::Seconds(1);
};

// Thread-safe.
class TaskBoard {
 public:
  // All three must outlive the board.
  TaskBoard(Store* store, EventHub* hub, const Clock* clock, TaskBoardOptions options);
  ~TaskBoard();  // Shutdown()

  // For job threads ---------------------------------------------------------------------------

  // Takes up a job with the tasks that the store has of it. Nothing happens if it is open.
  absl::Status OpenJob(const v1::Job& job);

  // Adds the tasks that are not there yet (one per kind and episode) and waits until all are done;
  // returns them in order with their results. Otherwise: JobError when one failed for good,
  // Cancelled after Interrupt, Unavailable after Shutdown, the store's own errors.
  absl::StatusOr<std::vector<TaskRecord>> Run(const std::string& job,
                                              std::vector<TaskRecord> tasks);

  // Drops tasks that the store has dropped (a committed generation).
  void Forget(const std::string& job, absl::Span<const TaskRecord> tasks);

  // Makes the job's Run return, now and later; its leases go on until CloseJob.
  void Interrupt(const std::string& job);

  // Ends the job's leases and forgets it. Workers learn from their next heartbeat.
  void CloseJob(const std::string& job);

  // The numerics id that the job's first lease fixed; empty before.
  std::string NumericsId(const std::string& job) const;

  // For workers ----------------------------------------------------------------------------------

  using LeaseReply = absl::AnyInvocable<void(absl::StatusOr<std::optional<v1::Lease>>)>;

  // Long poll: `reply` is called once, with a lease as soon as there is a task for the worker, with
  // none when `deadline` is over, when the worker asked again meanwhile, or after GiveUp. A
  // repeated request_id gets the same lease while it is open. The reply may come before Lease
  // returns and on any thread; it must not block.
  void Lease(const WorkerView& worker, const std::string& request_id, absl::Time deadline,
             LeaseReply reply);
  // Ends a poll whose client is gone, if it still waits.
  void GiveUp(const std::string& worker, const std::string& request_id);
  // Ends whatever poll of the worker waits, with no lease.
  void EndPoll(const std::string& worker);

  // Renews the worker's leases, passes their progress on, returns those that it no longer has.
  std::vector<v1::LeaseRef> Renew(const std::string& worker,
                                  absl::Span<const v1::TaskProgress* const> leases);

  // Ends an attempt. OK for an identical repeat; Aborted for a stale epoch or a task that is gone,
  // PermissionDenied for another worker's lease, InvalidArgument for an outcome that does not fit
  // the task, the store's errors. Sets `is_new`, where it is given, if it was no repeat.
  absl::Status Complete(const std::string& worker, const v1::CompleteTaskRequest& request,
                        bool* is_new = nullptr);

  // Ends the leases and the poll of a worker that has gone at once: kCancelled after a goodbye,
  // kCrashed after a crash.
  void Release(const std::string& worker, AttemptOutcome outcome, const std::string& why);
  // Drops what is remembered of a worker that was lost long ago.
  void ForgetWorker(const std::string& worker);

  // How many tasks are under lease.
  int64_t leased() const;
  // What each worker that has a lease has, by uuid.
  std::map<std::string, v1::LeaseRef> HeldLeases() const;

  // For the server ------------------------------------------------------------------------------

  // Ends the attempts whose term is over. Call a few times a second.
  void ExpireLeases();
  // Tells those who watch a job that none of these workers, who are all there are, can take its
  // tasks. Call every few seconds.
  void ReportStarved(absl::Span<const WorkerView> workers);
  // Wakes everybody; from here on Run and Lease give Unavailable. Leases stay open in the store.
  // Idempotent.
  void Shutdown();

 private:
  struct Task {
    TaskRecord record;
    int64_t stored_expire_ms = 0;
    bool busy = false;      // the store is being told of a change; see above
    bool orphaned = false;  // leased in an earlier life of the server, not heard of since
  };
  struct Job {
    v1::Job job;
    int64_t order = 0;  // of OpenJob
    int64_t last_grant = 0;
    bool interrupted = false;
    absl::Status failure;
    std::map<int64_t, Task> tasks;
  };
  // What is remembered of a worker so that its repeats are recognised.
  struct Peer {
    std::string request_id;
    v1::LeaseRef lease;  // that the request got
  };
  // A call of Lease that waits.
  struct Poll {
    WorkerView worker;
    std::string request_id;
    absl::Time deadline;
    LeaseReply reply;
  };
  // Replies to give once the lock is released.
  using Replies = std::vector<std::pair<LeaseReply, absl::StatusOr<std::optional<v1::Lease>>>>;
  // A poll and the task that is being leased to it.
  struct Match {
    Poll poll;
    LeaseGrant grant;
    bool fixes_numerics = false;  // the job had none
  };

  static v1::LeaseRef RefOf(const TaskRecord& record);
  std::vector<JobView> Views() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Task* FindTask(const std::string& job, int64_t task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Task* FindHeld(const std::string& worker, const v1::LeaseRef& ref)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A lease of the worker that is orphaned, now taken up again; null if there is none.
  Task* FindOrphan(const std::string& worker) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  v1::Lease MakeLease(const Job& job, const TaskRecord& record) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The dispatcher's thread: matches polls with tasks, ends those that are over.
  void Dispatch();
  // Takes a worker's poll off the waiting ones and returns its reply; null if there is none, or
  // none of `request_id`, where that is given.
  LeaseReply TakePoll(const std::string& worker, const std::string* request_id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndPolls(absl::Time now, Replies& replies) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes matched polls off the waiting ones and marks their tasks busy.
  std::vector<Match> MatchPolls() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishGrants(std::vector<Match> matches, std::vector<absl::StatusOr<TaskRecord>> records,
                    int64_t expire_ms, Replies& replies) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // How long nothing will happen by itself.
  absl::Duration QuietTime() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // The two below give the lock up while the store works and take it again.
  absl::Status EndAttempt(const std::string& job, int64_t task, AttemptOutcome outcome,
                          const v1::TaskError& error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status StoreResult(const std::string& job, int64_t task, const v1::TaskResult& result)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The tasks, leased and not busy, for which `chosen` holds.
  std::vector<LeaseView> Leases(const std::function<bool(const TaskRecord&)>& chosen) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndAll(const std::vector<LeaseView>& leases, AttemptOutcome outcome,
              const std::string& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int64_t NowMs() const { return absl::ToUnixMillis(clock_->Now()); }

  Store* const store_;
  EventHub* const hub_;
  const Clock* const clock_;
  const TaskBoardOptions options_;

  mutable Mutex mutex_;
  CondVar changed_;
  std::map<std::string, Job> jobs_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Peer> peers_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, Poll> polls_ ABSL_GUARDED_BY(mutex_);                  // in order of arrival
  std::map<std::string, int64_t> poll_of_worker_ ABSL_GUARDED_BY(mutex_);  // into polls_
  std::map<std::string, std::string> starved_ ABSL_GUARDED_BY(mutex_);     // as reported last
  int64_t last_poll_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t grants_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t opened_ ABSL_GUARDED_BY(mutex_) = 0;
  bool shutdown_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread dispatcher_;
};

}  // namespace amc
