// The Store on SQLite: joins the rows' functions with the writer's and the readers' transactions.
//
// One writer connection, whose changes share commits (writer.h), and a pool of read-only ones
// (readers.h): WAL lets readers see the last commit while the next one is being written. A lock
// file beside the database keeps other processes out.
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/episode_rows.h"
#include "storage/file_lock.h"
#include "storage/file_system.h"
#include "storage/job_rows.h"
#include "storage/latency_rows.h"
#include "storage/migrations.h"
#include "storage/readers.h"
#include "storage/registry_rows.h"
#include "storage/sqlite.h"
#include "storage/store.h"
#include "storage/task_rows.h"
#include "storage/writer.h"

namespace amc {
namespace {

using sqlite::Database;

constexpr int kMaxReaders = 8;

class SqliteStore final : public Store {
 public:
  SqliteStore(FileLock lock, const std::string& path, std::unique_ptr<Database> database)
      : lock_(std::move(lock)), writer_(std::move(database)), readers_(path, kMaxReaders) {}

  absl::StatusOr<v1::Job> CreateJob(const v1::Job& job, const std::string& request_id,
                                    const std::string& spec_hash,
                                    absl::Span<const v1::JobEvent> events) override {
    return Write(
        [&](Database& db) { return rows::CreateJob(db, job, request_id, spec_hash, events); });
  }
  absl::StatusOr<v1::Job> FindRequest(const std::string& request_id,
                                      const std::string& spec_hash) override {
    return Read([&](Database& db) { return rows::FindRequest(db, request_id, spec_hash); });
  }
  absl::StatusOr<v1::Job> GetJob(const std::string& id) override {
    return Read([&](Database& db) { return rows::GetJob(db, id); });
  }
  absl::StatusOr<v1::ListJobsResponse> ListJobs(const v1::ListJobsRequest& request) override {
    return Read([&](Database& db) { return rows::ListJobs(db, request); });
  }
  absl::StatusOr<std::vector<v1::Job>> UnfinishedJobs() override {
    return Read([](Database& db) { return rows::UnfinishedJobs(db); });
  }
  absl::Status UpdateJob(const JobUpdate& update) override {
    return writer_.Run([&](Database& db) { return rows::UpdateJob(db, update).status(); });
  }
  absl::Status DeleteJob(const std::string& id) override {
    return writer_.Run([&](Database& db) { return rows::DeleteJob(db, id); });
  }
  absl::StatusOr<std::vector<v1::JobEvent>> Events(const std::string& job, int64_t after,
                                                   int64_t limit) override {
    return Read([&](Database& db) { return rows::Events(db, job, after, limit); });
  }

  absl::StatusOr<std::vector<TaskRecord>> AddTasks(absl::Span<const TaskRecord> tasks) override {
    return Write([&](Database& db) { return rows::AddTasks(db, tasks); });
  }
  absl::StatusOr<std::vector<TaskRecord>> Tasks(const std::string& job) override {
    return Read([&](Database& db) { return rows::Tasks(db, job); });
  }
  std::vector<absl::StatusOr<TaskRecord>> LeaseTasks(absl::Span<const LeaseGrant> grants,
                                                     int64_t now_ms, int64_t expire_ms) override {
    std::vector<absl::StatusOr<TaskRecord>> records;
    const absl::Status status = writer_.Run([&](Database& db) {
      records.clear();
      for (const LeaseGrant& grant : grants) {
        records.push_back(rows::LeaseTask(db, grant, now_ms, expire_ms));
        const absl::Status& granted = records.back().status();
        // These are found before anything is written; all others undo the transaction.
        if (granted.ok() || absl::IsNotFound(granted) || absl::IsFailedPrecondition(granted)) {
          continue;
        }
        return granted;
      }
      return absl::OkStatus();
    });
    if (!status.ok()) records.assign(grants.size(), status);
    return records;
  }
  absl::Status RenewLease(const std::string& job, int64_t task, int64_t epoch,
                          int64_t expire_ms) override {
    return writer_.Run(
        [&](Database& db) { return rows::RenewLease(db, job, task, epoch, expire_ms); });
  }
  absl::Status CompleteTask(const std::string& job, int64_t task, int64_t epoch,
                            const v1::TaskResult& result, int64_t now_ms) override {
    return writer_.Run(
        [&](Database& db) { return rows::CompleteTask(db, job, task, epoch, result, now_ms); });
  }
  absl::Status EndAttempt(const std::string& job, int64_t task, int64_t epoch,
                          AttemptOutcome outcome, const v1::TaskError& error, TaskState next,
                          int64_t not_before_ms, int64_t now_ms) override {
    return writer_.Run([&](Database& db) {
      return rows::EndAttempt(db, job, task, epoch, outcome, error, next, not_before_ms, now_ms);
    });
  }
  absl::Status ExtendOpenLeases(int64_t expire_ms) override {
    return writer_.Run([&](Database& db) { return rows::ExtendOpenLeases(db, expire_ms); });
  }
  absl::StatusOr<AttemptRecord> GetAttempt(const std::string& job, int64_t task,
                                           int64_t epoch) override {
    return Read([&](Database& db) { return rows::FindAttempt(db, job, task, epoch); });
  }
  absl::StatusOr<std::vector<AttemptRecord>> Attempts(const std::string& job) override {
    return Read([&](Database& db) { return rows::Attempts(db, job); });
  }

