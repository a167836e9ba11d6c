#include "server/worker/connection.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <type_traits>
#include <utility>

#include "base/log.h"
#include "base/status_macros.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(20);
// A heartbeat that is swallowed must leave time for another one within the lease's term. How long
// that is the worker is not told, but a server's heartbeats are a third of it at most (amc serve),
// as a rule far less: 1 s of 15 s.
constexpr int kHeartbeatsWaited = 3;
constexpr absl::Duration kHeartbeatTimeoutLeast = absl::Seconds(1);
constexpr absl::Duration kHeartbeatTimeoutMost = absl::Seconds(4);

void SetTimeout(grpc::ClientContext& context, absl::Duration timeout) {
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
}

// The session lets the supervisor report this process's death. Without it, the lease just runs out.
void TellSupervisor(int fd, const std::string& session) {
  if (fd < 0) return;
  const std::string line = session + "\n";
  if (write(fd, line.data(), line.size()) < 0) {
    AMC_LOG(kWarning) << "cannot tell the supervisor of this session: " << strerror(errno);
  }
}

// Answers to RegisterWorker that another try will not change.
bool IsRefusal(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) || absl::IsUnauthenticated(status) ||
         absl::IsPermissionDenied(status) || absl::IsInvalidArgument(status) ||
         absl::IsUnimplemented(status);
}

}  // namespace

absl::Status Connection::Register(const std::string& stale) {
  {
    MutexLock lock(&mutex_);
    while (registering_) registered_.Wait(&mutex_);
    if (session_ != stale) return absl::OkStatus();
    registering_ = true;
  }
  grpc::ClientContext context;
  SetTimeout(context, kTimeout);
  v1::RegisterWorkerResponse response;
  absl::Status status = FromGrpcStatus(stub_->RegisterWorker(&context, identity_, &response));
  MutexLock lock(&mutex_);
  registering_ = false;
  registered_.SignalAll();
  if (status.ok()) {
    session_ = response.session();
    idle_interval_ = absl::Milliseconds(response.heartbeat_ms());
    busy_interval_ = std::min(busy_interval_, idle_interval_);
    TellSupervisor(session_fd_, session_);
  } else if (IsRefusal(status)) {
    refusal_ = status;
  }
  return status;
}

template <typename Method, typename Request, typename Response>
absl::Status Connection::Call(Method method, Request& request, Response& response,
                              absl::Duration timeout) {
  absl::Status status;
  std::string session = this->session();
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (attempt > 0 || session.empty()) {
      AMC_RETURN_IF_ERROR(Register(session));
      session = this->session();
    }
    request.set_session(session);
    grpc::ClientContext context;
    SetTimeout(context, timeout);
    {
      MutexLock lock(&mutex_);
      if (gone_) return absl::CancelledError("this worker has said goodbye");
      if (std::is_same_v<Request, v1::LeaseTaskRequest>) {
        if (lease_cancelled_) return absl::CancelledError("no more leases are wanted");
        lease_call_ = &context;
      }
    }
    status = FromGrpcStatus(((*stub_).*method)(&context, request, &response));
    if (std::is_same_v<Request, v1::LeaseTaskRequest>) {
      MutexLock lock(&mutex_);
      lease_call_ = nullptr;
    }
    if (!absl::IsUnauthenticated(status)) break;
  }
  return status;
}

absl::StatusOr<v1::LeaseTaskResponse> Connection::Lease(const std::string& request_id,
                                                        absl::Duration wait) {
  v1::LeaseTaskRequest request;
  request.set_request_id(request_id);
  request.set_wait_ms(absl::ToInt64Milliseconds(wait));
  v1::LeaseTaskResponse response;
  AMC_RETURN_IF_ERROR(
      Call(&v1::WorkerService::StubInterface::LeaseTask, request, response, wait + kTimeout));
  return response;
}

absl::StatusOr<v1::HeartbeatResponse> Connection::Heartbeat(const v1::TaskProgress* progress) {
  v1::HeartbeatRequest request;
  if (progress != nullptr) *request.add_leases() = *progress;
  v1::HeartbeatResponse response;
  const absl::Duration timeout = std::clamp(kHeartbeatsWaited * heartbeat_interval(false),
                                            kHeartbeatTimeoutLeast, kHeartbeatTimeoutMost);
  AMC_RETURN_IF_ERROR(
      Call(&v1::WorkerService::StubInterface::Heartbeat, request, response, timeout));
  MutexLock lock(&mutex_);
  if (response.heartbeat_ms() > 0) {
    (progress != nullptr ? busy_interval_ : idle_interval_) =
        absl::Milliseconds(response.heartbeat_ms());
  }
  return response;
}

absl::Status Connection::Complete(v1::CompleteTaskRequest request) {
  v1::CompleteTaskResponse response;
  return Call(&v1::WorkerService::StubInterface::CompleteTask, request, response, kTimeout);
}

void Connection::Unregister() {
  v1::UnregisterWorkerRequest request;
  {
    MutexLock lock(&mutex_);
    if (std::exchange(gone_, true) || session_.empty()) return;
    request.set_session(session_);
  }
  grpc::ClientContext context;
  SetTimeout(context, absl::Seconds(2));
  v1::UnregisterWorkerResponse response;
  static_cast<void>(stub_->UnregisterWorker(&context, request, &response));
}

void Connection::CancelLease() {
  MutexLock lock(&mutex_);
  lease_cancelled_ = true;
  if (lease_call_ != nullptr) lease_call_->TryCancel();
}

std::string Connection::session() const {
  MutexLock lock(&mutex_);
  return session_;
}

absl::Status Connection::refusal() const {
  MutexLock lock(&mutex_);
  return refusal_;
}

absl::Duration Connection::heartbeat_interval(bool busy) const {
  MutexLock lock(&mutex_);
  return busy ? busy_interval_ : idle_interval_;
}

}  // namespace amc
