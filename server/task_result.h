// Whether what a worker delivers is what its task asked for: checked before it is stored, so that
// nothing behind it has to be.
#pragma once

#include "absl/status/status.h"
#include "amc/v1/worker.pb.h"
#include "storage/store.h"

namespace amc {

// InvalidArgument names the field of the result: missing for the task's kind, of another setting or
// other layers than were ordered, times that are no positive numbers.
absl::Status CheckResult(const TaskRecord& task, const v1::TaskResult& result);

}  // namespace amc
