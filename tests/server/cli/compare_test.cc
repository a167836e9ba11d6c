// amc compare, but for the server: which agents, what outcomes files hold, curves, what is
// concluded and how it is shown.
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/npy.h"
#include "gmock/gmock.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "server/cli/compare_agents.h"
#include "server/cli/compare_folder.h"
#include "server/cli/comparison.h"
#include "server/cli/comparison_progress.h"
#include "server/cli/comparison_text.h"
#include "server/cli/curve_chart.h"
#include "server/cli/exit_status.h"
#include "server/cli/job_flags.h"
#include "server/cli/outcomes.h"
#include "server/cli/search_curve.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

v1::Job JobOf(const std::string& id, const std::string& agent, int64_t episodes, double budget,
              v1::JobState state) {
  v1::Job job;
  job.set_id(id);
  job.set_state(state);
  job.mutable_spec()->mutable_search()->set_agent(agent);
  job.mutable_spec()->mutable_search()->set_seed(3);
  job.mutable_spec()->mutable_search()->set_episodes(episodes);
  job.mutable_spec()->mutable_budget()->set_ratio(budget);
  return job;
}

TEST(CompareFolderTest, OnlyAgentSeedAndEpisodesMayDiffer) {
  const v1::Job job = JobOf("a", "random", 7, 0.5, v1::JOB_STATE_SUCCEEDED);
  v1::JobSpec spec;
  spec.mutable_budget()->set_ratio(0.5);
  EXPECT_THAT(DifferencesFromComparison(job.spec(), spec), IsEmpty());
  spec.mutable_budget()->set_ratio(0.25);
  spec.set_model("other");
  EXPECT_THAT(
      DifferencesFromComparison(job.spec(), spec),
      ElementsAre("model , this command says other", "budget.ratio 0.5, this command says 0.25"));
}

TEST(CompareFolderTest, RefusesWhatItWouldTakeFromAnother) {
  const auto temp = TempDirectory::Create();
  ASSERT_TRUE(temp.ok()) << temp.status();
  const std::string& folder = temp->path();
  v1::JobSpec spec;
  spec.mutable_budget()->set_ratio(0.5);
  const v1::Job ours = JobOf("ours", "random", 7, 0.5, v1::JOB_STATE_SEARCHING);
  const v1::Job ended = JobOf("ended", "dp", 9, 0.4, v1::JOB_STATE_SUCCEEDED);
  v1::Job running = ended;
  running.set_state(v1::JOB_STATE_QUEUED);
  EXPECT_TRUE(CheckComparable(folder, {}, spec).ok());
  EXPECT_TRUE(CheckComparable(folder, {ours, ended}, spec).ok());
  const absl::Status refused = CheckComparable(folder, {ours, running}, spec);
  EXPECT_EQ(ExitCodeOf(refused), kExitUsage);
  EXPECT_THAT(Message(refused), HasSubstr("job ended (queued) of something else: budget.ratio 0.4, "
                                          "this command says 0.5"));

  ASSERT_TRUE(WriteFileAtomically(folder + "/compare.json", "{\"job\": \"ours\"}").ok());
  EXPECT_TRUE(CheckComparable(folder, {ours, ended}, spec).ok());
  ASSERT_TRUE(WriteFileAtomically(folder + "/compare.json", "{\"job\": \"ended\"}").ok());
  EXPECT_THAT(Message(CheckComparable(folder, {ours, ended}, spec)),
              HasSubstr("job ended (succeeded, in its compare.json)"));
}

TEST(CompareFolderTest, RemovesOutcomesOfOthersAlone) {
  const auto temp = TempDirectory::Create();
  ASSERT_TRUE(temp.ok()) << temp.status();
  const std::string& folder = temp->path();
  for (const char* name : {"/kept.npy", "/other.npy", "/notes.txt"}) {
    ASSERT_TRUE(WriteFileAtomically(folder + name, "x").ok());
  }
  ASSERT_TRUE(RemoveOtherOutcomes(folder, {folder + "/kept.npy"}).ok());
  EXPECT_TRUE(ReadFile(folder + "/kept.npy").ok());
  EXPECT_TRUE(ReadFile(folder + "/notes.txt").ok());
  EXPECT_TRUE(absl::IsNotFound(ReadFile(folder + "/other.npy").status()));
  EXPECT_FALSE(RemoveOtherOutcomes(folder + "/none", {}).ok());
}

