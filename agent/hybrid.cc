#include "agent/hybrid.h"

#include "agent/exchange_agent.h"

namespace amc {

absl::StatusOr<std::unique_ptr<Agent>> MakeHybrid(const Environment& env,
                                                  const AgentOptions& options) {
  const HybridOptions& parts = options.hybrid;
  return MakeExchangeAgent(
      env, options,
      {.name = "hybrid",
       .probes = parts.probes,
       .start_uniform = true,
       .start_plan = parts.plan,
       .levels = parts.screening ? 2 : 1,
       .proposals = parts.surrogate ? ProposalKind::kMinimised : ProposalKind::kRandom,
       .temperature = 1.5});
}

}  // namespace amc
