// `dp`: probes (probes.h), then the best policy under the exact cost if losses added up
// (planner.h).
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "agent/agent.h"
#include "agent/agent_registry.h"
#include "env/env.h"

namespace amc {

// InvalidArgument for a setting out of range, or where the probes cannot be afforded.
absl::StatusOr<std::unique_ptr<Agent>> MakeDpAgent(const Environment& env,
                                                   const AgentOptions& options);

}  // namespace amc
