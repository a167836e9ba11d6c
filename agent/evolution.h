// `evolution`: budget-neutral exchanges between groups, from a given start.
//
// A population of the best policies so far has children: some groups shrink, others grow, and all
// land right under the budget. A surrogate learnt from the history alone (surrogate.h; it probes
// only to start from the plan of `dp`) picks one child of many; it is measured on few images, and
// the best of each level on more (exchange_agent.h).
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "agent/agent.h"
#include "agent/agent_registry.h"
#include "env/env.h"

namespace amc {

// InvalidArgument for an option out of range.
absl::StatusOr<std::unique_ptr<Agent>> MakeEvolution(const Environment& env,
                                                     const AgentOptions& options);

}  // namespace amc
