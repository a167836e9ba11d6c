// The search loop: generations, the best so far, state that continues bit for bit.
#include "agent/search.h"

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "env/amc_env.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

SearchOptions Options(const std::string& agent = "ddpg-paper", int64_t parallel = 3) {
  SearchOptions options;
  options.agent = agent;
  options.agent_options = {.seed = 5, .ddpg = {.hidden = 24, .batch = 16, .warmup_episodes = 3}};
  options.episodes = 11;
  options.parallel_episodes = parallel;
  return options;
}

std::unique_ptr<Search> Make(const SearchOptions& options) {
  const auto graph = BuildNetwork("resnet20", {.weightless = true});
  EXPECT_TRUE(graph.ok()) << graph.status();
  auto env = AmcEnv::Create(*graph, {.budget = {{.ratio = 0.5}}});
  EXPECT_TRUE(env.ok()) << env.status();
  auto search = Search::Create(*std::move(env), options);
  EXPECT_TRUE(search.ok()) << search.status();
  return *std::move(search);
}

// A made-up accuracy that depends on the policy alone.
Measurement Measure(const Episode& episode) {
  Measurement measurement;
  for (size_t i = 0; i < episode.executed.size(); ++i) {
    measurement.top1 += episode.executed[i] * std::sin(static_cast<double>(i)) / 100;
  }
  measurement.images = 5000;
  measurement.cost = episode.cost;
  return measurement;
}

std::vector<Measurement> MeasureAll(const std::vector<Episode>& generation) {
  std::vector<Measurement> measurements;
  for (const Episode& episode : generation) measurements.push_back(Measure(episode));
  return measurements;
}

std::vector<EvaluatedEpisode> RunGeneration(Search& search) {
  auto generation = search.Draw();
  EXPECT_TRUE(generation.ok()) << generation.status();
  auto evaluated = search.Commit(*generation, MeasureAll(*generation));
  EXPECT_TRUE(evaluated.ok()) << evaluated.status();
  return *std::move(evaluated);
}

std::vector<Policy> Finish(Search& search) {
  std::vector<Policy> policies;
  while (!search.done()) {
    for (const EvaluatedEpisode& e : RunGeneration(search)) policies.push_back(e.episode.policy);
  }
  return policies;
}

TEST(SearchTest, DrawsGenerationsUntilTheEpisodesAreUsedUp) {
  auto search = Make(Options());
  std::vector<size_t> sizes;
  int64_t number = 0;
  while (!search->done()) {
    const auto evaluated = RunGeneration(*search);
    sizes.push_back(evaluated.size());
    for (const EvaluatedEpisode& e : evaluated) EXPECT_EQ(e.episode.number, number++);
    EXPECT_EQ(search->next_episode(), number);
  }
  EXPECT_THAT(sizes, testing::ElementsAre(3, 3, 3, 2));
  EXPECT_EQ(search->spent(), 11);
}

TEST(SearchTest, EndsEarlyWhenTheAgentHasNothingNewToSay) {
  auto search = Make(Options("uniform"));
  EXPECT_EQ(Finish(*search).size(), 2u);
}

TEST(SearchTest, BestIsTheFirstOfTheHighestReward) {
  auto search = Make(Options("random", 4));
  EXPECT_FALSE(search->best().has_value());
  const auto generation = search->Draw();
  ASSERT_TRUE(generation.ok());
  std::vector<Measurement> measurements(4);
  const double top1[] = {0.2, 0.7, 0.7, 0.1};
  for (int i = 0; i < 4; ++i) measurements[i].top1 = top1[i];
  ASSERT_TRUE(search->Commit(*generation, measurements).ok());
  ASSERT_TRUE(search->best().has_value());
  EXPECT_EQ(search->best()->episode.number, 1);
  EXPECT_EQ(search->best()->reward, 0.7);
}

TEST(SearchTest, DrawingTwiceGivesTheSameGeneration) {
  auto search = Make(Options());
  RunGeneration(*search);
  const auto first = search->Draw(), second = search->Draw();
  ASSERT_TRUE(first.ok() && second.ok());
  for (size_t i = 0; i < first->size(); ++i) EXPECT_EQ((*first)[i].policy, (*second)[i].policy);
}

