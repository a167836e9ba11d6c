// What every agent in the registry's table must do.
#include <cmath>
#include <limits>
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

std::unique_ptr<Environment> MakeEnv(const std::string& network = "resnet20",
                                     EnvOptions options = {.target_ratio = 0.5}) {
  const auto graph = BuildNetwork(network, {.weightless = true});
  EXPECT_TRUE(graph.ok()) << graph.status();
  auto env = AmcEnv::Create(*graph, options);
  EXPECT_TRUE(env.ok()) << env.status();
  return *std::move(env);
}

// Small, and soon past its warm-up.
AgentOptions Options(uint64_t seed = 1) {
  return {.seed = seed,
          .ddpg = {.hidden = 24, .batch = 16, .warmup_episodes = 4, .replay_transitions = 60}};
}

// Any deterministic reward will do.
double Reward(const Episode& episode) {
  double reward = 0;
  for (size_t i = 0; i < episode.executed.size(); ++i) {
    reward -= std::abs(episode.executed[i] - (i % 2 == 0 ? 0.9 : 0.4));
  }
  return reward;
}

// One finite number for agents that end.
int64_t Episodes(const Agent& agent, int64_t wanted) {
  return std::min(wanted, agent.max_episodes());
}

std::vector<Episode> RunEpisodes(Agent& agent, Environment& env, int64_t from, int64_t to) {
  std::vector<Episode> episodes;
  for (int64_t number = from; number < to; ++number) {
    auto episode = agent.Propose(env, number);
    EXPECT_TRUE(episode.ok()) << episode.status();
    EXPECT_TRUE(agent.Learn(*episode, Reward(*episode)).ok());
    episodes.push_back(*std::move(episode));
  }
  return episodes;
}

std::vector<Policy> Policies(const std::vector<Episode>& episodes) {
  std::vector<Policy> policies;
  for (const Episode& episode : episodes) policies.push_back(episode.policy);
  return policies;
}

class AgentConformanceTest : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Agent> Make(const Environment& env, uint64_t seed = 1) {
    auto agent = MakeAgent(GetParam(), env, Options(seed));
    EXPECT_TRUE(agent.ok()) << agent.status();
    return *std::move(agent);
  }
};

TEST_P(AgentConformanceTest, ProposesCandidatesOnTheLatticeAndWithinBudget) {
  for (const char* network : {"resnet20", "vgg-small", "mobilenetv2"}) {
    for (const Resource resource : {Resource::kMacs, Resource::kParams}) {
      for (const int64_t multiple : {1, 8}) {
        auto env = MakeEnv(
            network, {.resource = resource, .target_ratio = 0.6, .channel_multiple = multiple});
        auto agent = Make(*env);
        for (const Episode& episode : RunEpisodes(*agent, *env, 0, Episodes(*agent, 12))) {
          const auto kept = KeptCounts(episode.policy, env->grouping());
          ASSERT_TRUE(kept.ok()) << kept.status();
          for (size_t g = 0; g < kept->size(); ++g) {
            EXPECT_TRUE(env->lattice().Contains(g, (*kept)[g])) << network << " group " << g;
          }
          EXPECT_EQ(episode.cost, env->cost_model().Evaluate(*kept));
          EXPECT_LE(episode.cost.of(resource), env->budget()) << network;
          EXPECT_EQ(episode.executed.size(), env->num_steps());
          EXPECT_EQ(episode.actions.size(), env->num_steps());
        }
      }
    }
  }
}

TEST_P(AgentConformanceTest, UsesTheBudgetUp) {
  auto env = MakeEnv("resnet56");
  auto agent = Make(*env);
  for (const Episode& episode : RunEpisodes(*agent, *env, 0, Episodes(*agent, 10))) {
    EXPECT_GE(static_cast<double>(episode.cost.macs), 0.495 * 125485696) << episode.number;
  }
}

