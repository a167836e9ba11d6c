// `hybrid`, the default: measured sensitivities make a plan, the plan a start, and a surrogate that
// knows them decides which exchanges are worth measuring. docs/search.md has what each part is
// worth.
//
// Probes (probes.h) give curves of loss; the plan that is best if losses add up (planner.h) and the
// uniform candidate are measured first; then exchanges that minimise samples of the surrogate's
// belief (surrogate.h: Thompson sampling) are screened and promoted (exchange_agent.h).
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "agent/agent.h"
#include "agent/agent_registry.h"
#include "env/env.h"

namespace amc {

// InvalidArgument for an option out of range.
absl::StatusOr<std::unique_ptr<Agent>> MakeHybrid(const Environment& env,
                                                  const AgentOptions& options);

}  // namespace amc