TEST(ComparedAgentsTest, NameOrNameAndEvaluations) {
  const auto agents = ParseComparedAgents("hybrid,random:400,uniform", 200, 5);
  ASSERT_TRUE(agents.ok()) << agents.status();
  ASSERT_EQ(agents->size(), 3u);
  EXPECT_EQ((*agents)[0].label, "hybrid");
  EXPECT_EQ((*agents)[0].evaluations, 200);
  EXPECT_EQ((*agents)[0].seeds, 5);
  EXPECT_EQ((*agents)[1].label, "random:400");
  EXPECT_EQ((*agents)[1].name, "random");
  EXPECT_EQ((*agents)[1].evaluations, 400);
  EXPECT_EQ((*agents)[2].seeds, 1);  // no seed changes it
  EXPECT_TRUE(ParseComparedAgents("hybrid:40,hybrid:200", 100, 1).ok());
}

TEST(ComparedAgentsTest, WrongListsAreUsageErrors) {
  for (const char* text :
       {"", "hybrid,", "nobody", "hybrid:", "hybrid:0", "hybrid:-1", "hybrid:x", "hybrid:1:2",
        "hybrid:1.5", "hybrid,hybrid", "hybrid, dp", "hybrid:100000001", "hybrid,hybrid:200"}) {
    EXPECT_EQ(ExitCodeOf(ParseComparedAgents(text, 200, 5).status()), kExitUsage) << text;
  }
  EXPECT_THAT(Message(ParseComparedAgents("hybird", 200, 5).status()),
              HasSubstr("\"hybird\" is none of hybrid, "));
}

TEST(ComparedAgentsTest, OnlyKnownAgentsNeedNoSeed) {
  int stochastic = 0;
  for (const std::string& agent : KnownAgents()) stochastic += IsStochastic(agent) ? 1 : 0;
  EXPECT_EQ(stochastic, 5);  // hybrid, ddpg, ddpg-paper, evolution, random
}

std::string OutcomesFile(std::vector<float> values, std::vector<int64_t> shape) {
  return SerializeNpy({.shape = std::move(shape), .values = std::move(values)});
}

TEST(OutcomesTest, ReadsAllColumns) {
  const auto outcomes = ParseOutcomes(OutcomesFile({1, 0, 0.5, 3, 1, 1, -1e-7F, 0}, {2, 4}));
  ASSERT_TRUE(outcomes.ok()) << outcomes.status();
  EXPECT_THAT(outcomes->original_right, ElementsAre(1, 1));
  EXPECT_THAT(outcomes->compressed_right, ElementsAre(0, 1));
  EXPECT_THAT(outcomes->kl, ElementsAre(0.5, -1e-7F));
  EXPECT_THAT(outcomes->labels, ElementsAre(3, 0));
}

TEST(OutcomesTest, DamagedFilesAreRefused) {
  const std::string whole = OutcomesFile({1, 0, 0.5, 3}, {1, 4});
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseOutcomes(whole.substr(0, size)).status())) << size;
  }
  const auto error = [](std::vector<float> values, std::vector<int64_t> shape) {
    const absl::Status status =
        ParseOutcomes(OutcomesFile(std::move(values), std::move(shape))).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return Message(status);
  };
  EXPECT_THAT(error({1, 0, 0.5, 3}, {4}), HasSubstr("(4), want (images, 4)"));
  EXPECT_THAT(error({1, 0, 0.5}, {1, 3}), HasSubstr("(1, 3)"));
  EXPECT_THAT(error({}, {0, 4}), HasSubstr("(0, 4)"));
  EXPECT_THAT(error({1, 0, 0, 3, 1, 0.5, 0, 3}, {2, 4}), HasSubstr("image 1: whether it is right"));
  EXPECT_THAT(error({1, 0, NAN, 3}, {1, 4}), HasSubstr("image 0: its KL divergence is nan"));
  EXPECT_THAT(error({1, 0, 0, -1}, {1, 4}), HasSubstr("its label is -1"));
  EXPECT_THAT(error({1, 0, 0, 0.5}, {1, 4}), HasSubstr("its label is 0.5"));
}

