// NetAdapt against a greedy search by brute force, its schedule, and searches that cannot pay for
// it.
#include "agent/netadapt.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/agent_registry.h"
#include "agent/search.h"
#include "env/amc_env.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

std::unique_ptr<Environment> MakeEnv(const std::string& network, const EnvOptions& options) {
  const auto graph = BuildNetwork(network, {.weightless = true});
  EXPECT_TRUE(graph.ok()) << graph.status();
  auto env = AmcEnv::Create(*graph, options);
  EXPECT_TRUE(env.ok()) << env.status();
  return *std::move(env);
}

std::unique_ptr<Environment> SmallEnv(double target_ratio = 0.6) {
  return MakeEnv("vgg-small", {.budget = {{.ratio = target_ratio}}, .channel_multiple = 4});
}

// Groups differ; the same policy always has the same quality.
double Quality(const Environment& env, absl::Span<const int64_t> kept) {
  double loss = 0;
  for (size_t g = 0; g < kept.size(); ++g) {
    const auto whole = static_cast<double>(env.lattice().choices(g).back());
    loss += (1 + 0.73 * static_cast<double>(g * 7 % 5) + 0.0137 * static_cast<double>(g)) *
            (whole / static_cast<double>(kept[g]) - 1);
  }
  return -loss;
}

double Quality(const Environment& env, const Episode& episode) {
  const auto kept = KeptCounts(episode.policy, env.grouping());
  EXPECT_TRUE(kept.ok()) << kept.status();
  return Quality(env, *kept);
}

struct History {
  std::vector<Episode> episodes;
  double left = 0;
  std::vector<int64_t> series;
};

// Screenings cost `overhead` more than what they should.
History RunAgent(Agent& agent, Environment& env, const AgentOptions& options, double overhead = 1) {
  History history;
  history.left = options.evaluations;
  while (agent.available() > 0) {
    const auto number = static_cast<int64_t>(history.episodes.size());
    auto episode = agent.Propose(env, number, history.left);
    EXPECT_TRUE(episode.ok()) << episode.status();
    double price = 1;
    if (episode->kind != EpisodeKind::kCandidate) {
      const int64_t images = episode->images > 0 ? episode->images : options.reward_images;
      price =
          overhead * static_cast<double>(images) / static_cast<double>(options.reward_images) *
          static_cast<double>(env.cost().Evaluate(*KeptCounts(episode->policy, env.grouping()))) /
          static_cast<double>(env.budget());
    }
    if (price > history.left + 1e-9) break;
    history.left -= price;
    EXPECT_TRUE(agent.Learn(*episode, Quality(env, *episode)).ok());
    history.episodes.push_back(*std::move(episode));
  }
  history.series = agent.series();
  return history;
}

std::unique_ptr<Agent> Make(const Environment& env, const AgentOptions& options) {
  auto agent = MakeAgent("netadapt", env, options);
  EXPECT_TRUE(agent.ok()) << agent.status();
  return *std::move(agent);
}

AgentOptions Options(double evaluations = 1e6, int64_t screening_images = 0) {
  AgentOptions options{.evaluations = evaluations, .reward_images = 1000};
  options.evolution.screening_images = screening_images;
  return options;
}

// Algorithm 1 by trying every count of every group. The last network is grown in order while it
// can.
std::vector<std::vector<int64_t>> GreedyByBruteForce(const Environment& env,
                                                     const NetAdaptOptions& schedule) {
  const auto cost_of = [&](const std::vector<int64_t>& kept) { return env.cost().Evaluate(kept); };
  std::vector<int64_t> network = env.lattice().Maximum();
  const auto way = static_cast<double>(cost_of(network) - env.budget());
  double step = schedule.step * way;
  std::vector<std::vector<int64_t>> winners;
  while (cost_of(network) > env.budget()) {
    const double target =
        std::max(static_cast<double>(env.budget()), static_cast<double>(cost_of(network)) - step);
    step *= schedule.decay;
    std::vector<int64_t> best;
    for (size_t g = 0; g < network.size(); ++g) {
      std::vector<int64_t> proposal = network;
      bool reaches = false;
      for (const int64_t count : env.lattice().choices(g)) {  // ascending: the last is the largest
        std::vector<int64_t> tried = network;
        tried[g] = count;
        if (count >= network[g] || static_cast<double>(cost_of(tried)) > target) continue;
        proposal = tried;
        reaches = true;
      }
      if (!reaches) continue;
      if (cost_of(proposal) <= env.budget()) {
        for (bool grew = true; grew;) {
          grew = false;
          for (size_t h = 0; h < network.size(); ++h) {
            for (const int64_t count : env.lattice().choices(h)) {
              if (count <= proposal[h]) continue;
              std::vector<int64_t> grown = proposal;
              grown[h] = count;
              if (cost_of(grown) <= env.budget()) {
                proposal = grown;
                grew = true;
              }
              break;
            }
          }
        }
      }
      if (best.empty() || Quality(env, proposal) > Quality(env, best)) best = proposal;
    }
    if (best.empty()) {
      ADD_FAILURE() << "no group reaches " << target << " alone";
      break;
    }
    network = best;
    winners.push_back(network);
  }
  return winners;
}