TEST_P(AgentConformanceTest, WorksWithoutABudget) {
  auto env = MakeEnv("resnet20", {.target_ratio = 0});
  auto agent = Make(*env);
  EXPECT_FALSE(RunEpisodes(*agent, *env, 0, Episodes(*agent, 8)).empty());
}

TEST_P(AgentConformanceTest, TheSameSeedGivesTheSameSearch) {
  auto env = MakeEnv();
  auto one = Make(*env), other = Make(*env);
  const int64_t episodes = Episodes(*one, 10);
  EXPECT_EQ(Policies(RunEpisodes(*one, *env, 0, episodes)),
            Policies(RunEpisodes(*other, *env, 0, episodes)));
  EXPECT_EQ(one->SaveState(), other->SaveState());
}

TEST_P(AgentConformanceTest, AnotherSeedGivesAnotherSearchUnlessThereIsNoRandomness) {
  auto env = MakeEnv();
  auto one = Make(*env, 1), other = Make(*env, 2);
  const bool endless = one->max_episodes() == std::numeric_limits<int64_t>::max();
  const int64_t episodes = Episodes(*one, 3);
  EXPECT_EQ(Policies(RunEpisodes(*one, *env, 0, episodes)) !=
                Policies(RunEpisodes(*other, *env, 0, episodes)),
            endless);
}

TEST_P(AgentConformanceTest, ARestoredAgentGoesOnBitForBit) {
  auto env = MakeEnv();
  auto agent = Make(*env);
  const int64_t end = Episodes(*agent, 12), middle = end / 2;
  RunEpisodes(*agent, *env, 0, middle);
  const std::string state = agent->SaveState();
  auto restored = Make(*env);
  ASSERT_TRUE(restored->RestoreState(state).ok());
  EXPECT_EQ(restored->SaveState(), state);
  EXPECT_EQ(Policies(RunEpisodes(*restored, *env, middle, end)),
            Policies(RunEpisodes(*agent, *env, middle, end)));
  EXPECT_EQ(restored->SaveState(), agent->SaveState());
}

TEST_P(AgentConformanceTest, ProposingChangesNothingAndHangsOnTheNumberAlone) {
  auto env = MakeEnv(), other_env = MakeEnv();
  auto agent = Make(*env);
  const int64_t last = Episodes(*agent, 8) - 1;
  RunEpisodes(*agent, *env, 0, last);
  const std::string state = agent->SaveState();
  const auto first = agent->Propose(*env, last);
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(agent->Propose(*env, 0).ok());
  const auto again = agent->Propose(*other_env, last);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(first->policy, again->policy);
  EXPECT_EQ(first->actions, again->actions);
  EXPECT_EQ(agent->SaveState(), state);
}

TEST_P(AgentConformanceTest, RefusesForeignBytesAndStaysAsItWas) {
  auto env = MakeEnv(), other_env = MakeEnv("vgg-small");
  auto agent = Make(*env);
  RunEpisodes(*agent, *env, 0, Episodes(*agent, 6));
  const std::string state = agent->SaveState();
  std::vector<std::string> foreign{"",
                                   "AMCA",
                                   "not a state at all, but long enough to be read",
                                   state + "x",
                                   Make(*other_env)->SaveState(),
                                   Make(*env, 99)->SaveState()};
  for (const std::string& name : AgentNames()) {
    if (name != GetParam()) foreign.push_back((*MakeAgent(name, *env, Options()))->SaveState());
  }
  std::string newer = state;
  newer[12] = 9;  // the version, behind the magic's count and its four bytes
  foreign.push_back(newer);
  for (size_t size = 0; size < state.size(); size += 1 + state.size() / 300) {
    foreign.push_back(state.substr(0, size));
  }
  for (const std::string& bytes : foreign) {
    EXPECT_EQ(agent->RestoreState(bytes).code(), absl::StatusCode::kInvalidArgument)
        << bytes.size() << " bytes";
  }
  EXPECT_EQ(agent->SaveState(), state);
}

