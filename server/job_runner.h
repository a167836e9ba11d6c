// One job from where it stands to its end: baseline, search, finish.
//
// Where it stands is what the store says: a baseline or none, the checkpoint of the last committed
// generation. So a first start, a start after a crash and a resume are the same code. A generation
// is drawn, measured by workers, learnt and committed; one that was not committed is drawn again,
// bit for bit the same, and finds the measurements that had been stored.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/search.h"
#include "base/clock.h"
#include "server/artifact_catalog.h"
#include "server/event_hub.h"
#include "server/model_cache.h"
#include "server/remote_evaluator.h"
#include "server/task_board.h"
#include "server/worker_registry.h"
#include "storage/artifact_store.h"
#include "storage/store.h"

namespace amc {

// What job threads work with; all outlive them.
struct JobContext {
  Store* store = nullptr;
  const ArtifactStore* artifacts = nullptr;
  ArtifactCatalog* catalog = nullptr;
  ModelCache* models = nullptr;
  TaskBoard* board = nullptr;
  const WorkerRegistry* workers = nullptr;
  EventHub* hub = nullptr;
  const Clock* clock = nullptr;
};

// How a job's thread is told to stop. Whoever sets a flag calls TaskBoard::Interrupt after it.
struct JobControl {
  std::atomic<bool> cancelled = false;
  std::atomic<bool> stopping = false;  // the server shuts down: leave everything as it is
};

// One thread.
class JobRunner {
 public:
  JobRunner(const JobContext& context, const JobControl* control)
      : context_(context), control_(control) {}

  // Runs the job to an end that is stored, or until the server stops.
  void Run(const std::string& id);

 private:
  absl::Status Work();
  absl::Status Baseline();
  absl::Status Remember();
  absl::Status SearchLoop();
  absl::Status Generation();
  // Measures what the search drew, or was told to, teaches it and commits.
  absl::Status Evaluate(const std::vector<Episode>& drawn);
  absl::Status Finish();
  // Instead of all this, of a job with a LatencyBuild (job_runner_table.cc).
  absl::Status MakeTable();
  // The winner with its steps; `latency` says what was measured, where latency counts.
  absl::StatusOr<v1::Episode> ChooseWinner(v1::LatencyCheck& latency);

  // Makes an episode's network: strongly reconstructed, exported, measured on the report split.
  absl::StatusOr<v1::JobResult> FinishEpisode(int64_t number, const v1::Policy& policy);
  // What a policy costs of the resources that the job is about.
  absl::StatusOr<google::protobuf::RepeatedPtrField<v1::ResourceUse>> UsesOf(
      const v1::Policy& policy);
  // Adds one task, if it is not there, and waits for its result.
  absl::StatusOr<TaskRecord> RunTask(const TaskRecord& task);
  // Stores the job with events that say what changed (a STATE event where `kind` is STATE).
  absl::Status Update(std::vector<v1::JobEvent> events);
  absl::Status Enter(v1::JobState state);
  // An event of the job as it stands, or as it is about to stand.
  v1::JobEvent MakeEvent(v1::EventKind kind) const;
  v1::JobEvent MakeEvent(v1::EventKind kind, const v1::Job& job) const;
  // A call that writes and must not be given up: while the disk is full or busy, waits and repeats
  // it.
  absl::Status Persist(const std::function<absl::Status()>& write);
  // Progress that is not stored, for those who follow the job.
  void Say(const std::string& message) const;
  absl::Status CheckGoing() const;

  const JobContext context_;
  const JobControl* const control_;
  v1::Job job_;
  std::unique_ptr<Environment> env_;
  std::unique_ptr<Search> search_;
};

}  // namespace amc
