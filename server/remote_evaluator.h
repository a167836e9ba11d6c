// An Evaluator whose measurements come from workers: Candidate -> task -> lease -> worker ->
// Measurement.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/evaluator.h"
#include "server/task_board.h"

namespace amc {

// Evaluates one generation of a job that is open on the board. One thread.
class RemoteEvaluator : public Evaluator {
 public:
  // `first_episode` is the number of the first candidate's episode. Board and job must outlive it.
  RemoteEvaluator(TaskBoard* board, const v1::Job* job, int64_t first_episode)
      : board_(board), job_(job), first_episode_(first_episode) {}

  // Errors as TaskBoard::Run.
  absl::StatusOr<std::vector<Measurement>> Evaluate(
      absl::Span<const Candidate> candidates) override;

  // The tasks that did it, in order: who measured, in how many attempts.
  const std::vector<TaskRecord>& tasks() const { return tasks_; }

 private:
  TaskBoard* const board_;
  const v1::Job* const job_;
  const int64_t first_episode_;
  std::vector<TaskRecord> tasks_;
};

}  // namespace amc
