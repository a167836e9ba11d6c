// WorkerService on the registry and the task board. See worker.proto for what each call promises.
//
// LeaseTask, which waits, is of gRPC's callback kind: a waiting worker holds no thread.
#pragma once

#include "absl/time/time.h"
#include "amc/v1/worker.grpc.pb.h"
#include "server/task_board.h"
#include "server/worker_registry.h"

namespace amc {

// Thread-safe.
class WorkerServiceImpl
    : public v1::WorkerService::WithCallbackMethod_LeaseTask<v1::WorkerService::Service> {
 public:
  // All must outlive the service; `heartbeat` is what idle workers are told.
  WorkerServiceImpl(WorkerRegistry* registry, TaskBoard* board, Store* store,
                    absl::Duration heartbeat)
      : registry_(registry), board_(board), store_(store), heartbeat_(heartbeat) {}

  grpc::Status RegisterWorker(grpc::ServerContext* context,
                              const v1::RegisterWorkerRequest* request,
                              v1::RegisterWorkerResponse* response) override;
  grpc::ServerUnaryReactor* LeaseTask(grpc::CallbackServerContext* context,
                                      const v1::LeaseTaskRequest* request,
                                      v1::LeaseTaskResponse* response) override;
  grpc::Status Heartbeat(grpc::ServerContext* context, const v1::HeartbeatRequest* request,
                         v1::HeartbeatResponse* response) override;
  grpc::Status CompleteTask(grpc::ServerContext* context, const v1::CompleteTaskRequest* request,
                            v1::CompleteTaskResponse* response) override;
  grpc::Status UnregisterWorker(grpc::ServerContext* context,
                                const v1::UnregisterWorkerRequest* request,
                                v1::UnregisterWorkerResponse* response) override;
  grpc::Status ReportCrash(grpc::ServerContext* context, const v1::ReportCrashRequest* request,
                           v1::ReportCrashResponse* response) override;
  grpc::Status DrainWorkers(grpc::ServerContext* context, const v1::DrainWorkersRequest* request,
                            v1::DrainWorkersResponse* response) override;
  grpc::Status ListWorkers(grpc::ServerContext* context, const v1::ListWorkersRequest* request,
                           v1::ListWorkersResponse* response) override;

 private:
  // How often a worker calls: busy ones more often, so that they stop soon after a cancellation,
  // unless there are very many.
  absl::Duration HeartbeatInterval(bool busy) const;
  absl::StatusOr<v1::ListWorkersResponse> ListPresent(const v1::ListWorkersRequest& request) const;

  WorkerRegistry* const registry_;
  TaskBoard* const board_;
  Store* const store_;
  const absl::Duration heartbeat_;
};

}  // namespace amc
