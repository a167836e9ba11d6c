// Who wins a search: the best candidate by reward, or, where latency is predicted, the best that
// keeps its budget when it is measured (finalists.h).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "amc/v1/job.pb.h"
#include "amc/v1/latency.pb.h"
#include "env/cost/latency_model.h"
#include "env/graph/groups.h"
#include "server/finalists.h"
#include "server/model_cache.h"
#include "server/worker_registry.h"
#include "storage/store.h"

namespace amc {

// Measures a job's finalists. What it does is decided by the history and by the measurements that
// the store has, so that after a restart it goes on where it was. One thread.
class WinnerChoice {
 public:
  // What a job's thread does for it.
  struct Hands {
    Store* store = nullptr;
    ModelCache* models = nullptr;
    const WorkerRegistry* workers = nullptr;
    // Has a task done, or finds it done.
    std::function<absl::StatusOr<TaskRecord>(const TaskRecord& task)> run;
    // Evaluates candidates beside the agent's, one per policy of kept counts, and commits them,
    // each with the note.
    std::function<absl::Status(const std::vector<std::vector<int64_t>>& kept,
                               const std::string& note)>
        evaluate;
    // Tells those who follow the job what it waits for.
    std::function<void(const std::string& message)> say;
    // OK unless the job has to stop.
    std::function<absl::Status()> check_going;
  };
  // `job` must outlive this; its history may grow by `evaluate`.
  WinnerChoice(const v1::Job* job, Hands hands) : job_(*job), hands_(std::move(hands)) {}

  struct Winner {
    v1::Episode episode;  // with its steps and policy
    v1::LatencyCheck check;
  };
  // JobError LATENCY where no candidate keeps the budget in reality; errors of the store, the
  // models and the tasks.
  absl::StatusOr<Winner> Choose();

 private:
  absl::Status Prepare();
  // The candidates by reward, the best first, with what they are predicted at.
  absl::StatusOr<std::vector<FinalistEntry>> History();
  // Rounds that were measured in an earlier life of the server, by number.
  absl::StatusOr<std::vector<FinalistEntry>> Stored(const TaskRecord& task,
                                                    const std::vector<FinalistEntry>& history);
  // The best candidates cut to the round's limit, evaluated; nothing if they were, before a
  // restart.
  absl::Status Repair(const FinalistRounds& rounds, const std::vector<FinalistEntry>& history);
  // Why nothing can be measured; empty if it can.
  absl::StatusOr<std::string> WhyUnmeasured();

  const v1::Job& job_;
  const Hands hands_;
  v1::LatencySetting setting_;
  v1::LatencyFit fit_;
  LatencyTarget target_;
  Grouping grouping_;
  std::optional<LatencyModel> model_;
};

}  // namespace amc
