// Fields of a job spec by their path, as `--set FIELD=VALUE` names them.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "amc/v1/job.pb.h"

namespace amc {

// Sets the field at a dotted path ("search.ddpg.hidden=64") in `spec`; enums by their short name
// ("l1") or their full one; a list of texts gets another element. UsageError for a path that leads
// to no such field and for a value of another type.
absl::Status SetField(const std::string& assignment, v1::JobSpec& spec);

}  // namespace amc
