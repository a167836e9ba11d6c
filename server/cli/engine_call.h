// Runs amc-engine to its end and takes what it prints.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace amc {

// `arguments` as after "amc", with `threads` threads. What it prints to stdout; its own words on
// stderr, as FailedPrecondition, if it fails. `going` is asked again and again: once it is not OK
// the engine is killed, and that is what the call returns.
absl::StatusOr<std::string> CallEngine(const std::vector<std::string>& arguments, int threads,
                                       const std::function<absl::Status()>& going);

}  // namespace amc
