// `stages`: one preserve ratio per stage of the network, searched on a grid; the baseline of a
// person who tries out a few numbers.
//
// A stage is what has the same resolution: the groups whose first consumer reads images of one
// height and width. Every candidate takes one share of a small grid per stage, the largest of them
// 1, scales all shares to the budget by a common factor and uses up what is left, always in the
// group that is furthest below its share. Candidates come in the order of how far they are from
// uniform, which is the first. Where the grid over all stages would have more than some thousand
// points, neighbouring stages share a ratio. No randomness.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "agent/agent.h"
#include "agent/agent_registry.h"
#include "env/env.h"

namespace amc {

absl::StatusOr<std::unique_ptr<Agent>> MakeStagesAgent(const Environment& env,
                                                       const AgentOptions& options);

}  // namespace amc
