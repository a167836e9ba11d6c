// Where amc-engine is, and the environment in which it computes fast.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/cli/compute_commands.h"

namespace amc {

// A program ("amc", "amc-engine") in the folder of this one. NotFound says where it was looked for.
absl::StatusOr<std::string> FindProgram(const std::string& name);
absl::StatusOr<std::string> FindEngine();

// OK if amc-engine can compute on "cpu" or "cuda"; FailedPrecondition with what to do otherwise.
// Asks the engine where it has to.
absl::Status CheckEngineDevice(const std::string& device);

// How many cores this process may use.
int AvailableCores();

// The environment for an engine of `threads` threads, as "NAME=VALUE": this process's with thread
// counts set, passive waiting (two OpenMP threads beside anything else spin 20 times slower),
// one malloc arena, and without OPENBLAS_CORETYPE, which some shells set to an older CPU's.
std::vector<std::string> EngineEnvironment(int threads);

// Handlers that replace this process by the engine with the same arguments. `amc worker` has
// another one (supervised_worker.h).
ComputeHandlers ExecHandlers(int argc, char** argv);

}  // namespace amc