TEST(SearchTest, ARestoredSearchContinuesBitForBit) {
  for (const char* agent : {"ddpg-paper", "random", "uniform"}) {
    auto search = Make(Options(agent, 2));
    RunGeneration(*search);
    // Killed between Draw and Commit: the state is the one before.
    ASSERT_TRUE(search->done() || search->Draw().ok());
    const std::string state = search->SaveState();
    auto restored = Make(Options(agent, 2));
    ASSERT_TRUE(restored->RestoreState(state).ok());
    EXPECT_EQ(restored->SaveState(), state);
    EXPECT_EQ(restored->best()->episode.policy, search->best()->episode.policy);
    EXPECT_EQ(restored->best()->measurement.images, 5000);
    EXPECT_EQ(Finish(*restored), Finish(*search));
    EXPECT_EQ(restored->SaveState(), search->SaveState());
  }
}

// Every third candidate has no outcome, the first one among them.
std::vector<Measurement> MeasureSome(const std::vector<Episode>& generation) {
  std::vector<Measurement> measurements = MeasureAll(generation);
  for (size_t i = 0; i < generation.size(); ++i) {
    if (generation[i].number % 3 != 0) continue;
    measurements[i] = {.images = 5000,
                       .cost = generation[i].cost,
                       .infeasible = "the logits of 12 of 5000 reward images are not finite"};
  }
  return measurements;
}

std::vector<EvaluatedEpisode> FinishSome(Search& search) {
  std::vector<EvaluatedEpisode> all;
  while (!search.done()) {
    const auto generation = search.Draw();
    EXPECT_TRUE(generation.ok()) << generation.status();
    const auto evaluated = search.Commit(*generation, MeasureSome(*generation));
    EXPECT_TRUE(evaluated.ok()) << evaluated.status();
    all.insert(all.end(), evaluated->begin(), evaluated->end());
  }
  return all;
}

TEST(SearchTest, InfeasibleEpisodesAreRecordedAndNeverTheBest) {
  SearchOptions options = Options();
  options.reward.metric =
      QualityMetric::kNegativeKl;  // at most 0, which infeasible ones seem to be
  auto search = Make(options);
  int64_t number = 0;
  while (!search->done()) {
    const auto generation = search->Draw();
    ASSERT_TRUE(generation.ok());
    std::vector<Measurement> measurements = MeasureSome(*generation);
    for (Measurement& measurement : measurements) {
      if (measurement.infeasible.empty()) measurement.kl = 2;
    }
    const auto evaluated = search->Commit(*generation, measurements);
    ASSERT_TRUE(evaluated.ok()) << evaluated.status();
    for (const EvaluatedEpisode& e : *evaluated) {
      EXPECT_EQ(e.episode.number, number);
      EXPECT_EQ(e.measurement.infeasible.empty(), number % 3 != 0);
      EXPECT_EQ(e.measurement.cost, e.episode.cost);
      EXPECT_EQ(e.reward, number % 3 == 0 ? 0 : -2);
      ++number;
    }
  }
  EXPECT_EQ(number, 11);
  ASSERT_TRUE(search->best().has_value());
  EXPECT_EQ(search->best()->episode.number, 1);
  EXPECT_EQ(search->best()->reward, -2);
}

TEST(SearchTest, ContinuesBitForBitWithInfeasibleEpisodesToo) {
  for (const char* agent : {"ddpg-paper", "random", "uniform"}) {
    auto search = Make(Options(agent, 1));  // saved first with an infeasible episode and no best
    auto undisturbed = Make(Options(agent, 1));
    const std::vector<EvaluatedEpisode> expected = FinishSome(*undisturbed);
    for (size_t n = 0; n < expected.size(); ++n) {
      auto restored = Make(Options(agent, 1));
      ASSERT_TRUE(restored->RestoreState(search->SaveState()).ok());
      EXPECT_EQ(restored->next_episode(), static_cast<int64_t>(n));
      EXPECT_EQ(restored->best().has_value(), n > 1);
      search = std::move(restored);
      const auto generation = search->Draw();
      ASSERT_TRUE(generation.ok());
      const auto evaluated = search->Commit(*generation, MeasureSome(*generation));
      ASSERT_TRUE(evaluated.ok()) << evaluated.status();
      EXPECT_EQ((*evaluated)[0].episode.policy, expected[n].episode.policy);
      EXPECT_EQ((*evaluated)[0].reward, expected[n].reward);
    }
    EXPECT_EQ(search->SaveState(), undisturbed->SaveState());
  }
}

