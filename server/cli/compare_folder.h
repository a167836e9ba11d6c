// What stands in the folder of a comparison before and after it: jobs, results, outcome files.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "amc/v1/job.pb.h"

namespace amc {

// Where a job differs from a comparison on `spec`: Differences, but for agent, seed and episodes,
// which each search of a comparison has of its own.
std::vector<std::string> DifferencesFromComparison(const v1::JobSpec& resolved,
                                                   const v1::JobSpec& spec);

// UsageError, with the differences, if a comparison on `spec` in `folder` would take something from
// another: a job of its `jobs` that has not ended, or one whose result its compare.json has.
absl::Status CheckComparable(const std::string& folder, const std::vector<v1::Job>& jobs,
                             const v1::JobSpec& spec);

// Removes the .npy files of `folder` but for those of `kept` (paths in it).
absl::Status RemoveOtherOutcomes(const std::string& folder, const std::vector<std::string>& kept);

}  // namespace amc
