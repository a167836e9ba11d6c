#include "storage/job_rows.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "storage/latency_rows.h"
#include "storage/message_blob.h"
#include "storage/page_token.h"
#include "storage/registry_rows.h"

namespace amc::rows {
namespace {

using sqlite::Blob;
using sqlite::Database;
using sqlite::Statement;

constexpr int64_t kDefaultPage = 20, kMaxPage = 100;
// Matches ReadJob.
constexpr char kJobColumns[] = "key, id, state, numerics_id, last_sequence, body";

bool Ended(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED ||
         state == v1::JOB_STATE_CANCELLED;
}

absl::StatusOr<v1::Job> ReadJob(const Statement& row) {
  AMC_ASSIGN_OR_RETURN(v1::Job job, FromBlob<v1::Job>(row.Bytes(5), "job " + row.Text(1)));
  job.set_id(row.Text(1));
  job.set_state(static_cast<v1::JobState>(row.Int(2)));
  job.set_numerics_id(row.Text(3));
  job.set_last_sequence(row.Int(4));
  return job;
}

// The job without what has a column: each value is stored once.
std::string JobBody(const v1::Job& job) {
  v1::Job body = job;
  body.clear_id();
  body.clear_state();
  body.clear_numerics_id();
  body.clear_last_sequence();
  return ToBlob(body);
}

// Appends `events` after the job's last one. Returns the number of the new last one.
absl::StatusOr<int64_t> AppendEvents(Database& db, int64_t job_key, int64_t last,
                                     absl::Span<const v1::JobEvent> events) {
  for (const v1::JobEvent& event : events) {
    v1::JobEvent body = event;
    body.clear_sequence();
    AMC_RETURN_IF_ERROR(db.Run("INSERT INTO events (job, sequence, body) VALUES (?, ?, ?)", job_key,
                               ++last, Blob{ToBlob(body)})
                            .status());
  }
  return last;
}

absl::StatusOr<std::vector<v1::Job>> ReadJobs(Statement rows) {
  std::vector<v1::Job> jobs;
  for (;;) {
    AMC_ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return jobs;
    AMC_ASSIGN_OR_RETURN(v1::Job job, ReadJob(rows));
    jobs.push_back(std::move(job));
  }
}

void AddArtifacts(const v1::JobResult& result, std::set<std::string>& digests) {
  for (const std::string& digest : {result.model(), result.outcomes()}) {
    if (!digest.empty()) digests.insert(digest);
  }
}

// What a job has made, models and outcomes: its results, and that of a FINISH task that was
// completed before the job could take it over (a cancellation, the server's end); the job will when
// it goes on.
absl::StatusOr<std::set<std::string>> ResultsOf(Database& db, const v1::Job& job) {
  std::set<std::string> digests;
  AddArtifacts(job.result(), digests);
  for (const v1::JobResult& result : job.series()) AddArtifacts(result, digests);
  AMC_ASSIGN_OR_RETURN(Statement rows,
                       db.Query("SELECT result FROM tasks WHERE kind = ? AND result IS NOT NULL "
                                "AND job = (SELECT key FROM jobs WHERE id = ?)",
                                static_cast<int>(v1::TASK_KIND_FINISH), job.id()));
  for (;;) {
    AMC_ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return digests;
    AMC_ASSIGN_OR_RETURN(
        const v1::TaskResult result,
        FromBlob<v1::TaskResult>(rows.Bytes(0), "the FINISH task of job " + job.id()));
    AddArtifacts(result.result(), digests);
  }
}

// Whether a worker is about to finish a job of this model: it may have uploaded a result already
// that no row names yet, with the same bytes as another job's.
absl::StatusOr<bool> AnotherFinishes(Database& db, const std::string& model) {
  AMC_ASSIGN_OR_RETURN(
      Statement rows,
      db.Query(absl::StrCat("SELECT ", kJobColumns,
                            " FROM jobs WHERE EXISTS (SELECT 1 FROM tasks "
                            "WHERE job = jobs.key AND kind = ? AND state = ?)"),
               static_cast<int>(v1::TASK_KIND_FINISH), static_cast<int>(TaskState::kLeased)));
  AMC_ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, ReadJobs(std::move(rows)));
  return std::any_of(jobs.begin(), jobs.end(),
                     [&model](const v1::Job& job) { return job.spec().model() == model; });
}

}  // namespace

