#include "server/worker_service.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "base/mutex.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

constexpr int64_t kMaxWaitMs = 30'000;

// One LeaseTask under way. What both sides may still need when the other has gone is shared.
class LeaseCall final : public grpc::ServerUnaryReactor {
 public:
  explicit LeaseCall(TaskBoard* board) : shared_(std::make_shared<Shared>()) {
    shared_->board = board;
  }

  void Wait(const WorkerView& worker, const std::string& request_id, absl::Time deadline,
            v1::LeaseTaskResponse* response) {
    const std::shared_ptr<Shared> shared = shared_;  // the reply may delete this call
    {
      MutexLock lock(&shared->mutex);
      shared->worker = worker.uuid;
      shared->request_id = request_id;
    }
    shared->board->Lease(worker, request_id, deadline,
                         [this, response](absl::StatusOr<std::optional<v1::Lease>> lease) {
                           const grpc::Status status = ToGrpcStatus(lease.status());
                           if (lease.ok() && lease->has_value()) {
                             *response->mutable_lease() = **std::move(lease);
                           }
                           Finish(status);
                         });
    shared->GiveUpIfGone();  // the client may have gone before the board knew of it
  }

  void OnCancel() override {
    const std::shared_ptr<Shared> shared = shared_;
    {
      MutexLock lock(&shared->mutex);
      shared->gone = true;
    }
    shared->GiveUpIfGone();
  }
  void OnDone() override { delete this; }

 private:
  struct Shared {
    TaskBoard* board = nullptr;
    Mutex mutex;
    std::string worker ABSL_GUARDED_BY(mutex);
    std::string request_id ABSL_GUARDED_BY(mutex);
    bool gone ABSL_GUARDED_BY(mutex) = false;

    void GiveUpIfGone() {
      std::string of_worker, of_request;
      {
        MutexLock lock(&mutex);
        if (!gone || worker.empty()) return;
        of_worker = worker;
        of_request = request_id;
      }
      board->GiveUp(of_worker, of_request);
    }
  };
  const std::shared_ptr<Shared> shared_;
};

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

grpc::ServerUnaryReactor* WorkerServiceImpl::LeaseTask(grpc::CallbackServerContext*,
                                                       const v1::LeaseTaskRequest* request,
                                                       v1::LeaseTaskResponse* response) {
  auto* const call = new LeaseCall(board_);  // deletes itself once gRPC is done with it
  const absl::StatusOr<WorkerView> worker = registry_->Find(request->session());
  if (!worker.ok()) {
    call->Finish(ToGrpcStatus(worker.status()));
  } else if (request->request_id().empty()) {
    call->Finish(
        ToGrpcStatus(FieldError("request_id", "is empty: repeats could not be recognised")));
  } else {
    const int64_t wait_ms = std::clamp<int64_t>(request->wait_ms(), 0, kMaxWaitMs);
    call->Wait(*worker, request->request_id(), absl::Now() + absl::Milliseconds(wait_ms), response);
  }
  return call;
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
