#include "storage/task_rows.h"

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "storage/job_rows.h"
#include "storage/message_blob.h"

namespace amc::rows {
namespace {

using sqlite::Blob;
using sqlite::Database;
using sqlite::Statement;

// Matches ReadTask.
constexpr char kTaskColumns[] =
    "task, kind, episode, state, epoch, lost_attempts, failed_attempts, not_before_ms, worker, "
    "expire_ms, policy, result, error, crashed_attempts, reuse_key, images, timing";

int Int(TaskState state) { return static_cast<int>(state); }
int Int(AttemptOutcome outcome) { return static_cast<int>(outcome); }

const char* Name(TaskState state) {
  switch (state) {
    case TaskState::kPending:
      return "pending";
    case TaskState::kLeased:
      return "leased";
    case TaskState::kDone:
      return "done";
    case TaskState::kFailed:
      return "failed";
  }
  return "in an unknown state";
}

const char* Name(AttemptOutcome outcome) {
  switch (outcome) {
    case AttemptOutcome::kOpen:
      return "open";
    case AttemptOutcome::kDone:
      return "done";
    case AttemptOutcome::kError:
      return "ended with an error";
    case AttemptOutcome::kLost:
      return "lost";
    case AttemptOutcome::kCancelled:
      return "cancelled";
    case AttemptOutcome::kCrashed:
      return "crashed";
  }
  return "in an unknown state";
}

std::string Label(const std::string& job, int64_t task) {
  return absl::StrCat("task ", task, " of job \"", job, "\"");
}

absl::StatusOr<TaskRecord> ReadTask(const Statement& row, const std::string& job) {
  const std::string what = Label(job, row.Int(0));
  TaskRecord task;
  task.job = job;
  task.task = row.Int(0);
  task.kind = static_cast<v1::TaskKind>(row.Int(1));
  task.episode = row.Int(2);
  task.state = static_cast<TaskState>(row.Int(3));
  task.epoch = row.Int(4);
  task.lost_attempts = row.Int(5);
  task.failed_attempts = row.Int(6);
  task.not_before_ms = row.Int(7);
  task.worker = row.Text(8);
  task.expire_ms = row.Int(9);
  AMC_ASSIGN_OR_RETURN(task.policy, FromBlob<v1::Policy>(row.Bytes(10), what));
  if (!row.IsNull(11)) {
    AMC_ASSIGN_OR_RETURN(task.result, FromBlob<v1::TaskResult>(row.Bytes(11), what));
  }
  AMC_ASSIGN_OR_RETURN(task.error, FromBlob<v1::TaskError>(row.Bytes(12), what));
  task.crashed_attempts = row.Int(13);
  task.reuse_key = row.Text(14);
  task.images = row.Int(15);
  AMC_ASSIGN_OR_RETURN(task.timing, FromBlob<v1::TimingOrder>(row.Bytes(16), what));
  return task;
}

absl::StatusOr<TaskRecord> GetTask(Database& db, int64_t job_key, const std::string& job,
                                   int64_t task) {
  AMC_ASSIGN_OR_RETURN(
      Statement row,
      db.Query(absl::StrCat("SELECT ", kTaskColumns, " FROM tasks WHERE job = ? AND task = ?"),
               job_key, task));
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return absl::NotFoundError(absl::StrCat("there is no ", Label(job, task)));
  return ReadTask(row, job);
}

// What two completions of one lease must agree in: everything but how long they took.
std::string ResultDigest(const v1::TaskResult& result) {
  v1::TaskResult measured = result;
  measured.clear_seconds();
  return Sha256Hex(ToBlob(measured));
}

struct Attempt {
  AttemptOutcome outcome;
  std::string message, result_digest;
};

constexpr char kAttemptColumns[] =
    "task, epoch, kind, episode, worker, start_ms, end_ms, outcome, message";

AttemptRecord ReadAttempt(Statement& row, const std::string& job) {
  return {.job = job,
          .task = row.Int(0),
          .epoch = row.Int(1),
          .kind = static_cast<v1::TaskKind>(row.Int(2)),
          .episode = row.Int(3),
          .worker = row.Text(4),
          .start_ms = row.Int(5),
          .end_ms = row.Int(6),
          .outcome = static_cast<AttemptOutcome>(row.Int(7)),
          .message = row.Text(8)};
}

// The attempt that a lease's holder acts on. Aborted, with the reason, if the epoch is not one that
// was granted; NotFound if the task never was.
absl::StatusOr<Attempt> GetAttempt(Database& db, int64_t job_key, const std::string& job,
                                   int64_t task, int64_t epoch) {
  AMC_ASSIGN_OR_RETURN(Statement row,
                       db.Query("SELECT outcome, message, result_digest FROM attempts "
                                "WHERE job = ? AND task = ? AND epoch = ?",
                                job_key, task, epoch));
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (found) {
    return Attempt{static_cast<AttemptOutcome>(row.Int(0)), row.Text(1), row.Text(2)};
  }
  AMC_ASSIGN_OR_RETURN(const TaskRecord record, GetTask(db, job_key, job, task));
  return absl::AbortedError(absl::StrCat(Label(job, task), ": epoch ", epoch,
                                         " was never granted, the newest is ", record.epoch));
}

absl::Status Stale(const std::string& job, int64_t task, int64_t epoch, AttemptOutcome outcome) {
  return absl::AbortedError(absl::StrCat(Label(job, task), ": the lease of epoch ", epoch,
                                         " has ended (", Name(outcome), ")"));
}

absl::Status CloseAttempt(Database& db, int64_t job_key, int64_t task, int64_t epoch,
                          AttemptOutcome outcome, const std::string& message,
                          const std::string& digest, int64_t now_ms) {
  return db
      .Run(
          "UPDATE attempts SET outcome = ?, message = ?, result_digest = ?, end_ms = ? "
          "WHERE job = ? AND task = ? AND epoch = ?",
          Int(outcome), message, digest, now_ms, job_key, task, epoch)
      .status();
}

absl::StatusOr<TaskRecord> AddTask(Database& db, const TaskRecord& task) {
  AMC_ASSIGN_OR_RETURN(const int64_t key, JobKey(db, task.job));
  {
    AMC_ASSIGN_OR_RETURN(
        Statement row,
        db.Query(absl::StrCat("SELECT ", kTaskColumns,
                              " FROM tasks WHERE job = ? AND kind = ? AND episode = ?"),
                 key, static_cast<int>(task.kind), task.episode));
    AMC_ASSIGN_OR_RETURN(const bool exists, row.Step());
    if (exists) return ReadTask(row, task.job);
  }
  AMC_ASSIGN_OR_RETURN(
      Statement row,
      db.Query("UPDATE jobs SET last_task = last_task + 1 WHERE key = ? RETURNING last_task", key));
  AMC_RETURN_IF_ERROR(row.Step().status());
  const int64_t number = row.Int(0);
  AMC_RETURN_IF_ERROR(
      db.Run("INSERT INTO tasks (job, task, kind, episode, state, epoch, lost_attempts, "
             "failed_attempts, not_before_ms, worker, expire_ms, policy, result, error, reuse_key, "
             "images, timing) VALUES (?, ?, ?, ?, ?, 0, 0, 0, ?, '', 0, ?, NULL, x'', ?, ?, ?)",
             key, number, static_cast<int>(task.kind), task.episode, Int(TaskState::kPending),
             task.not_before_ms, Blob{ToBlob(task.policy)}, task.reuse_key, task.images,
             Blob{ToBlob(task.timing)})
          .status());
  if (!task.reuse_key.empty()) {
    AMC_RETURN_IF_ERROR(db.Run("UPDATE tasks SET state = ?, worker = m.worker, result = m.result "
                               "FROM measurements m WHERE m.reuse_key = ? AND job = ? AND task = ?",
                               Int(TaskState::kDone), task.reuse_key, key, number)
                            .status());
  }
  return GetTask(db, key, task.job, number);
}

}  // namespace

absl::StatusOr<std::vector<TaskRecord>> AddTasks(Database& db, absl::Span<const TaskRecord> tasks) {
  std::vector<TaskRecord> added;
  for (const TaskRecord& task : tasks) {
    AMC_ASSIGN_OR_RETURN(TaskRecord record, AddTask(db, task));
    added.push_back(std::move(record));
  }
  return added;
}

absl::StatusOr<std::vector<TaskRecord>> Tasks(Database& db, const std::string& job) {
  AMC_ASSIGN_OR_RETURN(const int64_t key, JobKey(db, job));
  AMC_ASSIGN_OR_RETURN(
      Statement rows,
      db.Query(absl::StrCat("SELECT ", kTaskColumns, " FROM tasks WHERE job = ? ORDER BY task"),
               key));
  std::vector<TaskRecord> tasks;
  for (;;) {
    AMC_ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return tasks;
    AMC_ASSIGN_OR_RETURN(TaskRecord task, ReadTask(rows, job));
    tasks.push_back(std::move(task));
  }
}

absl::StatusOr<TaskRecord> LeaseTask(Database& db, const LeaseGrant& grant, int64_t now_ms,
                                     int64_t expire_ms) {
  const auto& [job, task, worker, numerics_id] = grant;
  AMC_ASSIGN_OR_RETURN(const int64_t key, JobKey(db, job));
  AMC_ASSIGN_OR_RETURN(TaskRecord record, GetTask(db, key, job, task));
  if (record.state != TaskState::kPending) {
    return absl::FailedPreconditionError(
        absl::StrCat(Label(job, task), " is ", Name(record.state), ", not pending"));
  }
  if (record.not_before_ms > now_ms) {
    return absl::FailedPreconditionError(
        absl::StrCat(Label(job, task), " must wait ", record.not_before_ms - now_ms, " ms more"));
  }
  if (!numerics_id.empty()) AMC_RETURN_IF_ERROR(FixNumerics(db, key, numerics_id));
  record.state = TaskState::kLeased;
  ++record.epoch;
  record.worker = worker;
  record.expire_ms = expire_ms;
  AMC_RETURN_IF_ERROR(db.Run("UPDATE tasks SET state = ?, epoch = ?, worker = ?, expire_ms = ? "
                             "WHERE job = ? AND task = ?",
                             Int(record.state), record.epoch, worker, expire_ms, key, task)
                          .status());
  AMC_RETURN_IF_ERROR(
      db.Run("INSERT INTO attempts (job, task, epoch, kind, episode, worker, start_ms, end_ms, "
             "outcome, message, result_digest) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, '', '')",
             key, task, record.epoch, static_cast<int>(record.kind), record.episode, worker, now_ms,
             Int(AttemptOutcome::kOpen))
          .status());
  return record;
}

absl::Status RenewLease(Database& db, const std::string& job, int64_t task, int64_t epoch,
                        int64_t expire_ms) {
  AMC_ASSIGN_OR_RETURN(const int64_t key, JobKey(db, job));
  AMC_ASSIGN_OR_RETURN(const Attempt attempt, GetAttempt(db, key, job, task, epoch));
  if (attempt.outcome != AttemptOutcome::kOpen) return Stale(job, task, epoch, attempt.outcome);
  return db.Run("UPDATE tasks SET expire_ms = ? WHERE job = ? AND task = ?", expire_ms, key, task)
      .status();
}

absl::Status CompleteTask(Database& db, const std::string& job, int64_t task, int64_t epoch,
                          const v1::TaskResult& result, int64_t now_ms) {
  AMC_ASSIGN_OR_RETURN(const int64_t key, JobKey(db, job));
  AMC_ASSIGN_OR_RETURN(const Attempt attempt, GetAttempt(db, key, job, task, epoch));
  const std::string digest = ResultDigest(result);
  if (attempt.outcome == AttemptOutcome::kDone) {
    if (attempt.result_digest == digest) return absl::OkStatus();
    return absl::AlreadyExistsError(absl::StrCat(Label(job, task), ": epoch ", epoch,
                                                 " was completed with another result (",
                                                 attempt.result_digest, ", now ", digest, ")"));
  }
  if (attempt.outcome != AttemptOutcome::kOpen) return Stale(job, task, epoch, attempt.outcome);
  AMC_RETURN_IF_ERROR(db.Run("UPDATE tasks SET state = ?, result = ? WHERE job = ? AND task = ?",
                             Int(TaskState::kDone), Blob{ToBlob(result)}, key, task)
                          .status());
  AMC_RETURN_IF_ERROR(
      db.Run("INSERT INTO measurements (reuse_key, worker, result) "
             "SELECT reuse_key, worker, result FROM tasks "
             "WHERE job = ? AND task = ? AND reuse_key <> '' ON CONFLICT DO NOTHING",
             key, task)
          .status());
  return CloseAttempt(db, key, task, epoch, AttemptOutcome::kDone, "", digest, now_ms);
}

absl::Status EndAttempt(Database& db, const std::string& job, int64_t task, int64_t epoch,
                        AttemptOutcome outcome, const v1::TaskError& error, TaskState next,
                        int64_t not_before_ms, int64_t now_ms) {
  if (outcome == AttemptOutcome::kOpen || outcome == AttemptOutcome::kDone) {
    return absl::InvalidArgumentError(
        absl::StrCat(Label(job, task), ": an attempt without a result cannot be ", Name(outcome)));
  }
  if (next != TaskState::kPending && next != TaskState::kFailed) {
    return absl::InvalidArgumentError(
        absl::StrCat(Label(job, task), ": cannot be ", Name(next), " without a result"));
  }
  AMC_ASSIGN_OR_RETURN(const int64_t key, JobKey(db, job));
  AMC_ASSIGN_OR_RETURN(const Attempt attempt, GetAttempt(db, key, job, task, epoch));
  if (attempt.outcome == outcome && attempt.message == error.message()) return absl::OkStatus();
  if (attempt.outcome != AttemptOutcome::kOpen) return Stale(job, task, epoch, attempt.outcome);
  const bool lost = outcome == AttemptOutcome::kLost;
  const bool failed = outcome == AttemptOutcome::kError;
  const bool crashed = outcome == AttemptOutcome::kCrashed;
  const bool retryable = failed && error.kind() == v1::TASK_ERROR_KIND_RETRYABLE;
  AMC_RETURN_IF_ERROR(
      db.Run("UPDATE tasks SET state = ?, not_before_ms = ?, lost_attempts = lost_attempts + ?, "
             "failed_attempts = failed_attempts + ?, crashed_attempts = crashed_attempts + ? "
             "WHERE job = ? AND task = ?",
             Int(next), not_before_ms, lost, retryable, crashed, key, task)
          .status());
  if (failed) {
    AMC_RETURN_IF_ERROR(db.Run("UPDATE tasks SET error = ? WHERE job = ? AND task = ?",
                               Blob{ToBlob(error)}, key, task)
                            .status());
  }
  return CloseAttempt(db, key, task, epoch, outcome, error.message(), "", now_ms);
}

absl::Status ExtendOpenLeases(Database& db, int64_t expire_ms) {
  return db
      .Run("UPDATE tasks SET expire_ms = ? WHERE state = ?", expire_ms, Int(TaskState::kLeased))
      .status();
}

absl::StatusOr<std::vector<AttemptRecord>> Attempts(Database& db, const std::string& job) {
  AMC_ASSIGN_OR_RETURN(const int64_t key, JobKey(db, job));
  AMC_ASSIGN_OR_RETURN(Statement rows, db.Query(absl::StrCat("SELECT ", kAttemptColumns,
                                                             " FROM attempts WHERE job = ? "
                                                             "ORDER BY task, epoch"),
                                                key));
  std::vector<AttemptRecord> attempts;
  for (;;) {
    AMC_ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return attempts;
    attempts.push_back(ReadAttempt(rows, job));
  }
}

absl::StatusOr<AttemptRecord> FindAttempt(Database& db, const std::string& job, int64_t task,
                                          int64_t epoch) {
  AMC_ASSIGN_OR_RETURN(const int64_t key, JobKey(db, job));
  AMC_ASSIGN_OR_RETURN(
      Statement row,
      db.Query(absl::StrCat("SELECT ", kAttemptColumns,
                            " FROM attempts WHERE job = ? AND task = ? AND epoch = ?"),
               key, task, epoch));
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (found) return ReadAttempt(row, job);
  return absl::NotFoundError(absl::StrCat(Label(job, task), " has no epoch ", epoch));
}

absl::Status RemoveEvaluated(Database& db, int64_t job_key, int64_t episode) {
  AMC_ASSIGN_OR_RETURN(
      Statement row,
      db.Query("DELETE FROM tasks WHERE job = ? AND kind = ? AND episode = ? RETURNING task, state",
               job_key, static_cast<int>(v1::TASK_KIND_EVALUATE), episode));
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return absl::OkStatus();
  const auto state = static_cast<TaskState>(row.Int(1));
  if (state == TaskState::kDone) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("episode ", episode,
                                                    " cannot be committed: task ", row.Int(0),
                                                    " is ", Name(state), ", not done"));
}

}  // namespace amc::rows