absl::StatusOr<int64_t> JobKey(Database& db, const std::string& id) {
  AMC_ASSIGN_OR_RETURN(Statement row, db.Query("SELECT key FROM jobs WHERE id = ?", id));
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return absl::NotFoundError(absl::StrCat("there is no job \"", id, "\""));
  return row.Int(0);
}

absl::StatusOr<v1::Job> CreateJob(Database& db, const v1::Job& job, const std::string& request_id,
                                  const std::string& spec_hash,
                                  absl::Span<const v1::JobEvent> events) {
  if (job.id().empty() || request_id.empty()) {
    return absl::InvalidArgumentError("a job needs an id and a request_id");
  }
  absl::StatusOr<v1::Job> repeated = FindRequest(db, request_id, spec_hash);
  if (!absl::IsNotFound(repeated.status())) return repeated;
  AMC_ASSIGN_OR_RETURN(
      Statement row,
      db.Query("INSERT INTO jobs (id, request_id, spec_hash, state, numerics_id, last_sequence, "
               "last_task, body) VALUES (?, ?, ?, ?, ?, ?, 0, ?) RETURNING key",
               job.id(), request_id, spec_hash, static_cast<int>(job.state()), job.numerics_id(),
               events.size(), Blob{JobBody(job)}));
  const absl::Status inserted = row.Step().status();
  if (absl::IsAlreadyExists(inserted)) {
    return absl::AlreadyExistsError(absl::StrCat("there is a job \"", job.id(), "\" already"));
  }
  AMC_RETURN_IF_ERROR(inserted);
  for (const std::string& digest : {job.spec().model(), job.spec().data()}) {
    if (!digest.empty()) AMC_RETURN_IF_ERROR(UseArtifact(db, digest, job.create_time_ms()));
  }
  for (const std::string& table : {job.spec().latency().table(), job.spec().build().extend()}) {
    if (!table.empty()) AMC_RETURN_IF_ERROR(NeedLatencyTable(db, table));
  }
  AMC_RETURN_IF_ERROR(AppendEvents(db, row.Int(0), 0, events).status());
  return GetJob(db, job.id());
}

absl::StatusOr<v1::Job> FindRequest(Database& db, const std::string& request_id,
                                    const std::string& spec_hash) {
  AMC_ASSIGN_OR_RETURN(Statement row,
                       db.Query("SELECT id, spec_hash FROM jobs WHERE request_id = ?", request_id));
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return absl::NotFoundError(absl::StrCat("no job of request \"", request_id, "\""));
  if (row.Bytes(1) == spec_hash) return GetJob(db, row.Text(0));
  return absl::AlreadyExistsError(absl::StrCat("request_id \"", request_id, "\" made job \"",
                                               row.Bytes(0), "\" from another spec"));
}

absl::StatusOr<v1::Job> GetJob(Database& db, const std::string& id) {
  AMC_ASSIGN_OR_RETURN(
      Statement row, db.Query(absl::StrCat("SELECT ", kJobColumns, " FROM jobs WHERE id = ?"), id));
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return absl::NotFoundError(absl::StrCat("there is no job \"", id, "\""));
  return ReadJob(row);
}

