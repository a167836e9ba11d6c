// Tells those who watch a job that something happened.
//
// The events themselves are in the store; the hub only wakes, so that watching costs no polling.
// The one thing that it carries is progress of the attempt under way, which is never stored.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "amc/v1/job.pb.h"
#include "base/mutex.h"

namespace amc {

// Thread-safe.
class EventHub {
 public:
  // The store has new events of the job, or the job is gone.
  void Notify(const std::string& job);
  // Replaces the job's progress.
  void Progress(const std::string& job, const v1::JobEvent& event);
  // Ends every Wait, now and later.
  void Shutdown();

  struct News {
    uint64_t version = 0;                       // give it to the next Wait
    std::optional<v1::JobEvent> progress = {};  // if there is a newer one than `seen`
    bool shutdown = false;
  };
  // Returns when something happened after version `seen` (0: nothing seen), when the job that was
  // seen has been forgotten (version 0), or when `timeout` is over (version `seen`).
  News Wait(const std::string& job, uint64_t seen, absl::Duration timeout);

  // Drops what is known of an ended job.
  void Forget(const std::string& job);

 private:
  struct Topic {
    uint64_t version = 1;
    uint64_t progress_version = 0;
    v1::JobEvent progress;
  };
  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, Topic> topics_ ABSL_GUARDED_BY(mutex_);
  uint64_t version_ ABSL_GUARDED_BY(mutex_) = 1;  // of all topics, so that it never goes back
  bool shutdown_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace amc
