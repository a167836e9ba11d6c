#include "server/worker/connection.h"

#include <chrono>
#include <type_traits>
#include <utility>

#include "base/status_macros.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(20);
// A heartbeat that is swallowed must leave time for another one within the lease's term (15 s).
constexpr absl::Duration kHeartbeatTimeout = absl::Seconds(4);

void SetTimeout(grpc::ClientContext& context, absl::Duration timeout) {
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
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
    heartbeat_interval_ = absl::Milliseconds(response.heartbeat_ms());
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

absl::StatusOr<std::optional<v1::Lease>> Connection::Lease(const std::string& request_id,
                                                           absl::Duration wait) {
  v1::LeaseTaskRequest request;
  request.set_request_id(request_id);
  request.set_wait_ms(absl::ToInt64Milliseconds(wait));
  v1::LeaseTaskResponse response;
  AMC_RETURN_IF_ERROR(
      Call(&v1::WorkerService::StubInterface::LeaseTask, request, response, wait + kTimeout));
  if (!response.has_lease()) return std::nullopt;
  return std::move(*response.mutable_lease());
}

absl::StatusOr<v1::HeartbeatResponse> Connection::Heartbeat(const v1::TaskProgress* progress) {
  v1::HeartbeatRequest request;
  if (progress != nullptr) *request.add_leases() = *progress;
  v1::HeartbeatResponse response;
  AMC_RETURN_IF_ERROR(
      Call(&v1::WorkerService::StubInterface::Heartbeat, request, response, kHeartbeatTimeout));
  MutexLock lock(&mutex_);
  if (response.heartbeat_ms() > 0) {
    heartbeat_interval_ = absl::Milliseconds(response.heartbeat_ms());
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

absl::Duration Connection::heartbeat_interval() const {
  MutexLock lock(&mutex_);
  return heartbeat_interval_;
}

}  // namespace amc
