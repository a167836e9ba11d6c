// ddpg earns its evaluations: where groups differ a hundredfold in sensitivity it finds better
// policies than the paper's agent and random search at the same cost, and than itself without
// learning.
#include "agent/ddpg.h"

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

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
  auto env = AmcEnv::Create(*graph, {.budget = {{.ratio = target_ratio}}, .keep_residual = true});
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
// Without learning it still starts from the plan and repeats nothing, so on a single landscape it
// may be lucky: over all of them learning has to pay.
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

// What probes would leave nothing for is searched without them.
TEST(DdpgTest, AlwaysLeavesACandidatePayable) {
  auto env = MakeEnv(0.3);
  const Landscape landscape(*env, {.seed = 2});
  for (const int64_t evaluations : {1, 2, 5, 10}) {
    AgentOptions options = Options(1, static_cast<double>(evaluations));
    options.reward_images = 1000;
    const LandscapeRun run = SearchLandscape(landscape, *env, "ddpg", options, evaluations, 2);
    EXPECT_GT(run.candidates, 0) << evaluations;
  }
}

// Where there are few policies it does not pay twice for any, and ends when it finds no more.
TEST(DdpgTest, DrawsNoCandidateTwice) {
  const auto graph = BuildNetwork("vgg-small", {.weightless = true});
  ASSERT_TRUE(graph.ok());
  auto env = AmcEnv::Create(*graph, {.budget = {{.ratio = 0.5}}, .channel_multiple = 16});
  ASSERT_TRUE(env.ok());
  AgentOptions options = Options(5, 60);
  options.ddpg.warmup_episodes = 1000;  // of the search they are a twentieth
  auto agent = MakeAgent("ddpg", **env, options);
  ASSERT_TRUE(agent.ok());
  const int64_t probes = (*agent)->available();
  std::set<std::vector<int64_t>> seen;
  int64_t number = 0;
  for (bool more = true; more && number < probes + 60;) {
    std::vector<Episode> generation;
    for (int64_t i = 0; i < std::min<int64_t>(8, (*agent)->available()); ++i) {
      auto episode = (*agent)->Propose(**env, number + i, 30);
      if (!episode.ok()) {
        EXPECT_EQ(episode.status().code(), absl::StatusCode::kNotFound);
        more = false;
        break;
      }
      generation.push_back(*std::move(episode));
    }
    for (const Episode& episode : generation) {
      if (episode.kind == EpisodeKind::kCandidate) {
        EXPECT_TRUE(seen.insert(*KeptCounts(episode.policy, (*env)->grouping())).second);
      }
      if (number++ % 5 == 4) {
        ASSERT_TRUE((*agent)->Skip(episode).ok());
      } else {
        ASSERT_TRUE((*agent)->Learn(episode, 0.5).ok());
      }
    }
  }
  EXPECT_GT(seen.size(), 5u);
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
