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
#include "server/scheduler.h"
#include "storage/store.h"

namespace amc {

// Thread-safe. Sessions live in memory: after a restart workers register again, and take their
// leases up by their uuid.
class WorkerRegistry {
 public:
  // Both must outlive the registry. A worker unheard of for `lost_after` is lost.
  WorkerRegistry(Store* store, const Clock* clock, absl::Duration lost_after)
      : store_(store), clock_(clock), lost_after_(lost_after) {}

  // A new session; an older one of the same uuid ends. InvalidArgument for a bad uuid,
  // FailedPrecondition for another version than the server's; the store's errors.
  absl::StatusOr<std::string> Register(const v1::RegisterWorkerRequest& request);

  // The worker of a session, which was heard of by this. Unauthenticated for an unknown one.
  absl::StatusOr<WorkerView> Find(const std::string& session);

  // Ends a session and returns its worker's uuid. Unauthenticated for an unknown one.
  absl::StatusOr<std::string> Unregister(const std::string& session);

  void CountCompleted(const std::string& uuid);

  // Stores the workers that became lost as such. Call about once a second.
  void MarkLost();

  // Those who are there.
  std::vector<WorkerView> Present() const;

  // `worker` as the store has it, brought up to date.
  void Refresh(v1::Worker& worker) const;

 private:
  struct Member {
    v1::Worker worker;  // without lease; last_seen_ms is `seen`
    std::string session;
  };

  Store* const store_;
  const Clock* const clock_;
  const absl::Duration lost_after_;
  mutable Mutex mutex_;
  std::map<std::string, Member> members_ ABSL_GUARDED_BY(mutex_);        // by uuid
  std::map<std::string, std::string> sessions_ ABSL_GUARDED_BY(mutex_);  // to uuid
};

}  // namespace amc
