#include "agent/agent_registry.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/ddpg.h"
#include "agent/ddpg_paper.h"
#include "agent/dp_agent.h"
#include "agent/evolution.h"
#include "agent/hybrid.h"
#include "agent/netadapt.h"
#include "agent/random_agent.h"
#include "agent/sensitivity_agent.h"
#include "agent/stages_agent.h"
#include "agent/uniform_agent.h"

namespace amc {
namespace {

using Factory = absl::StatusOr<std::unique_ptr<Agent>> (*)(const Environment&, const AgentOptions&);

// Adding an agent: its file pair, a line here, and the conformance test covers it.
constexpr struct {
  const char* name;
  Factory make;
} kAgents[] = {
    // clang-format off
    {"hybrid", MakeHybrid},  // the default
    {"dp", MakeDpAgent},
    {"sensitivity", MakeSensitivityAgent},
    {"evolution", MakeEvolution},
    {"ddpg", MakeDdpg},
    {"ddpg-paper", MakeDdpgPaper},
    {"uniform", MakeUniformAgent},
    {"stages", MakeStagesAgent},
    {"random", MakeRandomAgent},
    {"netadapt", MakeNetAdapt},
    // clang-format on
};

}  // namespace

std::vector<std::string> AgentNames() {
  std::vector<std::string> names;
  for (const auto& agent : kAgents) names.push_back(agent.name);
  return names;
}

absl::StatusOr<std::unique_ptr<Agent>> MakeAgent(absl::string_view name, const Environment& env,
                                                 const AgentOptions& options) {
  for (const auto& agent : kAgents) {
    if (name == agent.name) return agent.make(env, options);
  }
  return absl::InvalidArgumentError(absl::StrCat("agent ", name, ": no such agent; there are ",
                                                 absl::StrJoin(AgentNames(), ", ")));
}

}  // namespace amc
