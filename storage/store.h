// What the server remembers: jobs, episodes, tasks and their attempts, events, checkpoints,
// workers, latency tables.
//
// Every method is one transaction and returns after it is on disk (WAL, synchronous FULL): what a
// caller was told survives kill -9 and power loss. A change of state and the events that announce
// it go in together. All methods are thread-safe and block; none calls back. Only one process opens
// a store at a time.
//
// Codes: NotFound for unknown ids, AlreadyExists, Aborted for a stale lease epoch, InvalidArgument
// for bad page tokens, ResourceExhausted when the disk is full, Unavailable when busy,
// FailedPrecondition for a database of a newer version, DataLoss for a damaged one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "amc/v1/artifact.pb.h"
#include "amc/v1/job.pb.h"
#include "amc/v1/latency.pb.h"
#include "amc/v1/worker.pb.h"

namespace amc {

enum class TaskState { kPending = 1, kLeased = 2, kDone = 3, kFailed = 4 };

// One thing that a worker has to do for a job. Its attempts are rows of their own.
struct TaskRecord {
  std::string job;
  int64_t task = 0;  // unique within the job, given by AddTasks: 1, 2, ...
  v1::TaskKind kind = v1::TASK_KIND_UNSPECIFIED;
  int64_t episode = -1;  // EVALUATE, FINISH; TIME, MEASURE_LAYERS: which round of it
  v1::Policy policy;
  v1::TimingOrder timing;  // TIME, MEASURE_LAYERS
  int64_t images = 0;      // EVALUATE: of the reward split; 0: as the spec says
  TaskState state = TaskState::kPending;
  int64_t epoch = 0;                     // of the newest lease; 0: never leased
  int64_t lost_attempts = 0;             // leases that expired
  int64_t failed_attempts = 0;           // that ended with a retryable error
  int64_t crashed_attempts = 0;          // during which the worker's process died by itself
  int64_t not_before_ms = 0;             // backoff: no lease before this time
  std::string worker;                    // uuid of the present or last holder
  int64_t expire_ms = 0;                 // of the present lease
  std::optional<v1::TaskResult> result;  // kDone
  v1::TaskError error;                   // of the last failed attempt
  // Under which its result is kept for later candidates, and looked up before anything is computed:
  // "MODEL:SHA256" of all that decides it; goes with the artifact MODEL. Empty: neither.
  std::string reuse_key;

  // Answered from the store: nobody ever held a lease.
  bool reused() const { return state == TaskState::kDone && epoch == 0; }
};

enum class AttemptOutcome {
  kOpen = 1,
  kDone = 2,
  kError = 3,
  kLost = 4,  // no heartbeat for the whole term
  kCancelled = 5,
  kCrashed = 6,  // the worker's supervisor says that its process died
};

struct AttemptRecord {
  std::string job;
  int64_t task = 0, epoch = 0;
  v1::TaskKind kind = v1::TASK_KIND_UNSPECIFIED;
  int64_t episode = -1;
  std::string worker;
  int64_t start_ms = 0, end_ms = 0;
  AttemptOutcome outcome = AttemptOutcome::kOpen;
  std::string message;
};

// A lease to grant: a pending task to a worker.
struct LeaseGrant {
  std::string job;
  int64_t task = 0;
  std::string worker;       // uuid
  std::string numerics_id;  // becomes the job's if it has none
};

// A job's fields that change, with the events that say so. Events get their sequence numbers here.
struct JobUpdate {
  v1::Job job;  // stored whole, by job.id()
  std::vector<v1::JobEvent> events;
  bool forgive_attempts = false;  // its tasks count their lost and failed attempts anew
  // The tasks of its episodes go: a longer search may draw others than were drawn last, and have
  // another winner.
  bool drop_drawn = false;
};

class Store {
 public:
  virtual ~Store() = default;

