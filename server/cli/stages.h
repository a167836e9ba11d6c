// The stages of `amc run --stages`: their jobs, and what they have come to.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "amc/v1/job.pb.h"

namespace amc {

// UsageError unless they fall from stage to stage.
absl::Status CheckStages(const std::vector<double>& stages);

// The job of stage `index` (from 0) of a run that `spec` describes: the budget is
// floor(stages[index] * the first original's cost), of latency stages[index] / stages[index - 1] of
// what the stage begins with (a table's predictions of two networks compare as ratios alone), the
// evaluations an even share of the spec's, the earlier stages having the remainder. `first` and
// `parent`, the finished jobs of the first stage and of the one before, are null for the first.
// What the search learns from and the policy it starts with fit the first original alone: later
// stages have neither.
v1::JobSpec SpecOfStage(const v1::JobSpec& spec, const std::vector<double>& stages, size_t index,
                        const v1::Job* first, const v1::Job* parent);

struct StageResult {
  v1::Job job;
  double kl_from_original = 0;  // the first one; report split
};

// A row a stage, after one for the original. All on the report split.
std::string StagesTable(const std::vector<double>& stages, const std::vector<StageResult>& results);

// {"stages": [{ratio, job, kl_from_original, result}]}, result being a v1.JobResult, whose own KL
// divergence is from the network that the stage began with.
std::string StagesJson(const std::vector<double>& stages, const std::vector<StageResult>& results);

}  // namespace amc
