#include "server/cli/compare_agents.h"

#include <algorithm>
#include <array>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "server/cli/exit_status.h"
#include "server/cli/job_flags.h"

namespace amc {
namespace {

constexpr int64_t kMostEvaluations = 100'000'000;
constexpr std::array<absl::string_view, 5> kDeterministic = {"dp", "netadapt", "sensitivity",
                                                             "stages", "uniform"};

absl::StatusOr<ComparedAgent> ParseOne(const std::string& text, int64_t evaluations,
                                       int64_t seeds) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  ComparedAgent agent = {.label = text, .name = parts[0], .evaluations = evaluations};
  const std::vector<std::string> known = KnownAgents();
  if (std::find(known.begin(), known.end(), agent.name) == known.end()) {
    return UsageError(
        absl::StrCat("--agents: \"", agent.name, "\" is none of ", absl::StrJoin(known, ", ")));
  }
  if (parts.size() > 2 ||
      (parts.size() == 2 && (!absl::SimpleAtoi(parts[1], &agent.evaluations) ||
                             agent.evaluations < 1 || agent.evaluations > kMostEvaluations))) {
    return UsageError(absl::StrCat("--agents: \"", text,
                                   "\" is not NAME or NAME:EVALUATIONS with "
                                   "a whole number from 1 to ",
                                   kMostEvaluations));
  }
  agent.seeds = IsStochastic(agent.name) ? seeds : 1;
  return agent;
}

}  // namespace

bool IsStochastic(absl::string_view agent) {
  return std::find(kDeterministic.begin(), kDeterministic.end(), agent) == kDeterministic.end();
}

absl::StatusOr<std::vector<ComparedAgent>> ParseComparedAgents(const std::string& text,
                                                               int64_t evaluations, int64_t seeds) {
  std::vector<ComparedAgent> agents;
  for (const std::string& one : std::vector<std::string>(absl::StrSplit(text, ','))) {
    AMC_ASSIGN_OR_RETURN(ComparedAgent agent, ParseOne(one, evaluations, seeds));
    for (const ComparedAgent& other : agents) {
      if (agent.name == other.name && agent.evaluations == other.evaluations) {
        return UsageError(
            absl::StrCat("--agents: ", other.label, " and ", agent.label, " are the same"));
      }
    }
    agents.push_back(std::move(agent));
  }
  return agents;
}

}  // namespace amc
