// `random`: the search that learns nothing, the second baseline.
//
// Every group draws a ratio uniformly between its smallest choice and 1; a common factor, found by
// bisection, scales all of them to the budget, and steps of one lattice choice in random order use
// up what is left. Scaling treats all groups alike, where clamping in the order of the walk would
// let the early groups keep what they drew and make the late ones pay.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "agent/agent.h"
#include "agent/agent_registry.h"
#include "env/env.h"

namespace amc {

absl::StatusOr<std::unique_ptr<Agent>> MakeRandomAgent(const Environment& env,
                                                       const AgentOptions& options);

}  // namespace amc
