// LatencyService: latency tables in and out. See latency.proto for what each call promises.
#pragma once

#include "amc/v1/latency.grpc.pb.h"
#include "base/clock.h"
#include "storage/store.h"

namespace amc {

// Thread-safe.
class LatencyServiceImpl : public v1::LatencyService::Service {
 public:
  // Both must outlive the service.
  LatencyServiceImpl(Store* store, const Clock* clock) : store_(store), clock_(clock) {}

  grpc::Status ImportLatencyTable(grpc::ServerContext* context,
                                  const v1::ImportLatencyTableRequest* request,
                                  v1::LatencyTableInfo* response) override;
  grpc::Status GetLatencyTable(grpc::ServerContext* context,
                               const v1::GetLatencyTableRequest* request,
                               v1::LatencyTable* response) override;
  grpc::Status ListLatencyTables(grpc::ServerContext* context,
                                 const v1::ListLatencyTablesRequest* request,
                                 v1::ListLatencyTablesResponse* response) override;
  grpc::Status DeleteLatencyTable(grpc::ServerContext* context,
                                  const v1::DeleteLatencyTableRequest* request,
                                  v1::DeleteLatencyTableResponse* response) override;

 private:
  Store* const store_;
  const Clock* const clock_;
};

}  // namespace amc