TEST(OutcomesTest, MustBeThoseOfTheResult) {
  const Outcomes outcomes = *ParseOutcomes(OutcomesFile({1, 0, 0.5, 3, 1, 1, 0, 0}, {2, 4}));
  v1::JobResult result;
  result.mutable_original()->set_top1(1);
  result.mutable_original()->set_images(2);
  result.mutable_compressed()->set_top1(0.5);
  result.mutable_compressed()->set_images(2);
  EXPECT_TRUE(CheckAgainst(outcomes, result).ok());
  result.mutable_compressed()->set_top1(1);
  EXPECT_THAT(Message(CheckAgainst(outcomes, result)),
              HasSubstr("the compressed network gets 1 of 2 images right"));
  result.mutable_compressed()->set_images(3);
  EXPECT_TRUE(absl::IsDataLoss(CheckAgainst(outcomes, result)));
}

v1::Episode SomeEpisode(v1::EpisodeKind kind, double evaluations, int64_t work, double reward) {
  v1::Episode episode;
  episode.set_state(v1::EPISODE_STATE_DONE);
  episode.set_kind(kind);
  episode.set_evaluations(evaluations);
  episode.mutable_measurement()->set_work(work);
  episode.set_reward(reward);
  return episode;
}

TEST(SearchCurveTest, ProbesCostAndCandidatesImprove) {
  SearchCurve curve(1000);
  EXPECT_THAT(curve.Points(), IsEmpty());
  curve.Add(SomeEpisode(v1::EPISODE_KIND_PROBE, 0.25, 250, 0.99));
  curve.Add(SomeEpisode(v1::EPISODE_KIND_CANDIDATE, 1, 980, 0.5));
  curve.Add(SomeEpisode(v1::EPISODE_KIND_SCREENING, 0.5, 500, 0.9));
  curve.Add(SomeEpisode(v1::EPISODE_KIND_UNSPECIFIED, 1, 990, 0.5));  // no better
  v1::Episode infeasible = SomeEpisode(v1::EPISODE_KIND_CANDIDATE, 1, 0, 7);
  infeasible.set_state(v1::EPISODE_STATE_INFEASIBLE);
  infeasible.clear_measurement();
  curve.Add(infeasible);
  curve.Add(SomeEpisode(v1::EPISODE_KIND_CANDIDATE, 1, 1010, 0.75));
  curve.Add(SomeEpisode(v1::EPISODE_KIND_CANDIDATE, 1, 1000, 0.25));
  const std::vector<CurvePoint> points = curve.Points();
  ASSERT_EQ(points.size(), 3u);
  EXPECT_EQ(points[0].evaluations, 1.25);
  EXPECT_EQ(points[0].work, 1230);
  EXPECT_EQ(points[0].reward, 0.5);
  EXPECT_EQ(points[1].evaluations, 4.75);
  EXPECT_EQ(points[1].work, 1230 + 500 + 990 + 1000 + 1010);
  EXPECT_EQ(points[1].reward, 0.75);
  EXPECT_EQ(points[2].evaluations, 5.75);
  EXPECT_EQ(points[2].reward, 0.75);
  EXPECT_EQ(curve.evaluations(), 5.75);
  EXPECT_EQ(curve.work(), points[2].work);

  EXPECT_EQ(RewardAt(points, 1.2), std::nullopt);
  EXPECT_EQ(RewardAt(points, 1.25), 0.5);
  EXPECT_EQ(RewardAt(points, 4.7), 0.5);
  EXPECT_EQ(RewardAt(points, 100), 0.75);
}