TEST(NetAdaptTest, IsTheGreedySearchOfAlgorithmOne) {
  for (const double target : {0.8, 0.6, 0.45}) {
    for (const auto& [step, decay] : {std::pair(0.1, 0.96), {0.25, 1.0}, {0.4, 0.7}}) {
      auto env = SmallEnv(target);
      AgentOptions options = Options();
      options.netadapt = {.step = step, .decay = decay};
      auto agent = Make(*env, options);
      const History history = RunAgent(*agent, *env, options);
      const auto expected = GreedyByBruteForce(*env, options.netadapt);
      ASSERT_EQ(history.series.size(), expected.size()) << target << " " << step << " " << decay;
      for (size_t i = 0; i < expected.size(); ++i) {
        const Episode& winner = history.episodes[history.series[i]];
        EXPECT_EQ(*KeptCounts(winner.policy, env->grouping()), expected[i])
            << target << " " << step << " " << decay << " iteration " << i;
      }
    }
  }
}

TEST(NetAdaptTest, TheSeriesFallsInCostAndEndsOnTheBudget) {
  for (const int64_t screening : {0, 100}) {
    auto env = MakeEnv("resnet20", {.budget = {{.ratio = 0.5}}});
    const AgentOptions options = Options(1e6, screening);
    auto agent = Make(*env, options);
    const History history = RunAgent(*agent, *env, options);
    ASSERT_GT(history.series.size(), 10u);
    int64_t before = std::numeric_limits<int64_t>::max();
    for (const int64_t number : history.series) {
      EXPECT_LT(history.episodes[number].cost.macs, before);
      before = history.episodes[number].cost.macs;
    }
    EXPECT_LE(before, env->budget());
    EXPECT_GE(static_cast<double>(before), 0.995 * static_cast<double>(env->budget()));
    EXPECT_EQ(history.episodes[history.series.back()].kind, EpisodeKind::kCandidate);
    for (const Episode& episode : history.episodes) {
      EXPECT_EQ(episode.images, episode.kind == EpisodeKind::kCandidate ? 0 : screening);
    }
  }
}

int64_t Candidates(const History& history) {
  return std::count_if(history.episodes.begin(), history.episodes.end(),
                       [](const Episode& e) { return e.kind == EpisodeKind::kCandidate; });
}

// With enough left the last proposals are measured on all images and the best of them is the
// result; otherwise the winner alone is, once more.
TEST(NetAdaptTest, WinnersAreMeasuredOnAllImagesAtTheEnd) {
  auto env = MakeEnv("resnet20", {.budget = {{.ratio = 0.5}}});
  AgentOptions options = Options(1000, 100);
  options.netadapt = {.step = 0.3, .decay = 1};
  auto rich = Make(*env, options);
  const History all = RunAgent(*rich, *env, options);
  EXPECT_GT(Candidates(all), 1);
  double best = -std::numeric_limits<double>::infinity();
  for (const Episode& episode : all.episodes) {
    if (episode.kind == EpisodeKind::kCandidate) best = std::max(best, Quality(*env, episode));
  }
  EXPECT_EQ(Quality(*env, all.episodes[all.series.back()]), best);

  options.evaluations = 8;
  auto poor = Make(*env, options);
  const History once = RunAgent(*poor, *env, options);
  EXPECT_EQ(Candidates(once), 1);
  EXPECT_GT(once.series.size(), 1u);
  EXPECT_EQ(once.series.back(), once.episodes.back().number);
  EXPECT_EQ(once.episodes.back().note, "the last winner on all images");
}

TEST(NetAdaptTest, StepsGrowWhereTheScheduleCannotBePaidFor) {
  auto env = MakeEnv("resnet20", {.budget = {{.ratio = 0.5}}});
  size_t before = std::numeric_limits<size_t>::max();
  // Fine-tuning makes screenings dear: the agent learns of it from what is left.
  for (const auto& [evaluations, overhead] :
       {std::pair(1000.0, 1.0), {60.0, 1.0}, {60.0, 3.0}, {20.0, 3.0}, {5.0, 1.0}, {1.0, 1.0}}) {
    const AgentOptions options = Options(evaluations, 100);
    auto agent = Make(*env, options);
    const History history = RunAgent(*agent, *env, options, overhead);
    SCOPED_TRACE(testing::Message() << evaluations << " evaluations, overhead " << overhead << ", "
                                    << history.episodes.size() << " episodes");
    EXPECT_GE(history.left, -1e-9);
    EXPECT_EQ(agent->available(), 0);
    const Episode& last = history.episodes[history.series.back()];
    EXPECT_EQ(last.kind, EpisodeKind::kCandidate);
    EXPECT_LE(last.cost.macs, env->budget());
    EXPECT_GE(static_cast<double>(last.cost.macs), 0.99 * static_cast<double>(env->budget()));
    EXPECT_LE(history.series.size(), before);
    before = history.series.size();
  }
  EXPECT_EQ(before, 1u);  // one evaluation: it lands at once
}

