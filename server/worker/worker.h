// A worker: leases tasks from a server, measures candidates in this process, reports.
//
// One task at a time, computed on the thread that calls Run; heartbeats come from a second thread,
// so that a lease lives as long as its process does. When the server goes away the task goes on
// and its result is delivered to the server that comes back; a result that came too late is
// dropped.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rpc/channel.h"

namespace amc {

struct WorkerOptions {
  ChannelOptions server;          // where, and with which credentials
  std::string cache_folder;       // downloaded models and data packs; made if it is not there
  std::string artifacts_folder;   // the server's own artifacts/ on a shared file system: read in
                                  //   place instead of downloading; empty: none
  int64_t cache_limit_bytes = 0;  // of the cache folder; 0: no limit
  int threads = 1;                // intra-op threads; jobs that ask for more are not matched
  int64_t memory_bytes = 0;       // jobs that ask for more are not matched; 0: what the machine and
                                  //   this process's cgroup have
  int session_fd = -1;            // of the supervisor: gets every new session, a line each
  absl::Duration give_up_after = absl::InfiniteDuration();  // without a server: Unavailable
};

// One worker process. Run from one thread; Drain and Stop from any.
class Worker {
 public:
  static absl::StatusOr<std::unique_ptr<Worker>> Create(const WorkerOptions& options);
  ~Worker();

  // Works until Drain or Stop (OK), the server says so (OK), the server is away for too long
  // (Unavailable), or it refuses this worker (FailedPrecondition for another version,
  // Unauthenticated for a wrong token).
  absl::Status Run();

  // Finish the task at hand, say goodbye, return from Run.
  void Drain();
  // Drop the task at hand; its lease goes back at once.
  void Stop();

 private:
  class Session;
  explicit Worker(std::unique_ptr<Session> session);
  std::unique_ptr<Session> session_;
};

// Create and Run; the first SIGTERM or SIGINT drains, the second ends the process at once (status
// 130) after giving the lease back. Call from main, after TuneProcess(options.threads) and before
// any thread is started: it blocks both signals for the process.
absl::Status RunWorker(const WorkerOptions& options);

}  // namespace amc