TEST(CurveChartTest, DrawsMeansWhereAllSeedsHaveACandidate) {
  const std::vector<ChartLine> lines = {
      {.label = "first",
       .limit = 4,
       .curves = {{{1, 0, 0.0}, {3, 0, 1.0}}, {{2, 0, 0.0}, {3, 0, 1.0}}}},
      {.label = "second", .limit = 2, .curves = {{{1, 0, 0.5}}}}};
  EXPECT_EQ(DrawChart(lines, {.columns = 8, .rows = 3}),
            "   1.0000 |     aaa\n"
            "          | bbb\n"
            "   0.0000 |   aa\n"
            "          +--------\n"
            "           0 4 evaluations\n"
            "\n"
            "           a  first\n"
            "           b  second\n");
}

TEST(CurveChartTest, NothingToDrawIsNoChart) {
  EXPECT_EQ(DrawChart({}), "");
  EXPECT_EQ(DrawChart({{.label = "a", .limit = 4, .curves = {{}}}}), "");
  EXPECT_NE(DrawChart({{.label = "a", .limit = 4, .curves = {{{1, 0, 0.5}}}}}), "");  // flat
}

// A run whose network is right on the first `right` of eight images, at the same divergence
// everywhere; the original is right on all.
ComparedRun SomeRun(uint64_t seed, int right, double kl) {
  ComparedRun run;
  run.seed = seed;
  run.job.set_id("job" + std::to_string(seed));
  run.job.set_best_reward(right / 8.0);
  run.job.mutable_spec()->set_model("m");
  run.job.mutable_spec()->mutable_budget()->set_ratio(0.5);
  for (int i = 0; i < 8; ++i) {
    run.outcomes.original_right.push_back(1);
    run.outcomes.compressed_right.push_back(i < right ? 1 : 0);
    run.outcomes.kl.push_back(kl);
    run.outcomes.labels.push_back(i);
  }
  run.curve = {{1, 100, 0.5}, {2, 200, right / 8.0}};
  run.evaluations = 2;
  run.work = 200;
  return run;
}

Comparison SomeComparison() {
  std::vector<ComparedSearches> searches(2);
  searches[0].agent = {.label = "hybrid", .name = "hybrid", .evaluations = 4, .seeds = 2};
  searches[0].runs = {SomeRun(0, 8, 0.1), SomeRun(1, 6, 0.3)};
  searches[1].agent = {.label = "uniform:8", .name = "uniform", .evaluations = 8, .seeds = 1};
  searches[1].runs = {SomeRun(0, 6, 0.5)};
  auto comparison = Compare(std::move(searches), 1000);
  EXPECT_TRUE(comparison.ok()) << comparison.status();
  return *std::move(comparison);
}

TEST(ComparisonTest, MeansAndDifferencesHaveTheirSigns) {
  const Comparison comparison = SomeComparison();
  EXPECT_EQ(comparison.images, 8);
  EXPECT_NEAR(comparison.figures[0].kl.mean, 0.2, 1e-12);
  EXPECT_NEAR(comparison.figures[0].top1_drop.mean, 12.5, 1e-12);
  EXPECT_EQ(comparison.figures[0].reward, 0.875);
  EXPECT_EQ(comparison.figures[0].work, 200);
  EXPECT_NEAR(comparison.figures[1].kl.low, 0.5, 1e-12);  // no image differs
  ASSERT_EQ(comparison.differences.size(), 1u);
  const AgentDifference& difference = comparison.differences[0];
  EXPECT_NEAR(difference.kl.mean, -0.3, 1e-12);
  EXPECT_NEAR(difference.kl.low, -0.4, 1e-12);  // the seeds alone vary
  EXPECT_NEAR(difference.kl.high, -0.2, 1e-12);
  EXPECT_TRUE(difference.kl.excludes_zero());
  EXPECT_NEAR(difference.top1.mean, 12.5, 1e-12);
  EXPECT_LE(difference.top1.low, 0);  // with seed 1 twice there is no difference
  EXPECT_GT(difference.top1.high, 12.5);
}

