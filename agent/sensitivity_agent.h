// `sensitivity`: probes (probes.h), then one threshold for all: every group keeps its smallest
// count whose loss alone stays below it, with the least threshold that meets the budget (Li et al.,
// "Pruning Filters for Efficient ConvNets", ICLR 2017, section 3.2, choose by such curves by hand).
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "agent/agent.h"
#include "agent/agent_registry.h"
#include "agent/exchange.h"
#include "agent/policy_space.h"
#include "env/env.h"

namespace amc {

// The policy of the least threshold that fits; then, while any group can grow, the one that loses
// most does.
Choice ThresholdPolicy(const PolicySpace& space, const GroupTables& loss);

// InvalidArgument for a setting out of range, or where the probes cannot be afforded.
absl::StatusOr<std::unique_ptr<Agent>> MakeSensitivityAgent(const Environment& env,
                                                            const AgentOptions& options);

}  // namespace amc
