// AdminService: how the server is, and a copy of what it knows. See admin.proto.
#pragma once

#include <string>

#include "amc/v1/admin.grpc.pb.h"
#include "base/clock.h"
#include "server/artifact_catalog.h"
#include "server/job_manager.h"
#include "server/stream_guard.h"
#include "server/task_board.h"
#include "server/worker_registry.h"
#include "storage/store.h"

namespace amc {

// What the service reports on; all outlive it.
struct AdminContext {
  Store* store = nullptr;
  ArtifactCatalog* catalog = nullptr;
  JobManager* jobs = nullptr;
  TaskBoard* board = nullptr;
  WorkerRegistry* registry = nullptr;
  StreamGuard* streams = nullptr;
  const Clock* clock = nullptr;
  std::string data_folder;  // amc.db, and room for its copies
};

// Thread-safe.
class AdminServiceImpl : public v1::AdminService::Service {
 public:
  explicit AdminServiceImpl(AdminContext context)
      : context_(std::move(context)), start_(context_.clock->Now()) {}

  grpc::Status GetServerStatus(grpc::ServerContext* context,
                               const v1::GetServerStatusRequest* request,
                               v1::ServerStatus* response) override;
  grpc::Status BackupDatabase(grpc::ServerContext* context,
                              const v1::BackupDatabaseRequest* request,
                              grpc::ServerWriter<v1::BackupDatabaseResponse>* writer) override;

 private:
  absl::StatusOr<v1::ServerStatus> Status() const;
  absl::Status Backup(grpc::ServerContext& context,
                      grpc::ServerWriter<v1::BackupDatabaseResponse>& writer);

  const AdminContext context_;
  const absl::Time start_;
};

}  // namespace amc
