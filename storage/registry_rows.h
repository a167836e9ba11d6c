// Workers and artifacts' metadata as rows. Each function runs inside the caller's transaction;
// store.h says what they promise.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/sqlite.h"
#include "storage/store.h"

namespace amc::rows {

absl::Status PutWorker(sqlite::Database& db, const v1::Worker& worker);
absl::StatusOr<v1::ListWorkersResponse> ListWorkers(sqlite::Database& db,
                                                    const v1::ListWorkersRequest& request);
absl::Status PutArtifact(sqlite::Database& db, const v1::Artifact& artifact);
absl::StatusOr<v1::Artifact> GetArtifact(sqlite::Database& db, const std::string& digest);

}  // namespace amc::rows
