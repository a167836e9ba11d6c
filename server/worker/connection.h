// The worker's side of WorkerService: one session, made anew when the server forgot it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "amc/v1/worker.grpc.pb.h"
#include "base/mutex.h"
#include "grpcpp/client_context.h"

namespace amc {

// Thread-safe. Every call registers first where need be, and once more when its session turns out
// to be unknown (a server that was started again).
class Connection {
 public:
  // `identity` has the uuid and the capabilities that the worker registers with.
  // Every new session is written to `session_fd`, a line each, unless that is negative.
  Connection(std::unique_ptr<v1::WorkerService::StubInterface> stub,
             v1::RegisterWorkerRequest identity, int session_fd)
      : stub_(std::move(stub)), identity_(std::move(identity)), session_fd_(session_fd) {}

  // Without a lease when there is nothing to do. A repeat after an error has to bring the same
  // request_id.
  absl::StatusOr<v1::LeaseTaskResponse> Lease(const std::string& request_id, absl::Duration wait);
  // `progress` may be null (no lease). Waits for three of the server's intervals, one to four
  // seconds.
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::TaskProgress* progress);
  absl::Status Complete(v1::CompleteTaskRequest request);

  // Says goodbye; every later call is Cancelled. Errors do not matter: leases run out by
  // themselves.
  void Unregister();

  // Makes a Lease that waits return.
  void CancelLease();

  // Why the server does not take this worker, ever (another version, a wrong token); OK otherwise.
  absl::Status refusal() const;
  // How often the server wants to hear of this worker, with and without a task.
  absl::Duration heartbeat_interval(bool busy) const;

 private:
  std::string session() const;
  // Replaces the session `stale`, unless somebody has.
  absl::Status Register(const std::string& stale);
  // Calls stub_->*method with the session filled in.
  template <typename Method, typename Request, typename Response>
  absl::Status Call(Method method, Request& request, Response& response, absl::Duration timeout);

  const std::unique_ptr<v1::WorkerService::StubInterface> stub_;
  const v1::RegisterWorkerRequest identity_;
  const int session_fd_;
  mutable Mutex mutex_;
  CondVar registered_;
  bool registering_ ABSL_GUARDED_BY(mutex_) = false;
  std::string session_ ABSL_GUARDED_BY(mutex_);
  absl::Duration idle_interval_ ABSL_GUARDED_BY(mutex_) = absl::Seconds(1);
  absl::Duration busy_interval_ ABSL_GUARDED_BY(mutex_) = absl::Milliseconds(400);
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);
  grpc::ClientContext* lease_call_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool lease_cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace amc
