// Jobs, their events and checkpoints as rows. Each function runs inside the caller's transaction;
// store.h says what they promise.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "storage/sqlite.h"
#include "storage/store.h"

namespace amc::rows {

// The integer that a job's rows refer to it by; NotFound for an unknown id.
absl::StatusOr<int64_t> JobKey(sqlite::Database& db, const std::string& id);

absl::StatusOr<v1::Job> CreateJob(sqlite::Database& db, const v1::Job& job,
                                  const std::string& request_id, const std::string& spec_hash,
                                  absl::Span<const v1::JobEvent> events);
absl::StatusOr<v1::Job> FindRequest(sqlite::Database& db, const std::string& request_id,
                                    const std::string& spec_hash);
absl::StatusOr<v1::Job> GetJob(sqlite::Database& db, const std::string& id);
absl::StatusOr<v1::ListJobsResponse> ListJobs(sqlite::Database& db,
                                              const v1::ListJobsRequest& request);
absl::StatusOr<std::vector<v1::Job>> UnfinishedJobs(sqlite::Database& db);
// Those, ended or not, whose spec names a latency table, oldest first.
absl::StatusOr<std::vector<v1::Job>> JobsOfLatencyTable(sqlite::Database& db,
                                                        const std::string& digest);
// Returns the job's key.
absl::StatusOr<int64_t> UpdateJob(sqlite::Database& db, const JobUpdate& update);
absl::Status DeleteJob(sqlite::Database& db, const std::string& id);
// The digests of all models, data packs and results of all jobs, also of results that a FINISH task
// has and its job has not yet.
absl::StatusOr<std::set<std::string>> ArtifactsOfJobs(sqlite::Database& db);
absl::StatusOr<std::vector<v1::JobEvent>> Events(sqlite::Database& db, const std::string& job,
                                                 int64_t after, int64_t limit);

// Sets the job's numerics id where it has none. FailedPrecondition if it has another.
absl::Status FixNumerics(sqlite::Database& db, int64_t job_key, const std::string& numerics_id);

absl::Status PutCheckpoint(sqlite::Database& db, int64_t job_key, const std::string& state);
absl::StatusOr<std::string> Checkpoint(sqlite::Database& db, const std::string& job);

}  // namespace amc::rows