  // Jobs.
  // Stores a new job and its first event, and notes that its artifacts are in use (NotFound if one
  // has gone, or its latency table). A repeat of request_id returns the stored job when spec_hash
  // is the same, AlreadyExists otherwise.
  virtual absl::StatusOr<v1::Job> CreateJob(const v1::Job& job, const std::string& request_id,
                                            const std::string& spec_hash,
                                            absl::Span<const v1::JobEvent> events) = 0;
  // The job that a request_id made, with CreateJob's errors for another spec_hash; NotFound if
  // none.
  virtual absl::StatusOr<v1::Job> FindRequest(const std::string& request_id,
                                              const std::string& spec_hash) = 0;
  virtual absl::StatusOr<v1::Job> GetJob(const std::string& id) = 0;
  virtual absl::StatusOr<v1::ListJobsResponse> ListJobs(const v1::ListJobsRequest& request) = 0;
  // Jobs that have not ended, oldest first: what a server takes up again at its start.
  virtual absl::StatusOr<std::vector<v1::Job>> UnfinishedJobs() = 0;
  // Stores the job whole, but for last_sequence, which counts its events, and numerics_id, which
  // stays once fixed (FailedPrecondition for another).
  virtual absl::Status UpdateJob(const JobUpdate& update) = 0;
  // With episodes, tasks, attempts, events, checkpoint. Its artifacts become free to collect,
  // unless somebody has used them since or, for the result, may be about to: another job of the
  // same model that is being finished. FailedPrecondition while it has not ended.
  virtual absl::Status DeleteJob(const std::string& id) = 0;

  // Events with sequence > after, ascending, at most `limit`.
  virtual absl::StatusOr<std::vector<v1::JobEvent>> Events(const std::string& job, int64_t after,
                                                           int64_t limit) = 0;

  // Tasks.
  // Adds pending tasks and returns them numbered; those whose reuse_key has a result are done at
  // once, with worker and result of then. One task per kind, episode and job: one that exists
  // already is returned as it is.
  virtual absl::StatusOr<std::vector<TaskRecord>> AddTasks(absl::Span<const TaskRecord> tasks) = 0;
  virtual absl::StatusOr<std::vector<TaskRecord>> Tasks(const std::string& job) = 0;
  // Grants leases, all in one transaction: pending -> leased, epoch + 1, an open attempt. Fixes a
  // job's numerics id if it has none. An outcome for each: FailedPrecondition unless the task is
  // pending and due, or for another numerics id than the job's; where the disk fails, for all.
  virtual std::vector<absl::StatusOr<TaskRecord>> LeaseTasks(absl::Span<const LeaseGrant> grants,
                                                             int64_t now_ms, int64_t expire_ms) = 0;
  // Aborted if `epoch` is not the task's.
  virtual absl::Status RenewLease(const std::string& job, int64_t task, int64_t epoch,
                                  int64_t expire_ms) = 0;
  // leased -> done; the result is kept under the task's reuse_key, if it has one. OK for an
  // identical repeat (same epoch, equal result but for `seconds`), Aborted for a stale epoch,
  // AlreadyExists for another result of the same lease. An identical repeat is recognised even when
  // its generation was committed meanwhile.
  virtual absl::Status CompleteTask(const std::string& job, int64_t task, int64_t epoch,
                                    const v1::TaskResult& result, int64_t now_ms) = 0;
  // Ends an open attempt without a result: leased -> pending (from `not_before_ms` on) or failed.
  // OK for an identical repeat, Aborted for a stale epoch. kLost counts in lost_attempts, kCrashed
  // in crashed_attempts, kError with a retryable error in failed_attempts.
  virtual absl::Status EndAttempt(const std::string& job, int64_t task, int64_t epoch,
                                  AttemptOutcome outcome, const v1::TaskError& error,
                                  TaskState next, int64_t not_before_ms, int64_t now_ms) = 0;
  // Gives every open lease the term `expire_ms` (a server that starts again).
  virtual absl::Status ExtendOpenLeases(int64_t expire_ms) = 0;
  virtual absl::StatusOr<std::vector<AttemptRecord>> Attempts(const std::string& job) = 0;
  // One of them; NotFound.
  virtual absl::StatusOr<AttemptRecord> GetAttempt(const std::string& job, int64_t task,
                                                   int64_t epoch) = 0;

