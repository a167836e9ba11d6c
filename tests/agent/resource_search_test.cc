// Searches that mind other resources than MACs, on measurements that are made up.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/search.h"
#include "env/amc_env.h"
#include "env/cost/activation_memory.h"
#include "env/cost/latency_layers.h"
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

// A network of which one layer, by its table, takes nine tenths of the time.
class DearLayerTest : public ::testing::TestWithParam<std::string> {
 protected:
  // The dear layer is the first whose kind no other has and which makes channels of a group with
  // a choice: `table` has its times in proportion to its input and output channels. `touching` are
  // the groups with a choice that it reads or makes.
  struct Dear {
    LatencyTable table;
    std::set<int32_t> touching;
  };
  static Dear MakeDear(const Graph& graph, const Environment& plain) {
    const Grouping& grouping = plain.grouping();
    const LatencyLayers layers = *ListLatencyLayers(graph, grouping);
    std::map<std::string, int> kinds;
    for (const LatencyLayer& layer : layers.layers) ++kinds[layer.kind];
    const std::vector<int64_t> whole = plain.lattice().Maximum();
    const auto touches = [&](const LatencyLayer& layer) {
      std::set<int32_t> groups;
      for (size_t g = 0; g < whole.size(); ++g) {
        if (plain.lattice().choices(g).size() < 2) continue;
        std::vector<int64_t> less = whole;
        --less[g];
        if (layers.extents.Length(layer.in, less) < layers.extents.Length(layer.in, whole) ||
            layers.extents.Length(layer.out, less) < layers.extents.Length(layer.out, whole)) {
          groups.insert(static_cast<int32_t>(g));
        }
      }
      return groups;
    };
    const auto chosen = std::find_if(
        layers.layers.begin() + 1, layers.layers.end(), [&](const LatencyLayer& layer) {
          return kinds[layer.kind] == 1 && !layer.depthwise && !touches(layer).empty();
        });
    EXPECT_NE(chosen, layers.layers.end());
    Dear dear{.table = MadeUpTable(graph, 0), .touching = touches(*chosen)};
    double others = 0;
    const LatencyModel model = *LatencyModel::Create(graph, grouping, dear.table, "");
    for (const LatencyModel::LayerTime& time : model.Layers(whole)) {
      if (time.node != chosen->node) others += time.us;
    }
    const auto work = static_cast<double>(layers.extents.Length(chosen->in, whole) *
                                          layers.extents.Length(chosen->out, whole));
    for (LatencyRow& row : dear.table.rows) {
      if (row.layer != chosen->kind) continue;
      row.median_us = 9 * others * static_cast<double>(row.in * row.out) / work;
    }
    return dear;
  }

  // Every group alike: what it loses hangs on the share of channels that it keeps.
  static double LossOf(const Environment& env, absl::Span<const int64_t> kept) {
    double loss = 0;
    for (size_t g = 0; g < kept.size(); ++g) {
      const auto channels = static_cast<double>(env.lattice().choices(g).back());
      loss += 0.01 * (channels / static_cast<double>(kept[g]) - 1);
    }
    return loss;
  }

  static std::vector<int64_t> SearchFor(const Environment& env, const std::string& agent) {
    constexpr int64_t kImages = 1000;
    auto search =
        Search::Create(env.Clone(), {.agent = agent,
                                     .agent_options = {.seed = 3, .reward_images = kImages},
                                     .episodes = 60,
                                     .reward = {.metric = QualityMetric::kNegativeKl}});
    EXPECT_TRUE(search.ok()) << search.status();
    while (!(*search)->done()) {
      const auto generation = (*search)->Draw();
      EXPECT_TRUE(generation.ok()) << generation.status();
      if (generation->empty()) break;
      std::vector<Measurement> measurements;
      for (const Episode& episode : *generation) {
        Measurement measurement;
        measurement.images = episode.images == 0 ? kImages : episode.images;
        measurement.kl = LossOf(env, *KeptCounts(episode.policy, env.grouping()));
        measurement.work = measurement.images * episode.cost.macs;
        measurements.push_back(measurement);
      }
      const absl::Status learnt = (*search)->Commit(*generation, measurements).status();
      EXPECT_TRUE(learnt.ok()) << learnt;
    }
    EXPECT_TRUE((*search)->best().has_value());
    return *KeptCounts((*search)->best()->episode.policy, env.grouping());
  }

  // Mean preserve ratio of the groups that may be cut, in `groups` or not.
  static double MeanRatio(const Environment& env, absl::Span<const int64_t> kept,
                          const std::set<int32_t>& groups, bool in_them) {
    double sum = 0;
    int count = 0;
    for (size_t g = 0; g < kept.size(); ++g) {
      const absl::Span<const int64_t> choices = env.lattice().choices(g);
      if (choices.size() < 2 || groups.contains(static_cast<int32_t>(g)) != in_them) continue;
      sum += static_cast<double>(kept[g]) / static_cast<double>(choices.back());
      ++count;
    }
    EXPECT_GT(count, 0);
    return sum / count;
  }
};

TEST_P(DearLayerTest, IsWhatASearchForSpeedCuts) {
  const Graph graph = Zoo(GetParam());
  const auto plain = MakeEnv(graph, {.budget = {}, .keep_residual = true});
  const Dear dear = MakeDear(graph, *plain);
  const auto env = MakeEnv(graph, {.budget = {{.resource = Resource::kLatency, .ratio = 0.5}},
                                   .keep_residual = true,
                                   .latency = std::make_shared<const LatencyTable>(dear.table)});
  const std::vector<int64_t> uniform = SearchFor(*env, "uniform");
  const auto relative = [&](const std::vector<int64_t>& kept) {
    return MeanRatio(*env, kept, dear.touching, true) / MeanRatio(*env, kept, dear.touching, false);
  };
  // One ratio for all; the rest of the budget goes to whoever it suffices for.
  EXPECT_GT(relative(uniform), 0.75);
  for (const char* agent : {"dp", "hybrid", "evolution"}) {
    SCOPED_TRACE(agent);
    const std::vector<int64_t> kept = SearchFor(*env, agent);
    EXPECT_LE(env->cost().Evaluate(kept), env->budget());
    EXPECT_LT(relative(kept), 0.7);
    EXPECT_LT(relative(kept), 0.75 * relative(uniform));
    EXPECT_GT(MeanRatio(*env, kept, dear.touching, false), 0.95);
    EXPECT_LT(LossOf(*env, kept), 0.4 * LossOf(*env, uniform));
  }
}

// In ResNet-20 the layer makes a group of its own; in the others it reads one as well.
INSTANTIATE_TEST_SUITE_P(Networks, DearLayerTest,
                         ::testing::Values("resnet20", "plain20", "vgg-small"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace amc
