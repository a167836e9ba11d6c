// Workers and artifacts' metadata as rows. Each function runs inside the caller's transaction;
// store.h says what they promise.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/sqlite.h"
#include "storage/store.h"

namespace amc::rows {

absl::Status PutWorker(sqlite::Database& db, const v1::Worker& worker);
absl::StatusOr<v1::ListWorkersResponse> ListWorkers(sqlite::Database& db,
                                                    const v1::ListWorkersRequest& request);
absl::Status DropWorkers(sqlite::Database& db, int64_t before_ms,
                         const std::set<std::string>& keep);

absl::Status PutArtifact(sqlite::Database& db, const v1::Artifact& artifact);
absl::StatusOr<v1::Artifact> GetArtifact(sqlite::Database& db, const std::string& digest);
absl::StatusOr<v1::ListArtifactsResponse> ListArtifacts(sqlite::Database& db,
                                                        const v1::ListArtifactsRequest& request);
absl::Status UseArtifact(sqlite::Database& db, const std::string& digest, int64_t now_ms);
absl::StatusOr<int64_t> ArtifactBytes(sqlite::Database& db);
absl::StatusOr<std::vector<std::string>> CollectArtifacts(sqlite::Database& db, int64_t before_ms);

}  // namespace amc::rows
