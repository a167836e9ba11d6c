// A table job's specification (JobSpec.build): validated, every default written out.
#pragma once

#include "absl/status/statusor.h"
#include "amc/v1/job.pb.h"

namespace amc {

// ResolveJobSpec of a spec that has a `build`. Fields that such a job has no use for are refused,
// not ignored: whoever sets a budget expects a smaller network.
absl::StatusOr<v1::JobSpec> ResolveTableJob(const v1::JobSpec& spec);

}  // namespace amc
