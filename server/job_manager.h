// Jobs in the order they came, a thread for each one that runs; cancel, resume, delete.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "server/job_runner.h"

namespace amc {

// Thread-safe.
class JobManager {
 public:
  // Starts `max_running` threads; takes jobs while fewer than `max_unfinished` have not ended.
  JobManager(const JobContext& context, int max_running, int max_unfinished);
  ~JobManager();  // Shutdown()

  // Queues every job of the store that has not ended, oldest first, and opens their tasks. Once,
  // before workers can call.
  absl::Status TakeUp();

  // Stores a prepared job and queues it; `spec_hash` is of the spec as it was sent. Errors as
  // Store::CreateJob; ResourceExhausted when there are too many unfinished ones.
  absl::StatusOr<v1::Job> Submit(v1::Job job, const std::string& request_id,
                                 const std::string& spec_hash);

  // Stops a job and returns it once its end is stored. See JobService for the errors of these
  // three.
  absl::StatusOr<v1::Job> Cancel(const std::string& id);
  absl::StatusOr<v1::Job> Resume(const std::string& id, int64_t more_episodes);
  absl::Status Delete(const std::string& id);

  struct Load {
    int64_t running = 0, queued = 0;
  };
  Load load();

  // Lets running jobs come to a safe point, unfinished, and joins their threads. Idempotent.
  void Shutdown();

 private:
  struct Entry {
    JobControl control;
    bool running = false;
  };

  void ThreadMain();
  void Enqueue(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Stores the job in a new state with the event that says so.
  absl::StatusOr<v1::Job> StoreState(JobUpdate update, v1::JobState state);

  // ResourceExhausted if there are as many unfinished jobs as may be.
  absl::Status CheckRoom();

  const JobContext context_;
  const int max_unfinished_;
  Mutex control_mutex_;  // one Submit, Cancel, Resume or Delete at a time; before mutex_
  Mutex mutex_;
  CondVar changed_;
  std::deque<std::string> queue_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::unique_ptr<Entry>> entries_
      ABSL_GUARDED_BY(mutex_);  // queued, running
  bool shutdown_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace amc
