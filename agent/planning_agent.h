// The half that agents share which measure single groups and then propose one policy: `sensitivity`
// and `dp`. Where that has no outcome the uniform one follows (starts.h), and then nothing any
// more.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "agent/agent.h"
#include "agent/agent_registry.h"
#include "agent/exchange.h"
#include "agent/policy_space.h"
#include "env/env.h"

namespace amc {

// From the losses of single groups to a policy within budget.
using PlanFunction = std::function<Choice(const PolicySpace& space, const GroupTables& loss)>;

// InvalidArgument for a setting out of range, or where the probes and a candidate may cost more
// than the search.
absl::StatusOr<std::unique_ptr<Agent>> MakePlanningAgent(std::string name, const Environment& env,
                                                         const AgentOptions& options,
                                                         PlanFunction plan);

}  // namespace amc