TEST_P(AgentConformanceTest, LearnsInEpisodeOrderOnly) {
  auto env = MakeEnv();
  auto agent = Make(*env);
  auto first = agent->Propose(*env, 0);
  ASSERT_TRUE(first.ok());
  Episode second = *first;
  second.number = 1;
  EXPECT_EQ(agent->Learn(second, 0).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(agent->Learn(*first, 0).ok());
  EXPECT_EQ(agent->Learn(*first, 0).code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(AgentConformanceTest, RefusesRewardsThatAreNoNumbers) {
  auto env = MakeEnv();
  auto agent = Make(*env);
  auto episode = agent->Propose(*env, 0);
  ASSERT_TRUE(episode.ok());
  for (const double reward : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_EQ(agent->Learn(*episode, reward).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_P(AgentConformanceTest, SkipsInEpisodeOrderOnly) {
  auto env = MakeEnv();
  auto agent = Make(*env);
  auto first = agent->Propose(*env, 0);
  ASSERT_TRUE(first.ok());
  Episode second = *first;
  second.number = 1;
  EXPECT_EQ(agent->Skip(second).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(agent->Skip(*first).ok());
  EXPECT_EQ(agent->Skip(*first).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(agent->Learn(*first, 0).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(agent->Learn(second, 0).ok());
}

// Whatever it has learnt before stays: what it would propose next is what it would have proposed.
TEST_P(AgentConformanceTest, LearnsNothingFromSkippedEpisodes) {
  auto env = MakeEnv();
  auto agent = Make(*env);
  const int64_t end = Episodes(*agent, 12), middle = end / 2;
  RunEpisodes(*agent, *env, 0, middle);
  const auto expected = agent->Propose(*env, end - 1);
  for (int64_t number = middle; number < end; ++number) {
    const auto episode = agent->Propose(*env, number);
    ASSERT_TRUE(episode.ok()) << episode.status();
    ASSERT_TRUE(agent->Skip(*episode).ok());
  }
  const auto proposed = agent->Propose(*env, end - 1);
  ASSERT_TRUE(expected.ok() && proposed.ok());
  EXPECT_EQ(proposed->policy, expected->policy);
  EXPECT_EQ(proposed->actions, expected->actions);
}

TEST_P(AgentConformanceTest, LearnsWhereEverythingBeforeWasSkipped) {
  auto env = MakeEnv();
  auto agent = Make(*env);
  const int64_t end = Episodes(*agent, 12), middle = end / 2;
  for (int64_t number = 0; number < middle; ++number) {
    ASSERT_TRUE(agent->Skip(*agent->Propose(*env, number)).ok());
  }
  const std::string state = agent->SaveState();
  auto restored = Make(*env);
  ASSERT_TRUE(restored->RestoreState(state).ok());
  EXPECT_EQ(restored->SaveState(), state);
  EXPECT_EQ(Policies(RunEpisodes(*restored, *env, middle, end)),
            Policies(RunEpisodes(*agent, *env, middle, end)));
  EXPECT_EQ(restored->SaveState(), agent->SaveState());
}

TEST_P(AgentConformanceTest, RefusesAnotherEnvironmentAndNumbersOutOfRange) {
  auto env = MakeEnv(), other = MakeEnv("vgg-small");
  auto agent = Make(*env);
  EXPECT_EQ(agent->Propose(*other, 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(agent->Propose(*env, -1).status().code(), absl::StatusCode::kOutOfRange);
  if (agent->max_episodes() < std::numeric_limits<int64_t>::max()) {
    EXPECT_EQ(agent->Propose(*env, agent->max_episodes()).status().code(),
              absl::StatusCode::kOutOfRange);
  }
}

INSTANTIATE_TEST_SUITE_P(AllAgents, AgentConformanceTest, testing::ValuesIn(AgentNames()),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

TEST(AgentRegistryTest, AnUnknownNameIsAnsweredWithTheNamesThereAre) {
  const auto agent = MakeAgent("sarsa", *MakeEnv(), {});
  EXPECT_EQ(agent.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(agent.status().message()), HasSubstr("ddpg-paper, uniform, random"));
}

}  // namespace
}  // namespace amc
