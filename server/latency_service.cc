#include "server/latency_service.h"

#include <string>
#include <utility>

#include "server/latency_import.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

// The stored table whose digest begins with a request's field `digest`.
absl::StatusOr<std::string> Resolve(Store& store, const std::string& digest) {
  const absl::StatusOr<v1::LatencyTableInfo> found = store.FindLatencyTable(digest);
  if (found.ok()) return found->digest();
  return absl::IsInvalidArgument(found.status()) ? AtField(found.status(), "digest")
                                                 : found.status();
}

}  // namespace

grpc::Status LatencyServiceImpl::ImportLatencyTable(grpc::ServerContext*,
                                                    const v1::ImportLatencyTableRequest* request,
                                                    v1::LatencyTableInfo* response) {
  absl::StatusOr<v1::LatencyTableInfo> info =
      amc::ImportLatencyTable(*store_, *request, clock_->Now());
  if (!info.ok()) return ToGrpcStatus(info.status());
  *response = *std::move(info);
  return grpc::Status::OK;
}

grpc::Status LatencyServiceImpl::GetLatencyTable(grpc::ServerContext*,
                                                 const v1::GetLatencyTableRequest* request,
                                                 v1::LatencyTable* response) {
  const absl::StatusOr<std::string> digest = Resolve(*store_, request->digest());
  if (!digest.ok()) return ToGrpcStatus(digest.status());
  absl::StatusOr<v1::LatencyTable> table = store_->GetLatencyTable(*digest);
  if (!table.ok()) return ToGrpcStatus(table.status());
  *response = *std::move(table);
  return grpc::Status::OK;
}

grpc::Status LatencyServiceImpl::ListLatencyTables(grpc::ServerContext*,
                                                   const v1::ListLatencyTablesRequest* request,
                                                   v1::ListLatencyTablesResponse* response) {
  absl::StatusOr<v1::ListLatencyTablesResponse> tables = store_->ListLatencyTables(*request);
  if (!tables.ok()) return ToGrpcStatus(tables.status());
  *response = *std::move(tables);
  return grpc::Status::OK;
}

grpc::Status LatencyServiceImpl::DeleteLatencyTable(grpc::ServerContext*,
                                                    const v1::DeleteLatencyTableRequest* request,
                                                    v1::DeleteLatencyTableResponse*) {
  const absl::StatusOr<std::string> digest = Resolve(*store_, request->digest());
  if (!digest.ok()) return ToGrpcStatus(digest.status());
  return ToGrpcStatus(store_->DeleteLatencyTable(*digest));
}

}  // namespace amc
