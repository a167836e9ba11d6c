#include "server/worker_service.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "server/rpc/status_convert.h"
#include "storage/page_token.h"

namespace amc {
namespace {

constexpr int64_t kMaxWaitMs = 30'000;
constexpr size_t kMaxCrashMessage = 2000;
constexpr absl::Duration kBusyAtMost = absl::Milliseconds(400);
constexpr double kBusyShare = 0.4;  // of an idle worker's interval
constexpr absl::Duration kCallSpacing =
    absl::Milliseconds(1);  // between any two busy workers' calls

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
  const absl::StatusOr<WorkerRegistry::Caller> worker = registry_->Find(request->session());
  if (!worker.ok()) {
    call->Finish(ToGrpcStatus(worker.status()));
  } else if (worker->draining) {
    response->set_drain(true);
    call->Finish(grpc::Status::OK);
  } else if (request->request_id().empty()) {
    call->Finish(
        ToGrpcStatus(FieldError("request_id", "is empty: repeats could not be recognised")));
  } else {
    const int64_t wait_ms = std::clamp<int64_t>(request->wait_ms(), 0, kMaxWaitMs);
    call->Wait(worker->view, request->request_id(), absl::Now() + absl::Milliseconds(wait_ms),
               response);
  }
  return call;
}

grpc::Status WorkerServiceImpl::Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                                          v1::HeartbeatResponse* response) {
  const bool busy = request->leases_size() > 0;
  const absl::StatusOr<WorkerRegistry::Caller> worker =
      registry_->Beat(request->session(), busy ? &request->leases(0) : nullptr);
  if (!worker.ok()) return ToGrpcStatus(worker.status());
  const std::vector<const v1::TaskProgress*> leases(request->leases().pointer_begin(),
                                                    request->leases().pointer_end());
  for (v1::LeaseRef& lost : board_->Renew(worker->view.uuid, leases)) {
    *response->add_lost() = std::move(lost);
  }
  response->set_heartbeat_ms(absl::ToInt64Milliseconds(HeartbeatInterval(busy)));
  response->set_drain(worker->draining);
  return grpc::Status::OK;
}

grpc::Status WorkerServiceImpl::CompleteTask(grpc::ServerContext*,
                                             const v1::CompleteTaskRequest* request,
                                             v1::CompleteTaskResponse*) {
  const absl::StatusOr<WorkerRegistry::Caller> worker = registry_->Find(request->session());
  if (!worker.ok()) return ToGrpcStatus(worker.status());
  const std::string& uuid = worker->view.uuid;
  bool is_new = false;
  const absl::Status status = board_->Complete(uuid, *request, &is_new);
  if (status.ok() && is_new && request->has_result()) registry_->CountCompleted(uuid);
  if (!status.ok()) {
    AMC_LOG(kWarning) << "completion of task " << request->lease().task() << " of job "
                      << request->lease().job() << " at epoch " << request->lease().epoch()
                      << " by worker " << uuid << " refused: " << status;
  }
  return ToGrpcStatus(status);
}

grpc::Status WorkerServiceImpl::UnregisterWorker(grpc::ServerContext*,
                                                 const v1::UnregisterWorkerRequest* request,
                                                 v1::UnregisterWorkerResponse*) {
  const absl::StatusOr<std::string> uuid = registry_->Unregister(request->session());
  if (!uuid.ok()) return ToGrpcStatus(uuid.status());
  board_->Release(*uuid, AttemptOutcome::kCancelled, "the worker said goodbye");
  return grpc::Status::OK;
}

grpc::Status WorkerServiceImpl::ReportCrash(grpc::ServerContext*,
                                            const v1::ReportCrashRequest* request,
                                            v1::ReportCrashResponse*) {
  const std::string message = ToUtf8(request->message().substr(0, kMaxCrashMessage));
  const absl::StatusOr<std::string> uuid = registry_->Crash(request->session(), message);
  if (!uuid.ok()) return ToGrpcStatus(uuid.status());
  board_->Release(*uuid,
                  request->from_outside() ? AttemptOutcome::kCancelled : AttemptOutcome::kCrashed,
                  absl::StrCat("the worker's process died", message.empty() ? "" : ": ", message));
  return grpc::Status::OK;
}

grpc::Status WorkerServiceImpl::DrainWorkers(grpc::ServerContext*,
                                             const v1::DrainWorkersRequest* request,
                                             v1::DrainWorkersResponse* response) {
  if (request->all() == (request->uuids_size() > 0)) {
    return ToGrpcStatus(FieldError(
        "uuids", request->all() ? "set together with all" : "is empty: name workers, or set all"));
  }
  const absl::StatusOr<std::vector<std::string>> uuids = registry_->Drain(*request);
  if (!uuids.ok()) return ToGrpcStatus(uuids.status());
  for (const std::string& uuid : *uuids) {
    board_->EndPoll(uuid);  // it learns now, not when its long poll is over
    response->add_uuids(uuid);
  }
  return grpc::Status::OK;
}

grpc::Status WorkerServiceImpl::ListWorkers(grpc::ServerContext*,
                                            const v1::ListWorkersRequest* request,
                                            v1::ListWorkersResponse* response) {
  absl::StatusOr<v1::ListWorkersResponse> listed =
      request->present() ? ListPresent(*request) : store_->ListWorkers(*request);
  if (!listed.ok()) return ToGrpcStatus(listed.status());
  *response = *std::move(listed);
  const std::map<std::string, v1::LeaseRef> held = board_->HeldLeases();
  for (v1::Worker& worker : *response->mutable_workers()) {
    registry_->Refresh(worker);
    const auto lease = held.find(worker.uuid());
    if (lease == held.end()) continue;
    *worker.mutable_lease() = lease->second;
    if (worker.state() == v1::WORKER_STATE_IDLE) worker.set_state(v1::WORKER_STATE_BUSY);
  }
  return grpc::Status::OK;
}

absl::StatusOr<v1::ListWorkersResponse> WorkerServiceImpl::ListPresent(
    const v1::ListWorkersRequest& request) const {
  AMC_ASSIGN_OR_RETURN(const int64_t size, PageSize(request.page_size(), 20, 1000));
  const uint64_t fingerprint = QueryFingerprint(request);
  std::string after;
  if (!request.page_token().empty()) {
    AMC_ASSIGN_OR_RETURN(const PageKey last, DecodePageToken(request.page_token(), fingerprint));
    after = last.text;
  }
  v1::ListWorkersResponse response;
  for (v1::Worker& worker : registry_->PresentWorkers()) {
    if (worker.uuid() <= after) continue;
    if (response.workers_size() == size) {
      const std::string& last = response.workers(response.workers_size() - 1).uuid();
      response.set_next_page_token(EncodePageToken(fingerprint, {{}, 0, last}));
      break;
    }
    *response.add_workers() = std::move(worker);
  }
  return response;
}

absl::Duration WorkerServiceImpl::HeartbeatInterval(bool busy) const {
  if (!busy) return heartbeat_;
  const auto workers = static_cast<double>(registry_->present());
  return std::min(heartbeat_,
                  std::max(std::min(heartbeat_ * kBusyShare, kBusyAtMost), workers * kCallSpacing));
}

}  // namespace amc