  // A generation, all or nothing: its episodes become visible, the job and its events change, the
  // search's state replaces the checkpoint, and the episodes' EVALUATE tasks go. FailedPrecondition
  // if one of those is not done; AlreadyExists for an episode that was committed; InvalidArgument
  // for one of another job or with a reward that is not a number.
  virtual absl::Status CommitGeneration(const JobUpdate& update,
                                        absl::Span<const v1::Episode> episodes,
                                        const std::string& checkpoint) = 0;
  // The search's state after the last committed generation; NotFound before the first.
  virtual absl::StatusOr<std::string> Checkpoint(const std::string& job) = 0;

  virtual absl::StatusOr<v1::ListEpisodesResponse> ListEpisodes(
      const v1::ListEpisodesRequest& request) = 0;
  virtual absl::StatusOr<v1::Episode> GetEpisode(const std::string& job, int64_t number) = 0;
  // The candidate of the highest reward, the earlier on a tie; NotFound while there is none.
  virtual absl::StatusOr<v1::Episode> BestEpisode(const std::string& job) = 0;

  // Workers, by uuid.
  virtual absl::Status PutWorker(const v1::Worker& worker) = 0;
  virtual absl::StatusOr<v1::ListWorkersResponse> ListWorkers(
      const v1::ListWorkersRequest& request) = 0;
  // Forgets those that were last seen before this time, but for those in `keep` (uuids): a worker
  // that is present is not stored anew every time that it calls.
  virtual absl::Status DropWorkers(int64_t before_ms, const std::set<std::string>& keep) = 0;

  // Artifact metadata; the bytes are ArtifactStore's. A known digest keeps what was put first, but
  // is used anew.
  virtual absl::Status PutArtifact(const v1::Artifact& artifact) = 0;
  virtual absl::StatusOr<v1::Artifact> GetArtifact(const std::string& digest) = 0;
  virtual absl::StatusOr<v1::ListArtifactsResponse> ListArtifacts(
      const v1::ListArtifactsRequest& request) = 0;
  // Notes a use. NotFound.
  virtual absl::Status UseArtifact(const std::string& digest, int64_t now_ms) = 0;
  // Bytes of all artifacts.
  virtual absl::StatusOr<int64_t> ArtifactBytes() = 0;
  // Forgets, with the measurements of their candidates, the artifacts that no job names and that
  // nobody has used since `before_ms`; returns their digests.
  virtual absl::StatusOr<std::vector<std::string>> CollectArtifacts(int64_t before_ms) = 0;

  // Latency tables, by digest (64 digits) of what is in them: they never change.
  // Stores the table under info.digest() and returns what is stored there: of a digest that is
  // known already, the first import's.
  virtual absl::StatusOr<v1::LatencyTableInfo> PutLatencyTable(const v1::LatencyTableInfo& info,
                                                               const v1::LatencyTable& table) = 0;
  // With its rows. NotFound.
  virtual absl::StatusOr<v1::LatencyTable> GetLatencyTable(const std::string& digest) = 0;
  // Newest import first.
  virtual absl::StatusOr<v1::ListLatencyTablesResponse> ListLatencyTables(
      const v1::ListLatencyTablesRequest& request) = 0;
  // The one whose digest begins with `prefix`. NotFound; InvalidArgument for less than 6 digits and
  // where it fits several, of which it names some.
  virtual absl::StatusOr<v1::LatencyTableInfo> FindLatencyTable(const std::string& prefix) = 0;
  // NotFound; FailedPrecondition, naming one, while there are jobs that name it: ended ones can be
  // resumed, and are asked for their fronts.
  virtual absl::Status DeleteLatencyTable(const std::string& digest) = 0;

  // Writes a copy as of now to `path` while others go on reading and writing.
  virtual absl::Status BackupTo(const std::string& path) = 0;
};

// Opens or creates `path`. Old versions are migrated in numbered steps, after a copy was kept
// beside it (path + ".v3.bak"). FailedPrecondition for a newer version (says which and what this
// program knows), when another process has it open, and on a network file system, whose locks and
// syncs cannot be relied on.
absl::StatusOr<std::unique_ptr<Store>> OpenSqliteStore(const std::string& path);

}  // namespace amc
