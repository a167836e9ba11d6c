// Workers as people read them: `amc workers` and `amc top`.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "amc/v1/worker.pb.h"

namespace amc {

// As many digits of a worker's uuid as tables show; DrainWorkers' callers may type fewer.
std::string ShortUuid(const v1::Worker& worker);
// "busy", "draining".
std::string WorkerStateName(const v1::Worker& worker);
// What it is at: "images 320/5000"; how it ended, if it crashed; else nothing.
std::string WorkerActivity(const v1::Worker& worker);

// The uuid in `workers` that begins with `prefix`. InvalidArgument for less than four digits or if
// it fits several, which are named; NotFound if none.
absl::StatusOr<std::string> FindWorker(absl::Span<const v1::Worker> workers,
                                       const std::string& prefix);

}  // namespace amc