TEST(SearchTest, EndsWithoutABestWhereEverythingIsInfeasible) {
  auto search = Make(Options());
  while (!search->done()) {
    const auto generation = search->Draw();
    ASSERT_TRUE(generation.ok());
    Measurement none;
    none.infeasible = "why not";
    none.loss = std::nan("");
    ASSERT_TRUE(
        search->Commit(*generation, std::vector<Measurement>(generation->size(), none)).ok());
    EXPECT_FALSE(search->best().has_value());
    auto restored = Make(Options());
    ASSERT_TRUE(restored->RestoreState(search->SaveState()).ok());
    EXPECT_FALSE(restored->best().has_value());
    EXPECT_EQ(restored->SaveState(), search->SaveState());
  }
  EXPECT_EQ(search->next_episode(), 11);
}

TEST(SearchTest, RefusesAStateWhoseBestIsYetToCome) {
  auto search = Make(Options());
  RunGeneration(*search);
  std::string state = search->SaveState();
  state[16] = 0;  // the next episode, behind the magic with its count and the version
  EXPECT_EQ(search->RestoreState(state).code(), absl::StatusCode::kInvalidArgument);
}

TEST(SearchTest, AnUntouchedSearchCanBeSavedToo) {
  auto search = Make(Options());
  auto restored = Make(Options());
  ASSERT_TRUE(restored->RestoreState(search->SaveState()).ok());
  EXPECT_EQ(Finish(*restored), Finish(*search));
}

TEST(SearchTest, CommitTakesNothingButTheLastDraw) {
  auto search = Make(Options());
  const std::string untouched = search->SaveState();
  auto generation = search->Draw();
  ASSERT_TRUE(generation.ok());
  const std::vector<Measurement> measurements = MeasureAll(*generation);
  const auto expect_refused = [&](const std::vector<Episode>& episodes,
                                  const std::vector<Measurement>& with) {
    EXPECT_EQ(search->Commit(episodes, with).status().code(), absl::StatusCode::kInvalidArgument);
  };
  expect_refused(*generation, {measurements[0]});
  expect_refused({(*generation)[0]}, {measurements[0]});
  expect_refused({}, {});
  expect_refused({(*generation)[1], (*generation)[0], (*generation)[2]}, measurements);
  std::vector<Episode> other_policy = *generation;
  other_policy[1].policy = other_policy[0].policy;
  expect_refused(other_policy, measurements);
  std::vector<Measurement> no_number = measurements;
  no_number[2].top1 = std::nan("");
  expect_refused(*generation, no_number);
  EXPECT_EQ(search->SaveState(), untouched);
  EXPECT_TRUE(search->Commit(*generation, measurements).ok());
  expect_refused(*generation, measurements);  // once only
}