  absl::Status CommitGeneration(const JobUpdate& update, absl::Span<const v1::Episode> episodes,
                                const std::string& checkpoint) override {
    return writer_.Run([&](Database& db) -> absl::Status {
      AMC_ASSIGN_OR_RETURN(const int64_t key, rows::UpdateJob(db, update));
      for (const v1::Episode& episode : episodes) {
        AMC_RETURN_IF_ERROR(rows::InsertEpisode(db, key, update.job.id(), episode));
        AMC_RETURN_IF_ERROR(rows::RemoveEvaluated(db, key, episode.number()));
      }
      return rows::PutCheckpoint(db, key, checkpoint);
    });
  }
  absl::StatusOr<std::string> Checkpoint(const std::string& job) override {
    return Read([&](Database& db) { return rows::Checkpoint(db, job); });
  }

  absl::StatusOr<v1::ListEpisodesResponse> ListEpisodes(
      const v1::ListEpisodesRequest& request) override {
    return Read([&](Database& db) { return rows::ListEpisodes(db, request); });
  }
  absl::StatusOr<v1::Episode> GetEpisode(const std::string& job, int64_t number) override {
    return Read([&](Database& db) { return rows::GetEpisode(db, job, number); });
  }
  absl::StatusOr<v1::Episode> BestEpisode(const std::string& job) override {
    return Read([&](Database& db) { return rows::BestEpisode(db, job); });
  }

  absl::Status PutWorker(const v1::Worker& worker) override {
    return writer_.Run([&](Database& db) { return rows::PutWorker(db, worker); });
  }
  absl::StatusOr<v1::ListWorkersResponse> ListWorkers(
      const v1::ListWorkersRequest& request) override {
    return Read([&](Database& db) { return rows::ListWorkers(db, request); });
  }
  absl::Status DropWorkers(int64_t before_ms, const std::set<std::string>& keep) override {
    return writer_.Run([&](Database& db) { return rows::DropWorkers(db, before_ms, keep); });
  }

  absl::Status PutArtifact(const v1::Artifact& artifact) override {
    return writer_.Run([&](Database& db) { return rows::PutArtifact(db, artifact); });
  }
  absl::StatusOr<v1::Artifact> GetArtifact(const std::string& digest) override {
    return Read([&](Database& db) { return rows::GetArtifact(db, digest); });
  }
  absl::StatusOr<v1::ListArtifactsResponse> ListArtifacts(
      const v1::ListArtifactsRequest& request) override {
    return Read([&](Database& db) { return rows::ListArtifacts(db, request); });
  }
  absl::Status UseArtifact(const std::string& digest, int64_t now_ms) override {
    return writer_.Run([&](Database& db) { return rows::UseArtifact(db, digest, now_ms); });
  }
  absl::StatusOr<int64_t> ArtifactBytes() override {
    return Read([](Database& db) { return rows::ArtifactBytes(db); });
  }
  absl::StatusOr<std::vector<std::string>> CollectArtifacts(int64_t before_ms) override {
    return Write([&](Database& db) { return rows::CollectArtifacts(db, before_ms); });
  }

  absl::StatusOr<v1::LatencyTableInfo> PutLatencyTable(const v1::LatencyTableInfo& info,
                                                       const v1::LatencyTable& table) override {
    return Write([&](Database& db) { return rows::PutLatencyTable(db, info, table); });
  }
  absl::StatusOr<v1::LatencyTable> GetLatencyTable(const std::string& digest) override {
    return Read([&](Database& db) { return rows::GetLatencyTable(db, digest); });
  }
  absl::StatusOr<v1::ListLatencyTablesResponse> ListLatencyTables(
      const v1::ListLatencyTablesRequest& request) override {
    return Read([&](Database& db) { return rows::ListLatencyTables(db, request); });
  }
  absl::StatusOr<v1::LatencyTableInfo> FindLatencyTable(const std::string& prefix) override {
    return Read([&](Database& db) { return rows::FindLatencyTable(db, prefix); });
  }
  absl::Status DeleteLatencyTable(const std::string& digest) override {
    return writer_.Run([&](Database& db) { return rows::DeleteLatencyTable(db, digest); });
  }

  absl::Status BackupTo(const std::string& path) override {
    return readers_.Run([&](Database& db) { return db.BackupTo(path); });
  }

 private:
  // Runs `body`, which returns a StatusOr, as a change and hands out what its last run returned.
  template <typename Body>
  std::invoke_result_t<Body, Database&> Write(Body body) {
    std::invoke_result_t<Body, Database&> result = absl::UnknownError("not run");
    absl::Status status = writer_.Run([&](Database& db) {
      result = body(db);
      return result.status();
    });
    if (!status.ok()) return status;  // also where the commit failed after `body` succeeded
    return result;
  }
  template <typename Body>
  std::invoke_result_t<Body, Database&> Read(Body body) {
    std::invoke_result_t<Body, Database&> result = absl::UnknownError("not run");
    absl::Status status = readers_.Run([&](Database& db) {
      result = body(db);
      return result.status();
    });
    if (!status.ok()) return status;
    return result;
  }

  // Destroyed in reverse order: the last connection to close must be the writer's, which then moves
  // the log into the database, and the lock goes after all of them.
  const FileLock lock_;
  Writer writer_;
  Readers readers_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenSqliteStore(const std::string& path) {
  AMC_RETURN_IF_ERROR(CheckLocalFileSystem(path));
  absl::StatusOr<FileLock> lock = FileLock::Acquire(path + ".lock");
  if (!lock.ok()) return Annotate(lock.status(), absl::StrCat("database ", path));
  AMC_ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                       Database::Open(path, Database::Mode::kCreate));
  AMC_RETURN_IF_ERROR(MigrateToPresent(*database));
  return std::make_unique<SqliteStore>(*std::move(lock), path, std::move(database));
}

}  // namespace amc