TEST(ComparisonTest, OtherImagesCannotBePaired) {
  std::vector<ComparedSearches> searches(2);
  searches[0].runs = {SomeRun(0, 8, 0.1)};
  searches[1].runs = {SomeRun(1, 8, 0.1)};
  searches[1].runs[0].outcomes.labels[3] = 0;
  EXPECT_THAT(Message(Compare(searches, 10).status()), HasSubstr("jobs job0 and job1"));
}

TEST(ComparisonTextTest, TablesLineUpAndSayWhatExcludesZero) {
  const std::string text = ComparisonText(SomeComparison());
  EXPECT_THAT(text,
              HasSubstr("agent      evaluations  seeds  images x MACs  reward  top-1 drop      "
                        "KL"));
  EXPECT_THAT(text, HasSubstr("hybrid           2.0/4      2            200  0.8750       12.50  "
                              "0.2000"));
  EXPECT_THAT(text, HasSubstr("uniform:8        2.0/8      1            200  0.7500       25.00  "
                              "0.5000  0.5000 to 0.5000"));
  EXPECT_THAT(text, HasSubstr("hybrid minus       KL        95% interval  excludes 0"));
  EXPECT_THAT(text, HasSubstr("uniform:8     -0.3000  -0.4000 to -0.2000  yes"));
  EXPECT_THAT(text, HasSubstr("a  hybrid\n"));
}

TEST(ComparisonTextTest, JsonIsOneObject) {
  const std::string json = ComparisonJson(SomeComparison());
  google::protobuf::Struct parsed;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(json, &parsed).ok()) << json;
  const auto& agents = parsed.fields().at("agents").list_value();
  ASSERT_EQ(agents.values_size(), 2);
  const auto& hybrid = agents.values(0).struct_value().fields();
  EXPECT_EQ(hybrid.at("agent").string_value(), "hybrid");
  const auto& run = hybrid.at("runs").list_value().values(1).struct_value().fields();
  EXPECT_EQ(run.at("seed").number_value(), 1);
  EXPECT_EQ(run.at("curve").list_value().values_size(), 2);
  const auto& difference =
      parsed.fields().at("differences").list_value().values(0).struct_value().fields();
  EXPECT_TRUE(difference.at("kl").struct_value().fields().at("excludes_zero").bool_value());
  EXPECT_EQ(parsed.fields().at("bootstrap").struct_value().fields().at("resamples").number_value(),
            10'000);
}

TEST(ComparisonTextTest, CsvHasALineARun) {
  const std::string csv = ComparisonCsv(SomeComparison());
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 4);
  EXPECT_THAT(csv, HasSubstr("\nuniform:8,uniform,8,0,job0,2,200,0.75,"));
}

TEST(ComparisonProgressTest, WhatEndsEarlyLeavesTheSum) {
  std::vector<v1::Job> jobs(3);
  for (v1::Job& job : jobs) job.mutable_spec()->mutable_search()->set_episodes(200);
  jobs[0].set_state(v1::JOB_STATE_SUCCEEDED);
  jobs[0].set_evaluations_spent(2);
  jobs[1].set_state(v1::JOB_STATE_SEARCHING);
  jobs[1].set_evaluations_spent(34.25);
  jobs[2].set_state(v1::JOB_STATE_QUEUED);
  const ComparisonProgress progress = ProgressOf(jobs);
  EXPECT_EQ(progress.ended, 1u);
  EXPECT_EQ(progress.spent, 36.25);
  EXPECT_EQ(progress.limit, 402);
  EXPECT_EQ(ProgressText(progress, jobs[1], "hybrid seed 2", "ETA 8 s"),
            "1 of 3 jobs  36.2/402 evaluations  hybrid seed 2: 34.2/200  ETA 8 s");
}

}  // namespace
}  // namespace amc