TEST(SearchTest, RefusesForeignStateAndStaysAsItWas) {
  auto search = Make(Options());
  RunGeneration(*search);
  const std::string state = search->SaveState();
  std::vector<std::string> foreign{"", "garbage", state + "x",
                                   Make(Options("random"))->SaveState()};
  for (size_t size = 0; size < state.size(); size += 1 + state.size() / 300) {
    foreign.push_back(state.substr(0, size));
  }
  for (const std::string& bytes : foreign) {
    EXPECT_EQ(search->RestoreState(bytes).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(search->SaveState(), state);
}

TEST(SearchTest, RefusesOptionsOutOfRange) {
  const auto graph = BuildNetwork("resnet20", {.weightless = true});
  ASSERT_TRUE(graph.ok());
  const auto status_of = [&](const SearchOptions& options) {
    auto env = AmcEnv::Create(*graph, {.budget = {{.ratio = 0.5}}});
    EXPECT_TRUE(env.ok());
    return Search::Create(*std::move(env), options).status();
  };
  SearchOptions none = Options();
  none.episodes = 0;
  EXPECT_THAT(std::string(status_of(none).message()), HasSubstr("episodes: 0"));
  SearchOptions narrow = Options();
  narrow.parallel_episodes = 0;
  EXPECT_THAT(std::string(status_of(narrow).message()), HasSubstr("parallel_episodes: 0"));
  EXPECT_EQ(status_of(Options("sarsa")).code(), absl::StatusCode::kInvalidArgument);
}

// Half of the MACs for each group that the search may cut, less and less of it.
std::vector<std::vector<int64_t>> SmallPolicies(size_t count) {
  const auto env = AmcEnv::Create(*BuildNetwork("resnet20", {.weightless = true}), {});
  std::vector<std::vector<int64_t>> policies;
  for (size_t i = 0; i < count; ++i) {
    std::vector<int64_t>& kept = policies.emplace_back();
    for (size_t g = 0; g < (*env)->grouping().groups.size(); ++g) {
      const absl::Span<const int64_t> choices = (*env)->lattice().choices(g);
      kept.push_back(choices[choices.size() > 1 ? i : 0]);
    }
  }
  return policies;
}

TEST(SearchTest, AppendedCandidatesCountCanWinAndLeaveTheAgentAlone) {
  // NetAdapt proposes by what it learnt last: a stranger's reward would lead it elsewhere.
  for (const char* const agent : {"ddpg", "netadapt", "hybrid"}) {
    SearchOptions options = Options(agent);
    options.agent_options.reward_images = 5000;
    auto plain = Make(options), appended = Make(options);
    RunGeneration(*plain);
    RunGeneration(*appended);
    const double spent = appended->spent();
    const int64_t first = appended->next_episode();
    const auto more = appended->Append(SmallPolicies(2), "by hand");
    ASSERT_TRUE(more.ok()) << more.status();
    ASSERT_EQ(more->size(), 2U);
    EXPECT_EQ((*more)[1].number, first + 1);
    EXPECT_EQ((*more)[1].note, "by hand");
    std::vector<Measurement> measurements = MeasureAll(*more);
    measurements[1].top1 = 5;
    ASSERT_TRUE(appended->Commit(*more, measurements).ok());
    EXPECT_EQ(appended->best()->episode.number, first + 1);
    EXPECT_EQ(appended->spent(), spent);

    auto restored = Make(options);
    ASSERT_TRUE(restored->RestoreState(appended->SaveState()).ok());
    const auto expected = plain->Draw();
    for (Search* const search : {appended.get(), restored.get()}) {
      const auto drawn = search->Draw();
      ASSERT_TRUE(drawn.ok() && expected.ok()) << drawn.status();
      ASSERT_FALSE(drawn->empty()) << agent;
      for (size_t i = 0; i < drawn->size(); ++i) {
        EXPECT_EQ((*drawn)[i].policy, (*expected)[i].policy) << agent;
        EXPECT_EQ((*drawn)[i].number, (*expected)[i].number + 2) << agent;
      }
      EXPECT_TRUE(search->Commit(*drawn, MeasureAll(*drawn)).ok());
    }
    EXPECT_EQ(appended->SaveState(), restored->SaveState());
  }
}

TEST(SearchTest, RefusesToAppendWhatIsNoPolicyOrTooDear) {
  auto search = Make(Options());
  EXPECT_THAT(std::string(search->Append({{1, 2}}, "").status().message()),
              HasSubstr("appended episode 0 has 2 counts"));
  std::vector<int64_t> kept = SmallPolicies(1)[0];
  kept[0] = 1000;
  EXPECT_THAT(std::string(search->Append({kept}, "").status().message()),
              HasSubstr("appended episode 0"));
  const auto env = AmcEnv::Create(*BuildNetwork("resnet20", {.weightless = true}), {});
  const std::vector<int64_t> whole((*env)->lattice().Maximum());
  EXPECT_THAT(std::string(search->Append({whole}, "").status().message()),
              HasSubstr("of a budget of"));
}

}  // namespace
}  // namespace amc
