// `uniform`: the same preserve ratio everywhere, the baseline that every search must beat.
//
// Two candidates: "inner groups" prunes only groups that are not on a residual path, which leaves
// residual paths whole (a group on such a path is held by every layer that adds to it); "all
// groups" prunes everything. Each takes the largest common ratio that fits the budget and is then
// topped up one lattice step at a time, always the group with the lowest ratio whose step fits. A
// candidate that cannot reach the budget, or that repeats the other, is left out. No randomness.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "agent/agent.h"
#include "agent/agent_registry.h"
#include "env/env.h"

namespace amc {

absl::StatusOr<std::unique_ptr<Agent>> MakeUniformAgent(const Environment& env,
                                                        const AgentOptions& options);

}  // namespace amc
