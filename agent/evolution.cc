#include "agent/evolution.h"

#include "absl/strings/str_cat.h"
#include "agent/exchange_agent.h"

namespace amc {

absl::StatusOr<std::unique_ptr<Agent>> MakeEvolution(const Environment& env,
                                                     const AgentOptions& options) {
  const std::string& start = options.evolution.start;
  if (start != "uniform" && start != "dp") {
    return absl::InvalidArgumentError(
        absl::StrCat("evolution.start: ", start, " is neither uniform nor dp"));
  }
  const bool plan = start == "dp" && options.evolution.start_policy.decisions.empty();
  return MakeExchangeAgent(env, options,
                           {.name = "evolution",
                            .probes = plan,
                            .start_uniform = !plan,
                            .start_plan = plan,
                            .levels = 3,
                            .proposals = ProposalKind::kRanked,
                            .temperature = 1});
}

}  // namespace amc