absl::StatusOr<v1::ListJobsResponse> ListJobs(Database& db, const v1::ListJobsRequest& request) {
  AMC_ASSIGN_OR_RETURN(const int64_t size, PageSize(request.page_size(), kDefaultPage, kMaxPage));
  const uint64_t fingerprint = QueryFingerprint(request);
  int64_t before = INT64_MAX;
  if (!request.page_token().empty()) {
    AMC_ASSIGN_OR_RETURN(const PageKey key, DecodePageToken(request.page_token(), fingerprint));
    before = key.number;
  }
  const std::string states =
      request.states().empty()
          ? ""
          : absl::StrCat("AND state IN (", absl::StrJoin(request.states(), ", "), ") ");
  AMC_ASSIGN_OR_RETURN(Statement rows,
                       db.Query(absl::StrCat("SELECT ", kJobColumns, " FROM jobs WHERE key < ? ",
                                             states, "ORDER BY key DESC LIMIT ?"),
                                before, size + 1));
  v1::ListJobsResponse response;
  PageKey last;
  for (;;) {
    AMC_ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return response;
    if (response.jobs_size() == size) {
      response.set_next_page_token(EncodePageToken(fingerprint, last));
      return response;
    }
    AMC_ASSIGN_OR_RETURN(*response.add_jobs(), ReadJob(rows));
    last.number = rows.Int(0);
  }
}

absl::StatusOr<std::vector<v1::Job>> UnfinishedJobs(Database& db) {
  AMC_ASSIGN_OR_RETURN(
      Statement rows,
      db.Query(absl::StrCat("SELECT ", kJobColumns,
                            " FROM jobs WHERE state NOT IN (?, ?, ?) ORDER BY key"),
               static_cast<int>(v1::JOB_STATE_SUCCEEDED), static_cast<int>(v1::JOB_STATE_FAILED),
               static_cast<int>(v1::JOB_STATE_CANCELLED)));
  return ReadJobs(std::move(rows));
}

// The digest stands in the body as it is; where in it, only the message knows.
absl::StatusOr<std::vector<v1::Job>> JobsOfLatencyTable(Database& db, const std::string& digest) {
  AMC_ASSIGN_OR_RETURN(Statement rows,
                       db.Query(absl::StrCat("SELECT ", kJobColumns,
                                             " FROM jobs WHERE instr(body, ?) > 0 ORDER BY key"),
                                Blob{digest}));
  AMC_ASSIGN_OR_RETURN(std::vector<v1::Job> jobs, ReadJobs(std::move(rows)));
  std::erase_if(jobs, [&](const v1::Job& job) {
    return job.spec().latency().table() != digest && job.spec().build().extend() != digest;
  });
  return jobs;
}

absl::StatusOr<int64_t> UpdateJob(Database& db, const JobUpdate& update) {
  const v1::Job& job = update.job;
  AMC_ASSIGN_OR_RETURN(Statement row,
                       db.Query("SELECT key, last_sequence FROM jobs WHERE id = ?", job.id()));
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return absl::NotFoundError(absl::StrCat("there is no job \"", job.id(), "\""));
  const int64_t key = row.Int(0);
  AMC_ASSIGN_OR_RETURN(const int64_t last, AppendEvents(db, key, row.Int(1), update.events));
  if (!job.numerics_id().empty()) AMC_RETURN_IF_ERROR(FixNumerics(db, key, job.numerics_id()));
  AMC_RETURN_IF_ERROR(db.Run("UPDATE jobs SET state = ?, last_sequence = ?, body = ? WHERE key = ?",
                             static_cast<int>(job.state()), last, Blob{JobBody(job)}, key)
                          .status());
  if (update.forgive_attempts) {
    AMC_RETURN_IF_ERROR(db.Run("UPDATE tasks SET lost_attempts = 0, failed_attempts = 0, "
                               "crashed_attempts = 0, not_before_ms = 0 WHERE job = ?",
                               key)
                            .status());
  }
  if (update.drop_drawn) {
    AMC_RETURN_IF_ERROR(db.Run("DELETE FROM tasks WHERE job = ? AND kind <> ?", key,
                               static_cast<int>(v1::TASK_KIND_BASELINE))
                            .status());
  }
  return key;
}

