// What `amc run` is told, and its two ways: one search (commands_run.cc), or several, one on the
// result of the other (staged_run.cc).
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "amc/v1/job.pb.h"
#include "server/cli/job_flags.h"

namespace amc {

struct RunArgs {
  JobFlags job;
  std::string output;
  std::vector<double> stages;  // what each stage's result may cost, of the original's cost
  int workers = 0;
  bool force = false, json = false;
};

absl::Status RunStages(const RunArgs& args);

// UsageError that `job`, which stands in the folder already, is not what the command asks for; OK
// if nothing was measured for it (an original near chance).
absl::Status CheckReplaceable(const RunArgs& args, const v1::Job& job, const v1::JobSpec& spec);

// "\nIn FOLDER: ..." and what to do next.
std::string WhatIsThere(const RunArgs& args, const std::string& folder, const std::string& more);

}  // namespace amc
