#include "agent/stages_agent.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "agent/agent_state.h"
#include "agent/fit.h"
#include "agent/memoryless_agent.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr double kShares[] = {1.0, 0.8, 0.64, 0.5, 0.4};
constexpr size_t kMaxStages = 4;  // 5^4 - 4^4 points with a share of 1

// The stage of every group that has a choice, -1 for the others; stages are numbered in the order
// of the walk.
absl::StatusOr<std::vector<int>> StagesOf(const Environment& env) {
  const std::unique_ptr<Environment> walk = env.Clone();
  std::vector<int> stages(env.lattice().num_groups(), -1);
  std::map<std::pair<float, float>, int> numbers;
  Observation observation = walk->Reset();
  while (!walk->done()) {
    const std::pair<float, float> resolution{observation.features[Observation::kH],
                                             observation.features[Observation::kW]};
    const auto [found, added] = numbers.try_emplace(resolution, static_cast<int>(numbers.size()));
    stages[static_cast<size_t>(observation.group)] = found->second;
    AMC_ASSIGN_OR_RETURN(StepResult result, walk->Step(1));
    observation = std::move(result.observation);
  }
  const size_t count = numbers.size();
  for (int& stage : stages) {
    if (stage < 0 || count <= kMaxStages) continue;
    stage = static_cast<int>(static_cast<size_t>(stage) * kMaxStages / count);
  }
  return stages;
}

// All assignments of shares to stages with at least one share of 1, the most even ones first.
std::vector<std::vector<double>> Grid(size_t stages) {
  std::vector<std::vector<double>> grid = {{}};
  for (size_t stage = 0; stage < stages; ++stage) {
    std::vector<std::vector<double>> longer;
    for (const std::vector<double>& point : grid) {
      for (const double share : kShares) {
        longer.push_back(point);
        longer.back().push_back(share);
      }
    }
    grid = std::move(longer);
  }
  std::erase_if(grid, [](const std::vector<double>& point) {
    return *std::max_element(point.begin(), point.end()) < 1;
  });
  const auto unevenness = [](const std::vector<double>& point) {
    double sum = 0;
    for (const double share : point) sum -= std::log(share);
    return sum;
  };
  std::stable_sort(grid.begin(), grid.end(), [&](const auto& a, const auto& b) {
    return unevenness(a) < unevenness(b) - 1e-9;
  });
  return grid;
}

class StagesAgent final : public MemorylessAgent {
 public:
  StagesAgent(const Environment& env, const AgentOptions& options, const std::vector<int>& stages)
      : MemorylessAgent(AgentProgress("stages", options.seed, env)) {
    const int last = *std::max_element(stages.begin(), stages.end());
    for (const std::vector<double>& point : Grid(static_cast<size_t>(last + 1))) {
      Consider(env, stages, point);
    }
  }

  absl::StatusOr<Episode> Propose(Environment& env, int64_t number, double /*left*/) override {
    AMC_RETURN_IF_ERROR(progress_.CheckShape(env));
    if (number < 0 || number >= candidates()) {
      return absl::OutOfRangeError(
          absl::StrCat("agent stages: episode ", number, " of ", candidates()));
    }
    Episode episode = candidates_[static_cast<size_t>(number)];
    episode.number = number;
    return episode;
  }

  int64_t available() const override {
    return std::max<int64_t>(0, candidates() - progress_.done());
  }

 private:
  int64_t candidates() const { return static_cast<int64_t>(candidates_.size()); }

  void Consider(const Environment& env, const std::vector<int>& stages,
                const std::vector<double>& point) {
    std::vector<double> shares(stages.size(), 0);
    for (size_t g = 0; g < stages.size(); ++g) {
      if (stages[g] >= 0) shares[g] = point[static_cast<size_t>(stages[g])];
    }
    Fit fit(env);
    fit.ScaleToBudget(shares);
    if (!fit.fits()) return;
    fit.TopUp(shares);
    Episode episode = fit.ToEpisode(0);
    for (const Episode& earlier : candidates_) {
      if (earlier.policy == episode.policy) return;
    }
    episode.note = absl::StrCat("stages ", absl::StrJoin(point, " : ", [](auto* out, double share) {
                                  absl::StrAppend(out, absl::StrFormat("%.2f", share));
                                }));
    candidates_.push_back(std::move(episode));
  }

  std::vector<Episode> candidates_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> MakeStagesAgent(const Environment& env,
                                                       const AgentOptions& options) {
  AMC_ASSIGN_OR_RETURN(const std::vector<int> stages, StagesOf(env));
  auto agent = std::make_unique<StagesAgent>(env, options, stages);
  if (agent->available() == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("agent stages: no ratios reach the budget of ", env.budget(), " ",
                     BudgetName(env.bounds())));
  }
  return agent;
}

}  // namespace amc
