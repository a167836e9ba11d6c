#include "server/latency_service.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/rpc/latency_convert.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

// What a request may have, with room for the rest of it: a table that grew by extending can still
// be imported elsewhere.
constexpr size_t kMaxTableBytes = (size_t{8} << 20) - 4096;

// The stored table whose digest begins with a request's field `digest`.
absl::StatusOr<std::string> Resolve(Store& store, const std::string& digest) {
  const absl::StatusOr<v1::LatencyTableInfo> found = store.FindLatencyTable(digest);
  if (found.ok()) return found->digest();
  return absl::IsInvalidArgument(found.status()) ? AtField(found.status(), "digest")
                                                 : found.status();
}

// `more` added to a stored table.
absl::StatusOr<LatencyTable> Extended(Store& store, const std::string& digest,
                                      const LatencyTable& more) {
  const absl::StatusOr<v1::LatencyTableInfo> base = store.FindLatencyTable(digest);
  if (!base.ok()) return AtField(base.status(), "extend");
  AMC_ASSIGN_OR_RETURN(const v1::LatencyTable stored, store.GetLatencyTable(base->digest()));
  absl::StatusOr<LatencyTable> extended = ExtendLatencyTable(FromProto(stored), more);
  if (!extended.ok()) return AtField(extended.status(), "table");
  if (const size_t bytes = ToProto(*extended).ByteSizeLong(); bytes > kMaxTableBytes) {
    return AtField(absl::ResourceExhaustedError(
                       absl::StrCat("with the ", stored.rows_size(), " rows of ", base->digest(),
                                    " it has ", extended->rows.size(), " rows and ", bytes,
                                    " bytes, more than the ", kMaxTableBytes, " of a table")),
                   "table");
  }
  return extended;
}

}  // namespace

grpc::Status LatencyServiceImpl::ImportLatencyTable(grpc::ServerContext*,
                                                    const v1::ImportLatencyTableRequest* request,
                                                    v1::LatencyTableInfo* response) {
  absl::StatusOr<v1::LatencyTableInfo> info = Import(*request);
  if (!info.ok()) return ToGrpcStatus(info.status());
  *response = *std::move(info);
  return grpc::Status::OK;
}

// Tables are known by their contents and never change: all that another call can do between the
// steps is to delete the one that is extended.
absl::StatusOr<v1::LatencyTableInfo> LatencyServiceImpl::Import(
    const v1::ImportLatencyTableRequest& request) {
  LatencyTable table = FromProto(request.table());
  if (request.extend().empty()) {
    AMC_RETURN_IF_ERROR(AtField(CheckLatencyTable(table), "table"));
    SortLatencyTable(table);
  } else {
    AMC_ASSIGN_OR_RETURN(table, Extended(*store_, request.extend(), table));
  }
  v1::LatencyTableInfo info = DescribeLatencyTable(table);
  info.set_import_time_ms(absl::ToUnixMillis(clock_->Now()));
  return store_->PutLatencyTable(info, ToProto(table));
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
