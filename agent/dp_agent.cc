#include "agent/dp_agent.h"

#include "agent/planner.h"
#include "agent/planning_agent.h"

namespace amc {

absl::StatusOr<std::unique_ptr<Agent>> MakeDpAgent(const Environment& env,
                                                   const AgentOptions& options) {
  return MakePlanningAgent("dp", env, options, PlanPolicy);
}

}  // namespace amc
