#include "server/remote_evaluator.h"

#include "base/status_macros.h"
#include "server/candidate_key.h"
#include "server/convert.h"

namespace amc {

absl::StatusOr<std::vector<Measurement>> RemoteEvaluator::Evaluate(
    absl::Span<const Candidate> candidates) {
  const std::string numerics_id = board_->NumericsId(job_->id());
  std::vector<TaskRecord> tasks;
  for (size_t i = 0; i < candidates.size(); ++i) {
    TaskRecord task;
    task.kind = v1::TASK_KIND_EVALUATE;
    task.episode = first_episode_ + static_cast<int64_t>(i);
    task.policy = ToProto(candidates[i].policy);
    task.images = candidates[i].images;
    task.reuse_key = CandidateKey(job_->spec(), numerics_id, task.policy, task.images);
    tasks.push_back(std::move(task));
  }
  AMC_ASSIGN_OR_RETURN(tasks_, board_->Run(job_->id(), std::move(tasks)));
  std::vector<Measurement> measurements;
  for (const TaskRecord& task : tasks_) {
    measurements.push_back(FromProto(task.result->measurement()));
    measurements.back().infeasible = task.result->infeasible();
    measurements.back().seconds = task.result->seconds();
  }
  return measurements;
}

}  // namespace amc
