// Who works here: sessions of worker processes, when each was last heard of, who is lost.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "amc/v1/worker.pb.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/rate.h"
#include "server/scheduler.h"
#include "storage/store.h"

namespace amc {

// Thread-safe. Sessions live in memory: after a restart workers register again, and take their
// leases up by their uuid.
class WorkerRegistry {
 public:
  // Both must outlive the registry. A worker unheard of for `lost_after` is lost.
  WorkerRegistry(Store* store, const Clock* clock, absl::Duration lost_after)
      : store_(store), clock_(clock), lost_after_(lost_after), completions_(clock->Now()) {}

  // A new session; an older one of the same uuid ends. InvalidArgument for a bad uuid,
  // PermissionDenied for one that is another's, FailedPrecondition for another version than the
  // server's; the store's errors.
  absl::StatusOr<std::string> Register(const v1::RegisterWorkerRequest& request);

  struct Caller {
    WorkerView view;
    bool draining = false;
  };
  // The worker of a session, which was heard of by this. Unauthenticated for an unknown one.
  absl::StatusOr<Caller> Find(const std::string& session);
  // The same for a heartbeat; `progress` is of the worker's lease, null without one.
  absl::StatusOr<Caller> Beat(const std::string& session, const v1::TaskProgress* progress);

  // Ends a session and returns its worker's uuid: it said goodbye, or it crashed, as `message`
  // says. Unauthenticated for an unknown one.
  absl::StatusOr<std::string> Unregister(const std::string& session);
  absl::StatusOr<std::string> Crash(const std::string& session, const std::string& message);

  // Marks these workers, or all who are there, as draining and returns who was marked. NotFound,
  // and nobody is marked, if one is not there.
  absl::StatusOr<std::vector<std::string>> Drain(const v1::DrainWorkersRequest& request);

  void CountCompleted(const std::string& uuid);
  const Rate& completions() const { return completions_; }

  // Stores the workers that became lost as such, and forgets those that have been for long; returns
  // the latter's uuids. Call about once a second.
  std::vector<std::string> MarkLost();

  // Those who are there, by uuid.
  std::vector<WorkerView> Present() const;
  std::vector<v1::Worker> PresentWorkers() const;
  int64_t present() const;

  // `worker` as the store has it, brought up to date.
  void Refresh(v1::Worker& worker) const;

 private:
  struct Member {
    v1::Worker worker;  // without lease; IDLE or LOST
    std::string session;
    bool draining = false;  // outlasts silence and reconnections, but not the server
  };
  // The worker as others see it.
  static v1::Worker Describe(const Member& member);
  // The worker of a session, heard of now.
  absl::StatusOr<Member*> Hear(const std::string& session) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends a session; the worker's last state is stored.
  absl::StatusOr<std::string> Leave(const std::string& session, v1::WorkerState state,
                                    const std::string& message);

  Store* const store_;
  const Clock* const clock_;
  const absl::Duration lost_after_;
  Rate completions_;
  mutable Mutex mutex_;
  std::map<std::string, Member> members_ ABSL_GUARDED_BY(mutex_);        // by uuid
  std::map<std::string, std::string> sessions_ ABSL_GUARDED_BY(mutex_);  // to uuid
};

}  // namespace amc