absl::Status DeleteJob(Database& db, const std::string& id) {
  AMC_ASSIGN_OR_RETURN(const v1::Job job, GetJob(db, id));
  if (!Ended(job.state())) {
    return absl::FailedPreconditionError(absl::StrCat(
        "job \"", id, "\" is ", v1::JobState_Name(job.state()), ": cancel it before deleting it"));
  }
  AMC_ASSIGN_OR_RETURN(const std::set<std::string> results, ResultsOf(db, job));
  AMC_ASSIGN_OR_RETURN(const bool shared, AnotherFinishes(db, job.spec().model()));
  // An artifact that somebody uploaded or submitted since is kept for them.
  const auto free = [&db](const std::string& digest, int64_t since_ms) {
    return db
        .Run("UPDATE artifacts SET use_time_ms = 0 WHERE digest = ? AND use_time_ms <= ?", digest,
             since_ms)
        .status();
  };
  AMC_RETURN_IF_ERROR(free(job.spec().model(), job.create_time_ms()));
  AMC_RETURN_IF_ERROR(free(job.spec().data(), job.create_time_ms()));
  for (const std::string& digest : results) {
    if (!shared) AMC_RETURN_IF_ERROR(free(digest, job.end_time_ms()));
  }
  return db.Run("DELETE FROM jobs WHERE id = ?", id).status();
}

absl::StatusOr<std::set<std::string>> ArtifactsOfJobs(Database& db) {
  AMC_ASSIGN_OR_RETURN(Statement rows,
                       db.Query(absl::StrCat("SELECT ", kJobColumns, " FROM jobs")));
  std::set<std::string> digests;
  for (;;) {
    AMC_ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return digests;
    AMC_ASSIGN_OR_RETURN(const v1::Job job, ReadJob(rows));
    digests.insert({job.spec().model(), job.spec().data()});
    AMC_ASSIGN_OR_RETURN(std::set<std::string> results, ResultsOf(db, job));
    digests.merge(results);
  }
}

absl::StatusOr<std::vector<v1::JobEvent>> Events(Database& db, const std::string& job,
                                                 int64_t after, int64_t limit) {
  AMC_ASSIGN_OR_RETURN(const int64_t key, JobKey(db, job));
  AMC_ASSIGN_OR_RETURN(Statement rows,
                       db.Query("SELECT sequence, body FROM events WHERE job = ? AND sequence > ? "
                                "ORDER BY sequence LIMIT ?",
                                key, after, std::max<int64_t>(limit, 0)));
  std::vector<v1::JobEvent> events;
  for (;;) {
    AMC_ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return events;
    AMC_ASSIGN_OR_RETURN(
        v1::JobEvent event,
        FromBlob<v1::JobEvent>(rows.Bytes(1), absl::StrCat("event ", rows.Int(0), " of ", job)));
    event.set_sequence(rows.Int(0));
    events.push_back(std::move(event));
  }
}

absl::Status FixNumerics(Database& db, int64_t job_key, const std::string& numerics_id) {
  AMC_ASSIGN_OR_RETURN(Statement row,
                       db.Query("SELECT id, numerics_id FROM jobs WHERE key = ?", job_key));
  AMC_RETURN_IF_ERROR(row.Step().status());
  if (row.Bytes(1) == numerics_id) return absl::OkStatus();
  if (!row.Bytes(1).empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("job \"", row.Bytes(0), "\": its numerics_id is \"", row.Bytes(1),
                     "\", not \"", numerics_id, "\": results would not compare"));
  }
  return db.Run("UPDATE jobs SET numerics_id = ? WHERE key = ?", numerics_id, job_key).status();
}

absl::Status PutCheckpoint(Database& db, int64_t job_key, const std::string& state) {
  return db
      .Run(
          "INSERT INTO checkpoints (job, state) VALUES (?, ?) "
          "ON CONFLICT (job) DO UPDATE SET state = excluded.state",
          job_key, Blob{state})
      .status();
}

absl::StatusOr<std::string> Checkpoint(Database& db, const std::string& job) {
  AMC_ASSIGN_OR_RETURN(const int64_t key, JobKey(db, job));
  AMC_ASSIGN_OR_RETURN(Statement row, db.Query("SELECT state FROM checkpoints WHERE job = ?", key));
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) {
    return absl::NotFoundError(absl::StrCat("job \"", job, "\" has committed no generation yet"));
  }
  return row.Text(0);
}

}  // namespace amc::rows