TEST(NetAdaptTest, WorksThroughTheSearchLoopAndRestoresAnywhere) {
  const auto create = [] {
    SearchOptions options;
    options.agent = "netadapt";
    options.agent_options = Options(0, 100);
    options.episodes = 12;
    options.parallel_episodes = 3;
    options.agent_options.overhead_images = 50;
    auto search = Search::Create(MakeEnv("resnet20", {.budget = {{.ratio = 0.5}}}), options);
    EXPECT_TRUE(search.ok()) << search.status();
    return *std::move(search);
  };
  auto env = MakeEnv("resnet20", {.budget = {{.ratio = 0.5}}});
  const auto advance = [&](class Search& search) {
    const auto generation = search.Draw();
    EXPECT_TRUE(generation.ok()) << generation.status();
    std::vector<Measurement> measurements;
    for (const Episode& episode : *generation) {
      Measurement measurement;
      measurement.top1 = std::exp(Quality(*env, episode) / 100);
      measurement.cost = episode.cost;
      const int64_t images = episode.images > 0 ? episode.images : 1000;
      measurement.work = (images + 50) * episode.cost.macs;
      measurements.push_back(measurement);
    }
    if (!generation->empty()) {
      EXPECT_TRUE(search.Commit(*generation, measurements).ok());
    }
  };
  auto undisturbed = create(), restarted = create();
  while (!undisturbed->done()) {
    advance(*undisturbed);
    advance(*restarted);
    auto next = create();
    ASSERT_TRUE(next->RestoreState(restarted->SaveState()).ok());
    restarted = std::move(next);
    ASSERT_EQ(restarted->SaveState(), undisturbed->SaveState());
    ASSERT_EQ(restarted->series(), undisturbed->series());
  }
  EXPECT_LE(undisturbed->spent(), 12 + 1e-6);
  ASSERT_TRUE(undisturbed->best().has_value());
  EXPECT_EQ(undisturbed->best()->episode.number, undisturbed->series().back());
  EXPECT_GT(undisturbed->series().size(), 2u);
}

TEST(NetAdaptTest, LandsWhereNoProposalCouldBeMeasured) {
  auto env = SmallEnv();
  auto agent = Make(*env, Options(100, 100));
  int64_t number = 0;
  for (bool iteration = true; iteration; ++number) {
    const auto episode = agent->Propose(*env, number, 100);
    ASSERT_TRUE(episode.ok());
    ASSERT_TRUE(agent->Skip(*episode).ok());
    iteration = agent->available() > 1 || number == 0;
  }
  const auto landing = agent->Propose(*env, number, 90);
  // The last proposal of the iteration, or what follows it.
  ASSERT_TRUE(landing.ok());
  while (agent->available() > 0) {
    const auto episode = agent->Propose(*env, number, 90);
    ASSERT_TRUE(episode.ok());
    if (episode->note == "landing on the budget") {
      EXPECT_EQ(episode->kind, EpisodeKind::kCandidate);
      EXPECT_LE(episode->cost.macs, env->budget());
      ASSERT_TRUE(agent->Learn(*episode, 0.5).ok());
      EXPECT_THAT(agent->series(), testing::ElementsAre(number));
      return;
    }
    ASSERT_TRUE(agent->Skip(*episode).ok());
    ++number;
  }
  FAIL() << "ended without a landing";
}

// After what it lands with nothing more is drawn in the same generation.
TEST(NetAdaptTest, LandsOnce) {
  auto env = MakeEnv("resnet20", {.budget = {{.ratio = 0.5}}});
  auto agent = Make(*env, Options(1000, 100));
  const auto first = agent->Propose(*env, 0, 1000);
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(agent->Learn(*first, 0.5).ok());
  ASSERT_GT(agent->available(), 3);
  EXPECT_EQ(agent->Propose(*env, 1, 999)->kind, EpisodeKind::kScreening);
  EXPECT_EQ(agent->Propose(*env, 2, 1)->note, "landing on the budget");
  EXPECT_EQ(agent->available(), 2);
  EXPECT_EQ(agent->Propose(*env, 3, 0.5).status().code(), absl::StatusCode::kNotFound);
}

TEST(NetAdaptTest, AWholeNetworkWithinBudgetIsMeasuredOnce) {
  auto env = SmallEnv(1.0);
  const AgentOptions options = Options(10, 100);
  auto agent = Make(*env, options);
  const History history = RunAgent(*agent, *env, options);
  ASSERT_EQ(history.episodes.size(), 1u);
  EXPECT_EQ(*KeptCounts(history.episodes[0].policy, env->grouping()), env->lattice().Maximum());
  EXPECT_THAT(history.series, testing::ElementsAre(0));
}

}  // namespace
}  // namespace amc
