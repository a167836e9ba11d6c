#include "agent/uniform_agent.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "agent/agent_state.h"
#include "agent/fit.h"
#include "agent/memoryless_agent.h"
#include "base/status_macros.h"

namespace amc {
namespace {

class UniformAgent final : public MemorylessAgent {
 public:
  UniformAgent(const Environment& env, const AgentOptions& options)
      : MemorylessAgent(AgentProgress("uniform", options.seed, env)) {
    for (const bool inner_only : {true, false}) Consider(env, inner_only);
  }

  absl::StatusOr<Episode> Propose(Environment& env, int64_t number, double /*left*/) override {
    AMC_RETURN_IF_ERROR(progress_.CheckShape(env));
    if (number < 0 || number >= candidates()) {
      return absl::OutOfRangeError(
          absl::StrCat("agent uniform: episode ", number, " of ", candidates()));
    }
    Episode episode = candidates_[number];
    episode.number = number;
    return episode;
  }

  int64_t available() const override {
    return std::max<int64_t>(0, candidates() - progress_.done());
  }

 private:
  void Consider(const Environment& env, bool inner_only) {
    std::vector<double> shares(env.lattice().num_groups(), 0);
    for (size_t g = 0; g < shares.size(); ++g) {
      if (inner_only && env.grouping().groups[g].residual) continue;
      if (env.lattice().choices(g).size() < 2) continue;
      shares[g] = 1;
    }
    Fit fit(env);
    fit.ScaleToBudget(shares);
    if (!fit.fits()) return;
    fit.TopUp(shares);
    Episode episode = fit.ToEpisode(0);
    if (!candidates_.empty() && candidates_.front().policy == episode.policy) return;
    episode.note = inner_only ? "inner groups" : "all groups";
    candidates_.push_back(std::move(episode));
  }

  int64_t candidates() const { return static_cast<int64_t>(candidates_.size()); }

  std::vector<Episode> candidates_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> MakeUniformAgent(const Environment& env,
                                                        const AgentOptions& options) {
  auto agent = std::make_unique<UniformAgent>(env, options);
  if (agent->available() == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("agent uniform: no common ratio reaches the budget of ", env.budget(), " ",
                     BudgetName(env.bounds())));
  }
  return agent;
}

}  // namespace amc
