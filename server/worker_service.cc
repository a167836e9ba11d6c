#include "server/worker_service.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

constexpr int64_t kMaxWaitMs = 30'000;

}  // namespace

grpc::Status WorkerServiceImpl::RegisterWorker(grpc::ServerContext*,
                                               const v1::RegisterWorkerRequest* request,
                                               v1::RegisterWorkerResponse* response) {
  absl::StatusOr<std::string> session = registry_->Register(*request);
  if (!session.ok()) return ToGrpcStatus(session.status());
  response->set_session(*std::move(session));
  response->set_heartbeat_ms(absl::ToInt64Milliseconds(heartbeat_));
  return grpc::Status::OK;
}

grpc::Status WorkerServiceImpl::LeaseTask(grpc::ServerContext* context,
                                          const v1::LeaseTaskRequest* request,
                                          v1::LeaseTaskResponse* response) {
  const absl::StatusOr<WorkerView> worker = registry_->Find(request->session());
  if (!worker.ok()) return ToGrpcStatus(worker.status());
  if (request->request_id().empty()) {
    return ToGrpcStatus(FieldError("request_id", "is empty: repeats could not be recognised"));
  }
  const int64_t wait_ms = std::clamp<int64_t>(request->wait_ms(), 0, kMaxWaitMs);
  absl::StatusOr<std::optional<v1::Lease>> lease =
      board_->Lease(*worker, request->request_id(), absl::Now() + absl::Milliseconds(wait_ms),
                    [context] { return context->IsCancelled(); });
  if (!lease.ok()) return ToGrpcStatus(lease.status());
  if (lease->has_value()) *response->mutable_lease() = **std::move(lease);
  return grpc::Status::OK;
}

grpc::Status WorkerServiceImpl::Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                                          v1::HeartbeatResponse* response) {
  const absl::StatusOr<WorkerView> worker = registry_->Find(request->session());
  if (!worker.ok()) return ToGrpcStatus(worker.status());
  const std::vector<const v1::TaskProgress*> leases(request->leases().pointer_begin(),
                                                    request->leases().pointer_end());
  for (v1::LeaseRef& lost : board_->Renew(worker->uuid, leases)) {
    *response->add_lost() = std::move(lost);
  }
  response->set_heartbeat_ms(absl::ToInt64Milliseconds(heartbeat_));
  return grpc::Status::OK;
}

grpc::Status WorkerServiceImpl::CompleteTask(grpc::ServerContext*,
                                             const v1::CompleteTaskRequest* request,
                                             v1::CompleteTaskResponse*) {
  const absl::StatusOr<WorkerView> worker = registry_->Find(request->session());
  if (!worker.ok()) return ToGrpcStatus(worker.status());
  const absl::Status status = board_->Complete(worker->uuid, *request);
  if (status.ok() && request->has_result()) registry_->CountCompleted(worker->uuid);
  return ToGrpcStatus(status);
}

grpc::Status WorkerServiceImpl::UnregisterWorker(grpc::ServerContext*,
                                                 const v1::UnregisterWorkerRequest* request,
                                                 v1::UnregisterWorkerResponse*) {
  const absl::StatusOr<std::string> uuid = registry_->Unregister(request->session());
  if (!uuid.ok()) return ToGrpcStatus(uuid.status());
  board_->Release(*uuid);
  return grpc::Status::OK;
}

grpc::Status WorkerServiceImpl::ListWorkers(grpc::ServerContext*,
                                            const v1::ListWorkersRequest* request,
                                            v1::ListWorkersResponse* response) {
  absl::StatusOr<v1::ListWorkersResponse> stored = store_->ListWorkers(*request);
  if (!stored.ok()) return ToGrpcStatus(stored.status());
  *response = *std::move(stored);
  for (v1::Worker& worker : *response->mutable_workers()) {
    registry_->Refresh(worker);
    const std::optional<v1::LeaseRef> lease = board_->LeaseOf(worker.uuid());
    if (!lease.has_value()) continue;
    *worker.mutable_lease() = *lease;
    if (worker.state() == v1::WORKER_STATE_IDLE) worker.set_state(v1::WORKER_STATE_BUSY);
  }
  return grpc::Status::OK;
}

}  // namespace amc
