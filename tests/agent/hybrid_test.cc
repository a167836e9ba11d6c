// `hybrid` and `evolution`: what they measure in which order, at any budget and generation; and
// that they find better policies than their rivals on made-up networks (landscape.h).
#include "agent/hybrid.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/agent_registry.h"
#include "agent/search.h"
#include "env/amc_env.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/agent/landscape.h"

namespace amc {
namespace {

std::unique_ptr<Environment> MakeEnv(const std::string& network = "resnet20",
                                     EnvOptions options = {.budget = {{.ratio = 0.5}}}) {
  const auto graph = BuildNetwork(network, {.weightless = true});
  EXPECT_TRUE(graph.ok()) << graph.status();
  auto env = AmcEnv::Create(*graph, options);
  EXPECT_TRUE(env.ok()) << env.status();
  return *std::move(env);
}

SearchOptions Options(const std::string& agent, int64_t evaluations, int64_t parallel,
                      int64_t reward_images) {
  SearchOptions options;
  options.agent = agent;
  options.agent_options = {.seed = 3, .reward_images = reward_images};
  options.episodes = evaluations;
  options.parallel_episodes = parallel;
  options.reward.metric = QualityMetric::kNegativeKl;
  return options;
}

// Runs a search on a landscape; every `infeasible`th episode has no outcome.
std::vector<Episode> RunSearch(const Environment& env, const SearchOptions& options,
                               int64_t infeasible = 0, double* spent = nullptr) {
  const Landscape landscape(env, {.seed = 1});
  auto search = Search::Create(env.Clone(), options);
  EXPECT_TRUE(search.ok()) << search.status();
  std::vector<Episode> episodes;
  while (!(*search)->done()) {
    const auto generation = (*search)->Draw();
    EXPECT_TRUE(generation.ok()) << generation.status();
    if (!generation.ok() || generation->empty()) break;
    std::vector<Measurement> measurements;
    for (const Episode& episode : *generation) {
      measurements.push_back(landscape.Measure(env, episode.policy, episode.images,
                                               episode.kind == EpisodeKind::kProbe));
      if (infeasible > 0 && episode.number % infeasible == 0) {
        measurements.back().infeasible = "not finite";
      }
      episodes.push_back(episode);
    }
    EXPECT_TRUE((*search)->Commit(*generation, measurements).ok());
  }
  if (spent != nullptr) *spent = (*search)->spent();
  return episodes;
}

int64_t Count(const std::vector<Episode>& episodes, EpisodeKind kind) {
  return std::count_if(episodes.begin(), episodes.end(),
                       [&](const Episode& episode) { return episode.kind == kind; });
}

void ExpectNoCandidateTwice(const Environment& env, const std::vector<Episode>& episodes) {
  std::set<std::pair<std::vector<int64_t>, int64_t>> seen;
  for (const Episode& episode : episodes) {
    const auto kept = KeptCounts(episode.policy, env.grouping());
    ASSERT_TRUE(kept.ok());
    EXPECT_TRUE(seen.emplace(*kept, episode.images).second) << episode.number;
  }
}

TEST(HybridTest, MakesSenseAtAnyBudgetAndGeneration) {
  const auto env = MakeEnv();
  for (const int64_t reward_images : {5000, 0}) {
    for (const int64_t evaluations : {1, 5, 20, 40}) {
      for (const int64_t parallel : {1, 2, 16}) {
        double spent = 0;
        const auto episodes =
            RunSearch(*env, Options("hybrid", evaluations, parallel, reward_images), 0, &spent);
        SCOPED_TRACE(testing::Message() << reward_images << " images, " << evaluations
                                        << " evaluations, " << parallel << " at a time");
        EXPECT_GE(Count(episodes, EpisodeKind::kCandidate), 1);
        EXPECT_LE(spent, static_cast<double>(evaluations) + 1e-6);
        EXPECT_GE(spent, static_cast<double>(evaluations) - 1.2);
        if (reward_images == 0) {
          EXPECT_EQ(Count(episodes, EpisodeKind::kScreening), 0);
        }
        EXPECT_EQ(episodes.back().kind, EpisodeKind::kCandidate);
        ExpectNoCandidateTwice(*env, episodes);
      }
    }
  }
}

TEST(HybridTest, GoesOnWhenEpisodesAreInfeasible) {
  const auto env = MakeEnv();
  for (const char* agent : {"hybrid", "evolution"}) {
    for (const int64_t every : {1, 2, 3}) {
      const auto episodes = RunSearch(*env, Options(agent, 20, 2, 5000), every);
      EXPECT_GE(Count(episodes, EpisodeKind::kCandidate), 2) << agent << " " << every;
      ExpectNoCandidateTwice(*env, episodes);
    }
  }
}

TEST(HybridTest, EndsWhenEveryPolicyWasMeasured) {
  // Few choices are left to groups of 16 to 64 channels in multiples of 32.
  const auto env = MakeEnv("resnet20", {.budget = {{.ratio = 0.9}}, .channel_multiple = 32});
  for (const char* agent : {"hybrid", "evolution"}) {
    double spent = 0;
    const auto episodes = RunSearch(*env, Options(agent, 200, 4, 5000), 0, &spent);
    EXPECT_LT(spent, 190);
    EXPECT_EQ(Count(episodes, EpisodeKind::kScreening), 0);
    EXPECT_GE(Count(episodes, EpisodeKind::kCandidate), 2);
    ExpectNoCandidateTwice(*env, episodes);
  }
}

TEST(HybridTest, SearchesASingleGroup) {
  auto env = MakeEnv("resnet20", {.budget = {{.ratio = 0.97}}});
  std::vector<std::string> frozen;
  for (size_t g = 0; g + 1 < env->grouping().groups.size(); ++g) {
    frozen.push_back(env->grouping().groups[g].name);
  }
  env = MakeEnv("resnet20", {.budget = {{.ratio = 0.97}}, .frozen = frozen});
  ASSERT_EQ(env->num_steps(), 1u);
  const auto episodes = RunSearch(*env, Options("hybrid", 40, 2, 5000));
  EXPECT_EQ(Count(episodes, EpisodeKind::kCandidate), 1);  // one count is the largest that fits
}

TEST(HybridTest, LandsOnOddBudgets) {
  for (const char* network : {"resnet20", "vgg-small", "mobilenetv2"}) {
    const auto env = MakeEnv(network, {.budget = {{.ratio = 0.437}}});
    for (const Episode& episode : RunSearch(*env, Options("hybrid", 20, 2, 5000))) {
      if (episode.kind == EpisodeKind::kProbe) continue;
      EXPECT_LE(episode.cost.macs, env->budget());
      EXPECT_GE(static_cast<double>(episode.cost.macs), 0.995 * static_cast<double>(env->budget()))
          << network << " " << episode.number;
    }
  }
}

TEST(HybridTest, PartsCanBeTurnedOff) {
  const auto env = MakeEnv();
  for (const int part : {0, 1, 2, 3}) {
    SearchOptions options = Options("hybrid", 30, 2, 5000);
    HybridOptions& parts = options.agent_options.hybrid;
    (part == 0   ? parts.probes
     : part == 1 ? parts.surrogate
     : part == 2 ? parts.screening
                 : parts.plan) = false;
    const auto episodes = RunSearch(*env, options);
    EXPECT_EQ(Count(episodes, EpisodeKind::kProbe) == 0, part == 0);
    EXPECT_EQ(Count(episodes, EpisodeKind::kScreening) == 0, part == 2);
    ExpectNoCandidateTwice(*env, episodes);
  }
}

TEST(EvolutionTest, StartsWhereItIsTold) {
  const auto env = MakeEnv();
  SearchOptions options = Options("evolution", 10, 1, 5000);
  const auto uniform = RunSearch(*env, options);
  const auto agent = MakeAgent("uniform", *env, {});
  ASSERT_TRUE(agent.ok());
  EXPECT_EQ(uniform.front().policy, (*agent)->Propose(*env->Clone(), 0, 10)->policy);

  options.agent_options.evolution.start = "dp";
  const auto plan = RunSearch(*env, options);
  EXPECT_EQ(plan.front().kind, EpisodeKind::kProbe);

  // A policy over the budget is cut to it; groups that it leaves out stay whole as long as can be.
  options.agent_options.evolution.start_policy.decisions = {
      {.target = env->grouping().groups[0].name, .kept = 5}};
  const auto given = RunSearch(*env, options);
  EXPECT_EQ(given.front().kind, EpisodeKind::kCandidate);
  EXPECT_LE(given.front().cost.macs, env->budget());

  options.agent_options.evolution.start_policy.decisions[0].target = "no such group";
  EXPECT_FALSE(Search::Create(env->Clone(), options).ok());
  options.agent_options.evolution = {};
  options.agent_options.evolution.start = "somewhere";
  EXPECT_FALSE(Search::Create(env->Clone(), options).ok());
}

TEST(EvolutionTest, MeasuresOnThreeNumbersOfImages) {
  const auto env = MakeEnv();
  std::map<int64_t, int> levels;
  for (const Episode& episode : RunSearch(*env, Options("evolution", 30, 2, 5000))) {
    ++levels[episode.images];
  }
  ASSERT_EQ(levels.size(), 3u);
  EXPECT_GT(levels[500], 2 * levels[1581]);
  EXPECT_GT(levels[1581], 2 * levels[0]);
}

TEST(ExchangeAgentTest, LearnsFromEarlierSearches) {
  const auto env = MakeEnv(), other = MakeEnv("resnet20", {.budget = {{.ratio = 0.6}}});
  const Landscape landscape(*env, {.seed = 1});
  const SearchOptions options = Options("hybrid", 40, 2, 5000);
  const auto earlier = RunSearch(*other, Options("hybrid", 40, 2, 5000));
  const auto agent = MakeAgent("hybrid", *env, options.agent_options);
  ASSERT_TRUE(agent.ok());
  for (const Episode& episode : earlier) {
    (*agent)->Remember(episode, -landscape.Measure(*env, episode.policy, 500, false).kl);
  }
  const auto first = (*agent)->Propose(*env->Clone(), 0, 20);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->kind, EpisodeKind::kCandidate);  // its probes were all measured
  const auto restored = MakeAgent("hybrid", *env, options.agent_options);
  ASSERT_TRUE((*restored)->RestoreState((*agent)->SaveState()).ok());
  EXPECT_EQ((*restored)->Propose(*env->Clone(), 0, 20)->policy, first->policy);
}

// Asks an agent for one episode at a time and answers, until it has nothing new to say (true) or
// has spent its evaluations.
bool DriveToEnd(const Environment& env, Agent& agent, double evaluations,
                std::vector<Episode>& episodes) {
  constexpr int64_t kImages = 1000;
  const Landscape landscape(env, {.seed = 1, .images = kImages});
  const auto scratch = env.Clone();
  for (double left = evaluations; left > 0 && agent.available() > 0;) {
    const auto number = static_cast<int64_t>(episodes.size());
    const auto episode = agent.Propose(*scratch, number, left);
    if (absl::IsNotFound(episode.status())) return true;
    EXPECT_TRUE(episode.ok()) << episode.status();
    if (!episode.ok()) return false;
    const bool probe = episode->kind == EpisodeKind::kProbe;
    const auto measured = landscape.Measure(env, episode->policy, episode->images, probe);
    EXPECT_TRUE(agent.Learn(*episode, -measured.kl).ok());
    const int64_t images = episode->images == 0 ? kImages : episode->images;
    left -= static_cast<double>(images) / kImages;
    episodes.push_back(*episode);
  }
  return agent.available() == 0;
}

TEST(ExchangeAgentTest, EndsWhenNothingNewIsFound) {
  const auto whole = MakeEnv();
  const int64_t least = whole->cost().Evaluate(whole->lattice().Minimum());
  std::vector<std::unique_ptr<Environment>> envs;
  envs.push_back(MakeEnv("resnet20", {.budget = {{.ratio = 1}}}));
  envs.push_back(MakeEnv("resnet20", {.budget = {{.absolute = least}}}));
  envs.push_back(MakeEnv("resnet20", {.budget = {{.absolute = least + least / 200}}}));
  envs.push_back(MakeEnv("plain20", {.budget = {{.ratio = 0.5}}, .channel_multiple = 16}));
  for (const auto& env : envs) {
    for (const char* name : {"hybrid", "evolution"}) {
      SCOPED_TRACE(testing::Message() << name << " within " << env->budget());
      const AgentOptions options{.evaluations = 200, .reward_images = 1000};
      const auto agent = MakeAgent(name, *env, options);
      ASSERT_TRUE(agent.ok()) << agent.status();
      std::vector<Episode> episodes;
      EXPECT_TRUE(DriveToEnd(*env, **agent, options.evaluations, episodes));
      ExpectNoCandidateTwice(*env, episodes);
      // What was screened was promoted.
      std::vector<Policy> candidates;
      for (const Episode& episode : episodes) {
        if (episode.kind == EpisodeKind::kCandidate) candidates.push_back(episode.policy);
      }
      EXPECT_GE(candidates.size(), 1u);
      for (const Episode& episode : episodes) {
        if (episode.kind != EpisodeKind::kScreening) continue;
        EXPECT_THAT(candidates, testing::Contains(episode.policy)) << episode.number;
      }
    }
  }
}

TEST(ExchangeAgentTest, RememberedProbesAreWorthMeasuredOnes) {
  const auto env = MakeEnv();
  const Landscape landscape(*env, {.seed = 1});
  AgentOptions options{.evaluations = 60, .reward_images = 5000};
  const auto probing = MakeAgent("hybrid", *env, options);
  const auto taught = MakeAgent("hybrid", *env, options);
  options.hybrid.probes = false;
  const auto ignorant = MakeAgent("hybrid", *env, options);
  ASSERT_TRUE(probing.ok() && taught.ok() && ignorant.ok());
  const auto scratch = env->Clone();
  for (int64_t number = 0;; ++number) {
    const auto episode = (*probing)->Propose(*scratch, number, 60);
    ASSERT_TRUE(episode.ok()) << episode.status();
    if (episode->kind != EpisodeKind::kProbe) {
      EXPECT_GT(number, 10);
      EXPECT_EQ((*taught)->Propose(*scratch, 0, 60)->policy, episode->policy);
      EXPECT_NE((*ignorant)->Propose(*scratch, 0, 60)->policy, episode->policy);
      break;
    }
    const double reward = -landscape.Measure(*env, episode->policy, episode->images, true).kl;
    (*taught)->Remember(*episode, reward);
    ASSERT_TRUE((*probing)->Learn(*episode, reward).ok());
  }
}

TEST(HybridTest, ProbesWhereACandidateCanStillBePaidFor) {
  const auto env = MakeEnv("resnet56", {.budget = {{.ratio = 0.3}}, .keep_residual = true});
  for (const int64_t evaluations : {1, 2, 5, 20}) {
    const auto episodes = RunSearch(*env, Options("hybrid", evaluations, 2, 1000));
    EXPECT_EQ(Count(episodes, EpisodeKind::kProbe) > 0, evaluations == 20) << evaluations;
    EXPECT_GE(Count(episodes, EpisodeKind::kCandidate), 1) << evaluations;
  }
}

TEST(HybridTest, MeasuresEveryPolicyWhenTakenUpWithMoreEvaluations) {
  const auto env = MakeEnv("vgg-small", {.budget = {{.ratio = 0.5}}, .channel_multiple = 16});
  AgentOptions options{.evaluations = 20, .reward_images = 1000};
  options.evolution.screening_images = 250;
  const auto poor = MakeAgent("hybrid", *env, options);
  options.evaluations = 1000;
  const auto rich = MakeAgent("hybrid", *env, options);
  ASSERT_TRUE(poor.ok() && rich.ok());
  std::vector<Episode> episodes;
  EXPECT_FALSE(DriveToEnd(*env, **poor, 20, episodes));
  EXPECT_GT(Count(episodes, EpisodeKind::kScreening), 0);
  ASSERT_TRUE((*rich)->RestoreState((*poor)->SaveState()).ok());
  EXPECT_TRUE(DriveToEnd(*env, **rich, 980, episodes));
  EXPECT_EQ(Count(episodes, EpisodeKind::kCandidate), 242);
}

// Mean regret over seeds. What they must beat is what the issue asks for.
double Regret(const Environment& env, const std::string& agent, int64_t evaluations,
              bool top1 = false) {
  double sum = 0;
  constexpr int kSeeds = 6;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Landscape landscape(env, {.seed = 100 + seed});
    const AgentOptions options{.seed = seed, .reward_images = 5000};
    sum += SearchLandscape(landscape, env, agent, options, evaluations, 2, top1).regret;
  }
  return sum / kSeeds;
}

TEST(LandscapeTest, HybridBeatsItsRivalsAtAFifthOfTheCost) {
  for (const char* network : {"resnet20", "vgg-small"}) {
    const auto env = MakeEnv(network, {.budget = {{.ratio = 0.5}}, .keep_residual = true});
    const double hybrid = Regret(*env, "hybrid", 40);
    const double dp = Regret(*env, "dp", 40), random = Regret(*env, "random", 400);
    std::printf("%s: hybrid at 40 %.3f, dp %.3f, random at 400 %.3f, sensitivity %.3f\n", network,
                hybrid, dp, random, Regret(*env, "sensitivity", 40));
    EXPECT_LT(hybrid, 0.7 * dp) << network;
    EXPECT_LT(hybrid, 0.5 * random) << network;
  }
}

TEST(LandscapeTest, TopOneWillDoToo) {
  const auto env = MakeEnv("resnet20", {.budget = {{.ratio = 0.5}}, .keep_residual = true});
  const double hybrid = Regret(*env, "hybrid", 60, true);
  EXPECT_LT(hybrid, 0.6 * Regret(*env, "random", 400, true));
}

}  // namespace
}  // namespace amc
