// Latency tables as rows. Each function runs inside the caller's transaction; store.h says what
// they promise.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/sqlite.h"
#include "storage/store.h"

namespace amc::rows {

absl::StatusOr<v1::LatencyTableInfo> PutLatencyTable(sqlite::Database& db,
                                                     const v1::LatencyTableInfo& info,
                                                     const v1::LatencyTable& table);
absl::StatusOr<v1::LatencyTable> GetLatencyTable(sqlite::Database& db, const std::string& digest);
absl::StatusOr<v1::ListLatencyTablesResponse> ListLatencyTables(
    sqlite::Database& db, const v1::ListLatencyTablesRequest& request);
absl::StatusOr<v1::LatencyTableInfo> FindLatencyTable(sqlite::Database& db,
                                                      const std::string& prefix);
absl::Status DeleteLatencyTable(sqlite::Database& db, const std::string& digest);
// OK if it is there, else NotFound.
absl::Status NeedLatencyTable(sqlite::Database& db, const std::string& digest);

}  // namespace amc::rows
