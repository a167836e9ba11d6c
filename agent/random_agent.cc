#include "agent/random_agent.h"

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "agent/agent_state.h"
#include "agent/fit.h"
#include "agent/memoryless_agent.h"
#include "base/rng.h"
#include "base/status_macros.h"

namespace amc {
namespace {

class RandomAgent final : public MemorylessAgent {
 public:
  RandomAgent(const Environment& env, const AgentOptions& options)
      : MemorylessAgent(AgentProgress("random", options.seed, env)) {}

  absl::StatusOr<Episode> Propose(Environment& env, int64_t number, double /*left*/) override {
    AMC_RETURN_IF_ERROR(progress_.CheckShape(env));
    if (number < 0) {
      return absl::OutOfRangeError(absl::StrCat("agent random: episode ", number));
    }
    Rng rng(progress_.seed(), RandomStream(RandomPurpose::kPropose, number));
    std::vector<double> shares;
    for (size_t g = 0; g < env.lattice().num_groups(); ++g) {
      const absl::Span<const int64_t> choices = env.lattice().choices(g);
      const double least =
          static_cast<double>(choices.front()) / static_cast<double>(choices.back());
      shares.push_back(rng.Uniform(least, 1));
    }
    Fit fit(env);
    if (env.budget() == std::numeric_limits<int64_t>::max()) {
      fit.ScaleBy(shares, 1);  // nothing to scale to: the draw as it is
      return fit.ToEpisode(number);
    }
    fit.ScaleToBudget(shares);
    if (!fit.fits()) fit.Adopt(env.cheapest());
    // Another round as long as any group grew: then no single step fits any more.
    const std::vector<int64_t> order = rng.Permutation(static_cast<int64_t>(shares.size()));
    for (bool grew = true; grew;) {
      grew = false;
      for (const int64_t group : order) grew |= fit.Grow(static_cast<int32_t>(group));
    }
    return fit.ToEpisode(number);
  }

  int64_t available() const override { return std::numeric_limits<int64_t>::max(); }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> MakeRandomAgent(const Environment& env,
                                                       const AgentOptions& options) {
  return std::make_unique<RandomAgent>(env, options);
}

}  // namespace amc
