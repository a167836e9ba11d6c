#include "agent/uniform_agent.h"

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

// Always the group with the lowest ratio whose step fits. A group whose step does not fit never
// fits again, because the others only grow.
void TopUp(const Environment& env, std::vector<int32_t> open, Fit& fit) {
  const auto ratio = [&](int32_t g) {
    return static_cast<double>(fit.kept()[g]) /
           static_cast<double>(env.lattice().choices(g).back());
  };
  while (!open.empty()) {
    size_t lowest = 0;
    for (size_t i = 1; i < open.size(); ++i) {
      if (ratio(open[i]) < ratio(open[lowest])) lowest = i;
    }
    if (!fit.Grow(open[lowest])) open.erase(open.begin() + static_cast<int64_t>(lowest));
  }
}

class UniformAgent final : public MemorylessAgent {
 public:
  UniformAgent(const Environment& env, const AgentOptions& options)
      : MemorylessAgent(AgentProgress("uniform", options.seed, env)) {
    for (const bool inner_only : {true, false}) Consider(env, inner_only);
  }

  absl::StatusOr<Episode> Propose(Environment& env, int64_t number) override {
    AMC_RETURN_IF_ERROR(progress_.CheckShape(env));
    if (number < 0 || number >= max_episodes()) {
      return absl::OutOfRangeError(
          absl::StrCat("agent uniform: episode ", number, " of ", max_episodes()));
    }
    Episode episode = candidates_[number];
    episode.number = number;
    return episode;
  }

  int64_t max_episodes() const override { return static_cast<int64_t>(candidates_.size()); }

 private:
  void Consider(const Environment& env, bool inner_only) {
    std::vector<int32_t> open;
    std::vector<double> shares(env.lattice().num_groups(), 0);
    for (size_t g = 0; g < shares.size(); ++g) {
      if (inner_only && env.grouping().groups[g].residual) continue;
      if (env.lattice().choices(g).size() < 2) continue;
      shares[g] = 1;
      open.push_back(static_cast<int32_t>(g));
    }
    Fit fit(env);
    fit.ScaleToBudget(shares);
    if (!fit.fits()) return;
    TopUp(env, std::move(open), fit);
    Episode episode = fit.ToEpisode(0);
    if (!candidates_.empty() && candidates_.front().policy == episode.policy) return;
    episode.note = inner_only ? "inner groups" : "all groups";
    candidates_.push_back(std::move(episode));
  }

  std::vector<Episode> candidates_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> MakeUniformAgent(const Environment& env,
                                                        const AgentOptions& options) {
  auto agent = std::make_unique<UniformAgent>(env, options);
  if (agent->max_episodes() == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("agent uniform: no common ratio reaches the budget of ", env.budget(), " ",
                     ResourceName(env.resource())));
  }
  return agent;
}

}  // namespace amc
