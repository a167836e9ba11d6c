// ddpg earns its evaluations: where groups differ a hundredfold in sensitivity it finds better
// policies than the paper's agent and random search at the same cost, and than itself without
// learning.
#include "agent/ddpg.h"

#include <memory>
#include <string>
#include <utility>

#include "agent/agent_registry.h"
#include "env/amc_env.h"
#include "env/graph/zoo.h"
#include "gtest/gtest.h"
#include "tests/agent/landscape.h"

namespace amc {
namespace {

std::unique_ptr<Environment> MakeEnv(double target_ratio = 0.5) {
  const auto graph = BuildNetwork("resnet20", {.weightless = true});
  EXPECT_TRUE(graph.ok()) << graph.status();
  auto env = AmcEnv::Create(*graph, {.target_ratio = target_ratio, .keep_residual = true});
  EXPECT_TRUE(env.ok()) << env.status();
  return *std::move(env);
}

AgentOptions Options(uint64_t seed, double evaluations) {
  return {.seed = seed,
          .evaluations = evaluations,
          .reward_images = 5000,
          .ddpg = {.hidden = 48, .warmup_episodes = 30},
          .probes = {.images = 500, .ratios = 4}};
}

double Reward(const Landscape& landscape, const Environment& env, const Episode& episode) {
  const bool probe = episode.kind == EpisodeKind::kProbe;
  return -landscape.Measure(env, episode.policy, episode.images, probe).kl;
}

// Sensitivities differ by about two orders of magnitude (their logarithms by 1.2 deviations).
TEST(DdpgTest, BeatsThePapersAgentAndRandomSearchAndItselfWithoutLearning) {
  constexpr int64_t kEvaluations = 100, kParallel = 2;
  double learnt = 0, frozen = 0;
  for (const uint64_t seed : {1, 2, 3}) {
    auto env = MakeEnv();
    const Landscape landscape(*env, {.seed = seed, .spread = 1.2});
    AgentOptions options = Options(seed, kEvaluations);
    const auto regret = [&](const std::string& agent) {
      return SearchLandscape(landscape, *env, agent, options, kEvaluations, kParallel).regret;
    };
    const double ddpg = regret("ddpg"), paper = regret("ddpg-paper"), random = regret("random");
    options.ddpg.actor_learning_rate = options.ddpg.critic_learning_rate = 0;
    const double still = regret("ddpg");
    RecordProperty("seed" + std::to_string(seed),
                   std::to_string(ddpg) + " " + std::to_string(still));
    EXPECT_LT(ddpg, paper) << seed;
    EXPECT_LT(ddpg, random) << seed;
    EXPECT_LT(ddpg, still) << seed;
    learnt += ddpg;
    frozen += still;
  }
  EXPECT_LT(learnt, 0.75 * frozen);
}

// Its first candidate is the plan, which the probes alone decide; what comes after it is learnt.
TEST(DdpgTest, LearnsFromEvaluationsUnderAnotherBudget) {
  double remembering = 0, forgetful = 0;
  for (const uint64_t seed : {1, 2, 3}) {
    auto env = MakeEnv(0.5), other_env = MakeEnv(0.6);
    const Landscape landscape(*env, {.seed = seed, .spread = 1.2});
    AgentOptions options = Options(seed, 30);
    options.ddpg.warmup_episodes = 0;
    auto earlier = MakeAgent("ddpg", *other_env, Options(seed + 10, 60));
    auto agent = MakeAgent("ddpg", *env, options), fresh = MakeAgent("ddpg", *env, options);
    ASSERT_TRUE(earlier.ok() && agent.ok() && fresh.ok());
    for (int64_t number = 0, candidates = 0; candidates < 60; ++number) {
      const double left = 60.0 - static_cast<double>(candidates);
      const auto episode = (*earlier)->Propose(*other_env, number, left);
      ASSERT_TRUE(episode.ok());
      const double reward = Reward(landscape, *other_env, *episode);
      ASSERT_TRUE((*earlier)->Learn(*episode, reward).ok());
      if (episode->kind != EpisodeKind::kCandidate) continue;
      ++candidates;
      (*agent)->Remember(*episode, reward);
    }
    for (const auto& [learner, sum] :
         {std::pair(agent->get(), &remembering), {fresh->get(), &forgetful}}) {
      for (int64_t number = 0, candidates = 0; candidates < 12; ++number) {
        const auto episode = learner->Propose(*env, number, 20);
        ASSERT_TRUE(episode.ok());
        const double reward = Reward(landscape, *env, *episode);
        ASSERT_TRUE(learner->Learn(*episode, reward).ok());
        if (episode->kind != EpisodeKind::kCandidate) continue;
        ++candidates;
        *sum -= reward;
      }
    }
  }
  EXPECT_LT(remembering, forgetful);
}

TEST(DdpgTest, ProbesThatAreRememberedAreNotMadeAgain) {
  auto env = MakeEnv();
  auto one = MakeAgent("ddpg", *env, Options(1, 40)),
       other = MakeAgent("ddpg", *env, Options(1, 40));
  ASSERT_TRUE(one.ok() && other.ok());
  const int64_t probes = (*one)->available();
  for (int64_t number = 0; number < probes; ++number) {
    const auto episode = (*one)->Propose(*env, number, 40);
    ASSERT_TRUE(episode.ok());
    ASSERT_EQ(episode->kind, EpisodeKind::kProbe);
    ASSERT_TRUE((*one)->Learn(*episode, 0.5 + 0.001 * static_cast<double>(number % 7)).ok());
    (*other)->Remember(*episode, 0.5 + 0.001 * static_cast<double>(number % 7));
  }
  const auto expected = (*one)->Propose(*env, probes, 40), first = (*other)->Propose(*env, 0, 40);
  ASSERT_TRUE(expected.ok() && first.ok());
  EXPECT_EQ(first->kind, EpisodeKind::kCandidate);
  EXPECT_EQ(first->policy, expected->policy);
}

TEST(DdpgTest, GoesOnBitForBitWithWhatItRemembers) {
  auto env = MakeEnv();
  const Landscape landscape(*env, {.seed = 3});
  AgentOptions options = Options(3, 30);
  options.ddpg.warmup_episodes = 1;
  auto random = MakeAgent("random", *env, options);
  auto agent = MakeAgent("ddpg", *env, options), restored = MakeAgent("ddpg", *env, options);
  ASSERT_TRUE(random.ok() && agent.ok() && restored.ok());
  for (int64_t number = 0; number < 5; ++number) {
    const auto episode = (*random)->Propose(*env, number, 30);
    ASSERT_TRUE(episode.ok());
    (*agent)->Remember(*episode, Reward(landscape, *env, *episode));
  }
  const int64_t probes = (*agent)->available();
  for (int64_t number = 0; number < probes + 6; ++number) {
    if (number == probes + 3) {
      ASSERT_TRUE((*restored)->RestoreState((*agent)->SaveState()).ok());
    }
    const auto episode = (*agent)->Propose(*env, number, 30);
    ASSERT_TRUE(episode.ok());
    ASSERT_TRUE((*agent)->Learn(*episode, Reward(landscape, *env, *episode)).ok());
    if (number < probes + 3) continue;
    const auto same = (*restored)->Propose(*env, number, 30);
    ASSERT_TRUE(same.ok());
    EXPECT_EQ(same->policy, episode->policy);
    ASSERT_TRUE((*restored)->Learn(*same, Reward(landscape, *env, *same)).ok());
    EXPECT_EQ((*restored)->SaveState(), (*agent)->SaveState());
  }
}

TEST(DdpgTest, RefusesSettingsOutOfRange) {
  auto env = MakeEnv();
  AgentOptions options = Options(1, 40);
  options.ddpg.noise = -1;
  EXPECT_EQ(MakeAgent("ddpg", *env, options).status().code(), absl::StatusCode::kInvalidArgument);
  options = Options(1, 40);
  options.probes.ratios = 0;
  EXPECT_EQ(MakeAgent("ddpg", *env, options).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace amc
