// Searches that mind other resources than MACs, on measurements that are made up.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/search.h"
#include "env/amc_env.h"
#include "env/cost/activation_memory.h"
#include "env/cost/latency_model.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/latency_fixture.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

Graph Zoo(const std::string& name) { return *BuildNetwork(name, {.weightless = true}); }

std::unique_ptr<Environment> MakeEnv(const Graph& graph, const EnvOptions& options) {
  auto env = AmcEnv::Create(graph, options);
  EXPECT_TRUE(env.ok()) << env.status();
  return *std::move(env);
}

// Runs a search in which every candidate has the same error, a quarter.
std::vector<EvaluatedEpisode> SearchAtEqualError(const Environment& env, const std::string& agent,
                                                 RewardKind reward, int64_t episodes) {
  auto search =
      Search::Create(env.Clone(), {.agent = agent,
                                   .agent_options = {.seed = 3,
                                                     .ddpg = {.hidden = 24,
                                                              .actor_learning_rate = 1e-3,
                                                              .batch = 32,
                                                              .warmup_episodes = 20}},
                                   .episodes = episodes,
                                   .reward = {.metric = QualityMetric::kTop1, .kind = reward}});
  EXPECT_TRUE(search.ok()) << search.status();
  std::vector<EvaluatedEpisode> history;
  while (!(*search)->done()) {
    const auto generation = (*search)->Draw();
    EXPECT_TRUE(generation.ok()) << generation.status();
    std::vector<Measurement> measurements(generation->size());
    for (Measurement& measurement : measurements) measurement.top1 = 0.75;
    const auto evaluated = (*search)->Commit(*generation, measurements);
    EXPECT_TRUE(evaluated.ok()) << evaluated.status();
    history.insert(history.end(), evaluated->begin(), evaluated->end());
  }
  for (const EvaluatedEpisode& episode : history) {
    EXPECT_GE((*search)->best()->reward, episode.reward);
  }
  return history;
}

// Each kind of reward, with a budget on another resource and without one, against costs that were
// counted apart.
TEST(ResourceRewardTest, AreMinusTheErrorTimesTheLogarithmOfTheCost) {
  const Graph graph = Zoo("resnet20");
  const auto table = std::make_shared<const LatencyTable>(MadeUpTable(graph, 0.3));
  const Grouping grouping = *BuildGroups(graph);
  const CostModel costs = *CostModel::Create(graph, grouping);
  const ActivationMemory memory = *ActivationMemory::Create(graph, grouping);
  const LatencyModel latency = *LatencyModel::Create(graph, grouping, *table, "");
  using Kept = std::vector<int64_t>;
  const std::vector<std::pair<RewardKind, std::function<int64_t(const Kept&)>>> kinds = {
      {RewardKind::kErrorLogMacs, [&](const Kept& kept) { return costs.Evaluate(kept).macs; }},
      {RewardKind::kErrorLogParams, [&](const Kept& kept) { return costs.Evaluate(kept).params; }},
      {RewardKind::kErrorLogModelBytes, [&](const Kept& kept) { return costs.ModelBytes(kept); }},
      {RewardKind::kErrorLogActivationBytes,
       [&](const Kept& kept) { return memory.Evaluate(kept); }},
      {RewardKind::kErrorLogLatency, [&](const Kept& kept) { return latency.Evaluate(kept); }},
  };
  for (const std::vector<BudgetTarget>& budget :
       {std::vector<BudgetTarget>{}, std::vector<BudgetTarget>{{.ratio = 0.5}}}) {
    const auto env = MakeEnv(graph, {.budget = budget, .latency = table});
    for (const auto& [kind, amount] : kinds) {
      for (const EvaluatedEpisode& e : SearchAtEqualError(*env, "random", kind, 10)) {
        const Kept kept = *KeptCounts(e.episode.policy, grouping);
        EXPECT_DOUBLE_EQ(e.reward, -0.25 * std::log(static_cast<double>(amount(kept))));
      }
    }
  }
}

TEST(ResourceRewardTest, WithoutABudgetTheFastestIsTheBestOfEquals) {
  const Graph graph = Zoo("resnet20");
  const auto table = std::make_shared<const LatencyTable>(MadeUpTable(graph, 0.9, /*seed=*/7));
  const auto env = MakeEnv(graph, {.budget = {}, .latency = table});
  const CostFunction& latency = *env->resource_cost(Resource::kLatency);
  const auto time_of = [&](const EvaluatedEpisode& e) {
    return static_cast<double>(latency.Evaluate(*KeptCounts(e.episode.policy, env->grouping())));
  };
  const auto history = SearchAtEqualError(*env, "random", RewardKind::kErrorLogLatency, 100);
  const auto best =
      std::max_element(history.begin(), history.end(),
                       [](const auto& a, const auto& b) { return a.reward < b.reward; });
  for (const EvaluatedEpisode& e : history) EXPECT_LE(time_of(*best), time_of(e));
  // That is not what has the fewest MACs, so the two rewards differ.
  const auto smallest = std::min_element(
      history.begin(), history.end(),
      [](const auto& a, const auto& b) { return a.episode.cost.macs < b.episode.cost.macs; });
  EXPECT_LT(time_of(*best), time_of(*smallest));
}

// What it draws once it has learnt is faster than what it began with.
TEST(ResourceRewardTest, AnAgentLearnsToBeFast) {
  const Graph graph = Zoo("resnet20");
  const auto table = std::make_shared<const LatencyTable>(MadeUpTable(graph, 0.3));
  const auto env = MakeEnv(graph, {.budget = {}, .latency = table});
  const CostFunction& latency = *env->resource_cost(Resource::kLatency);
  const auto history = SearchAtEqualError(*env, "ddpg-paper", RewardKind::kErrorLogLatency, 200);
  ASSERT_EQ(history.size(), 200U);
  const auto mean_of = [&](size_t begin, size_t end) {
    double sum = 0;
    for (size_t i = begin; i < end; ++i) {
      sum += static_cast<double>(
          latency.Evaluate(*KeptCounts(history[i].episode.policy, env->grouping())));
    }
    return sum / static_cast<double>(end - begin);
  };
  EXPECT_LT(mean_of(180, 200), 0.8 * mean_of(0, 20));
}

TEST(ResourceRewardTest, LatencyNeedsATable) {
  const auto env = MakeEnv(Zoo("resnet20"), {.budget = {}});
  EXPECT_EQ(env->resource_cost(Resource::kLatency), nullptr);
  SearchOptions options;
  options.reward.kind = RewardKind::kErrorLogLatency;
  const absl::Status refused = Search::Create(env->Clone(), options).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("latency: it has no table"));
}

}  // namespace
}  // namespace amc
