// Tasks, leases and attempts as rows. Each function runs inside the caller's transaction; store.h
// says what they promise.
//
// A task's lease is fenced by its epoch: whoever acts on the lease names the epoch, and is Aborted
// once a newer one was granted or the lease has ended. The attempt (job, task, epoch) remembers how
// each lease ended, so that a repeat is recognised even after the task has gone.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "storage/sqlite.h"
#include "storage/store.h"

namespace amc::rows {

absl::StatusOr<std::vector<TaskRecord>> AddTasks(sqlite::Database& db,
                                                 absl::Span<const TaskRecord> tasks);
absl::StatusOr<std::vector<TaskRecord>> Tasks(sqlite::Database& db, const std::string& job);
absl::StatusOr<TaskRecord> LeaseTask(sqlite::Database& db, const LeaseGrant& grant, int64_t now_ms,
                                     int64_t expire_ms);
absl::Status RenewLease(sqlite::Database& db, const std::string& job, int64_t task, int64_t epoch,
                        int64_t expire_ms);
absl::Status CompleteTask(sqlite::Database& db, const std::string& job, int64_t task, int64_t epoch,
                          const v1::TaskResult& result, int64_t now_ms);
absl::Status EndAttempt(sqlite::Database& db, const std::string& job, int64_t task, int64_t epoch,
                        AttemptOutcome outcome, const v1::TaskError& error, TaskState next,
                        int64_t not_before_ms, int64_t now_ms);
absl::Status ExtendOpenLeases(sqlite::Database& db, int64_t expire_ms);
absl::StatusOr<std::vector<AttemptRecord>> Attempts(sqlite::Database& db, const std::string& job);
absl::StatusOr<AttemptRecord> FindAttempt(sqlite::Database& db, const std::string& job,
                                          int64_t task, int64_t epoch);

// Removes the EVALUATE task of an episode that is being committed, if there is one.
// FailedPrecondition while it is not done.
absl::Status RemoveEvaluated(sqlite::Database& db, int64_t job_key, int64_t episode);

}  // namespace amc::rows
