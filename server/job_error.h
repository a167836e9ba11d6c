// Why a job failed, carried by the absl::Status that ends it.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "amc/v1/job.pb.h"

namespace amc {

// A status that says `message` and carries `reason`.
absl::Status JobError(v1::FailureReason reason, absl::string_view message);

// The reason that `status` carries; FAILURE_REASON_INTERNAL if none.
v1::FailureReason ReasonOf(const absl::Status& status);

}  // namespace amc
