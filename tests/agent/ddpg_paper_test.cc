// ddpg-paper learns: on a problem whose best policies are known, what it proposes gets better than
// what it began with, than random search and than the same agent with its learning rates at zero.
#include "agent/ddpg_paper.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "agent/agent_registry.h"
#include "env/amc_env.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<Environment> MakeEnv() {
  const auto graph = BuildNetwork("resnet20", {.weightless = true});
  EXPECT_TRUE(graph.ok()) << graph.status();
  auto env = AmcEnv::Create(*graph, {.budget = {{.ratio = 0.5}}});
  EXPECT_TRUE(env.ok()) << env.status();
  return *std::move(env);
}

// Keeping channels is worth eight times as much in the first half of the network as in the second.
// Within the budget the two compete, so the best policy keeps the early groups and gives up the
// late.
double Reward(const Episode& episode) {
  double worth = 0;
  for (size_t i = 0; i < episode.executed.size(); ++i) {
    worth += (i < episode.executed.size() / 2 ? 8 : 1) * episode.executed[i];
  }
  return worth / (4.5 * static_cast<double>(episode.executed.size()));
}

// Mean reward of the last 20 of `episodes`.
double LateMean(const std::string& name, const AgentOptions& options, int64_t episodes) {
  auto env = MakeEnv();
  auto agent = MakeAgent(name, *env, options);
  EXPECT_TRUE(agent.ok()) << agent.status();
  double sum = 0;
  for (int64_t number = 0; number < episodes; ++number) {
    auto episode = (*agent)->Propose(*env, number, 1);
    EXPECT_TRUE(episode.ok()) << episode.status();
    const double reward = Reward(*episode);
    EXPECT_TRUE((*agent)->Learn(*episode, reward).ok());
    if (number >= episodes - 20) sum += reward;
  }
  return sum / 20;
}

TEST(DdpgPaperTest, LearnsWhatNeitherRandomSearchNorAnUntrainedActorKnows) {
  double learnt = 0, frozen = 0, random = 0;
  for (const uint64_t seed : {1, 2}) {
    AgentOptions options{.seed = seed, .ddpg = {.warmup_episodes = 50}};
    learnt += LateMean("ddpg-paper", options, 150) / 2;
    random += LateMean("random", options, 150) / 2;
    options.ddpg.actor_learning_rate = options.ddpg.critic_learning_rate = 0;
    frozen += LateMean("ddpg-paper", options, 150) / 2;
  }
  RecordProperty("learnt", std::to_string(learnt));
  RecordProperty("frozen", std::to_string(frozen));
  RecordProperty("random", std::to_string(random));
  EXPECT_GT(learnt, frozen + 0.1) << "random " << random;
  EXPECT_GT(learnt, random + 0.05) << "frozen " << frozen;
}

TEST(DdpgPaperTest, WarmUpDrawsEvenlyAndSaysSo) {
  auto env = MakeEnv();
  auto agent = MakeAgent("ddpg-paper", *env, {.ddpg = {.warmup_episodes = 100}});
  ASSERT_TRUE(agent.ok());
  std::vector<double> actions;
  for (int64_t number = 0; number < 100; ++number) {
    const auto episode = (*agent)->Propose(*env, number, 1);
    ASSERT_TRUE(episode.ok());
    EXPECT_EQ(episode->note, "warm-up");
    actions.insert(actions.end(), episode->actions.begin(), episode->actions.end());
  }
  double mean = 0;
  for (const double action : actions) {
    EXPECT_GE(action, 0.2);
    EXPECT_LE(action, 1);
    mean += action / static_cast<double>(actions.size());
  }
  EXPECT_NEAR(mean, 0.61, 0.03);  // between about 0.22, the smallest counts' ratios, and 1
  EXPECT_EQ((*agent)->Propose(*env, 100, 1)->note, "");
}

TEST(DdpgPaperTest, NoiseFadesAfterWarmUp) {
  auto env = MakeEnv();
  auto agent = MakeAgent("ddpg-paper", *env, {.ddpg = {.warmup_episodes = 0}});
  ASSERT_TRUE(agent.ok());
  // The actor is untrained and near 0.5 everywhere; what differs is the noise, 0.5 * 0.95^number.
  const auto spread = [&](int64_t number) {
    double sum = 0, squares = 0, count = 0;
    for (int64_t n = number; n < number + 5; ++n) {
      const auto episode = (*agent)->Propose(*env, n, 1);
      for (const double action : episode->actions) {
        sum += action;
        squares += action * action;
        ++count;
      }
    }
    return std::sqrt(squares / count - sum / count * (sum / count));
  };
  EXPECT_NEAR(spread(0), 0.22, 0.04);      // nearly uniform on [0.2, 1]
  EXPECT_NEAR(spread(60), 0.0208, 0.006);  // 0.5 * 0.95^62
  EXPECT_LT(spread(200), 0.01);
}

TEST(DdpgPaperTest, RefusesSettingsOutOfRange) {
  auto env = MakeEnv();
  std::vector<std::pair<DdpgOptions, std::string>> cases;
  cases.push_back({{.hidden = 0}, "ddpg.hidden: 0"});
  cases.push_back({{.critic_learning_rate = -1}, "ddpg.critic_learning_rate: -1"});
  cases.push_back({{.discount = 1.5}, "ddpg.discount: 1.5"});
  cases.push_back({{.batch = 0}, "ddpg.batch: 0"});
  cases.push_back({{.warmup_episodes = -1}, "ddpg.warmup_episodes: -1"});
  cases.push_back({{.noise = std::nan("")}, "ddpg.noise: nan"});
  cases.push_back({{.replay_transitions = 0}, "ddpg.replay_transitions: 0"});
  for (const auto& [options, message] : cases) {
    const auto agent = MakeAgent("ddpg-paper", *env, {.ddpg = options});
    EXPECT_EQ(agent.status().code(), absl::StatusCode::kInvalidArgument) << message;
    EXPECT_THAT(std::string(agent.status().message()), HasSubstr(message));
  }
}

}  // namespace
}  // namespace amc
