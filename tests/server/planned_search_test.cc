// Searches that measure more than whole candidates: probes, cheaper episodes, series, histories of
// earlier jobs.
#include <atomic>
#include <set>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/status_convert.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class PlannedSearchTest : public ServerTest {
 protected:
  v1::JobSpec SpecOf(const std::string& agent, int64_t episodes = 50) {
    v1::JobSpec spec = Spec(episodes);
    spec.mutable_search()->set_agent(agent);
    spec.mutable_search()->mutable_probes()->set_images(8);
    spec.mutable_search()->mutable_ddpg()->set_hidden(16);
    spec.mutable_search()->mutable_probes()->set_ratios(2);
    spec.mutable_evaluation()->set_sampled_images(8);
    return spec;
  }
  std::vector<v1::Episode> OfKind(const std::string& job, v1::EpisodeKind kind) {
    v1::ListEpisodesRequest request;
    request.set_job(job);
    request.set_page_size(1000);
    request.mutable_filter()->add_kinds(kind);
    v1::ListEpisodesResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(jobs_->ListEpisodes(&context, request, &response).ok());
    return {response.episodes().begin(), response.episodes().end()};
  }
};

TEST_F(PlannedSearchTest, ProbesReachWorkersWithTheirImagesAndNeverWin) {
  std::set<int64_t> images;
  FakeWorker worker(channel_, "w", [&images](const v1::Lease& lease) {
    if (lease.kind() == v1::TASK_KIND_EVALUATE) images.insert(lease.images());
    return FakeWorker::Measure(lease);
  });
  const v1::Job job = WaitForEnd(Submit(SpecOf("dp"), "r")->id());
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  EXPECT_EQ(images, (std::set<int64_t>{0, 8}));
  const std::vector<v1::Episode> probes = OfKind(job.id(), v1::EPISODE_KIND_PROBE);
  const std::vector<v1::Episode> candidates = OfKind(job.id(), v1::EPISODE_KIND_CANDIDATE);
  ASSERT_THAT(probes, Not(IsEmpty()));
  ASSERT_THAT(candidates, SizeIs(1));
  EXPECT_EQ(job.episodes_done(), static_cast<int64_t>(probes.size()) + 1);
  double evaluations = 0;
  for (const v1::Episode& probe : probes) {
    EXPECT_EQ(probe.measurement().images(), 8);
    EXPECT_GT(probe.evaluations(), 0);
    evaluations += probe.evaluations();
  }
  EXPECT_EQ(candidates[0].evaluations(), 1);
  EXPECT_NEAR(job.evaluations_spent(), evaluations + 1, 1e-9);
  // A probe keeps more, and so has a higher reward, than any candidate.
  EXPECT_GT(probes[0].reward(), candidates[0].reward());
  EXPECT_EQ(job.best_episode(), candidates[0].number());
  v1::GetBestRequest request;
  request.set_job(job.id());
  v1::GetBestResponse best;
  grpc::ClientContext context;
  ASSERT_TRUE(jobs_->GetBest(&context, request, &best).ok());
  EXPECT_EQ(best.episode().number(), candidates[0].number());
}

TEST_F(PlannedSearchTest, SpendsNoMoreThanItMay) {
  FakeWorker worker(channel_, "w");
  for (const char* agent : {"hybrid", "evolution", "ddpg", "sensitivity"}) {
    const v1::Job job = WaitForEnd(Submit(SpecOf(agent, 40), agent)->id());
    ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << agent << ": " << job.message();
    EXPECT_LE(job.evaluations_spent(), 40 + 1e-6) << agent;
    EXPECT_GT(job.evaluation_work(), 0);
    EXPECT_THAT(OfKind(job.id(), v1::EPISODE_KIND_CANDIDATE), Not(IsEmpty())) << agent;
  }
}

TEST_F(PlannedSearchTest, ARestartInTheMiddleChangesNothing) {
  std::string undisturbed;
  {
    FakeWorker worker(channel_, "w");
    undisturbed = WaitForEnd(Submit(SpecOf("hybrid"), "undisturbed")->id()).id();
  }
  const std::string id = Submit(SpecOf("hybrid"), "disturbed")->id();
  for (const int64_t episodes : {3, 9, 15}) {
    {
      FakeWorker worker(channel_, "w");
      WaitForEpisodes(id, episodes);
    }
    RestartServer();
  }
  FakeWorker worker(channel_, "w");
  ASSERT_EQ(WaitForEnd(id).state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(CanonicalHistory(id), CanonicalHistory(undisturbed));
}

// More evaluations would have made another plan of probes: what was measured stays.
TEST_F(PlannedSearchTest, GoesOnWithMoreEvaluations) {
  FakeWorker worker(channel_, "w");
  for (const char* agent : {"hybrid", "ddpg", "dp", "netadapt"}) {
    v1::JobSpec spec = SpecOf(agent);
    spec.mutable_search()->mutable_probes()->set_ratios(6);
    const v1::Job first = WaitForEnd(Submit(spec, agent)->id());
    ASSERT_EQ(first.state(), v1::JOB_STATE_SUCCEEDED) << agent << ": " << first.message();
    v1::ResumeJobRequest request;
    request.set_id(first.id());
    request.set_more_episodes(60);
    v1::Job resumed;
    grpc::ClientContext context;
    ASSERT_TRUE(jobs_->ResumeJob(&context, request, &resumed).ok());
    const v1::Job longer = WaitForEnd(first.id());
    ASSERT_EQ(longer.state(), v1::JOB_STATE_SUCCEEDED) << agent << ": " << longer.message();
    EXPECT_GE(longer.episodes_done(), first.episodes_done());
    EXPECT_GE(longer.best_reward(), first.best_reward());
    EXPECT_LE(longer.evaluations_spent(), 110 + 1e-6);
  }
}

// What was drawn last for fewer evaluations and not committed may be drawn otherwise now.
TEST_F(PlannedSearchTest, GoesOnWithMoreEvaluationsFromTheMiddleOfAGeneration) {
  v1::JobSpec spec = SpecOf("hybrid");
  spec.mutable_search()->set_parallel_episodes(8);
  spec.mutable_search()->mutable_probes()->set_ratios(6);
  const std::string id = Submit(spec, "r")->id();
  std::atomic<int> measured = 0;
  {
    FakeWorker worker(channel_, "tired", [&measured](const v1::Lease& lease) {
      if (lease.kind() == v1::TASK_KIND_EVALUATE && ++measured > 3) return FakeWorker::Outcome();
      return FakeWorker::Measure(lease);
    });
    while (measured <= 3) absl::SleepFor(absl::Milliseconds(10));
  }
  v1::Job job;
  {
    v1::CancelJobRequest request;
    request.set_id(id);
    grpc::ClientContext context;
    ASSERT_TRUE(jobs_->CancelJob(&context, request, &job).ok());
    ASSERT_EQ(job.episodes_done(), 0);
  }
  v1::ResumeJobRequest request;
  request.set_id(id);
  request.set_more_episodes(100);
  grpc::ClientContext context;
  ASSERT_TRUE(jobs_->ResumeJob(&context, request, &job).ok());
  FakeWorker worker(channel_, "fresh");
  job = WaitForEnd(id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
}

TEST_F(PlannedSearchTest, FinishesEveryNetworkOfASeries) {
  FakeWorker worker(channel_, "w");
  const v1::Job job = WaitForEnd(Submit(SpecOf("netadapt", 60), "r")->id());
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  ASSERT_GT(job.series_size(), 1);
  for (int i = 1; i < job.series_size(); ++i) {
    EXPECT_GT(job.series(i).episode(), job.series(i - 1).episode());
  }
  for (const v1::JobResult& step : job.series()) {
    EXPECT_EQ(step.model(), job.result().model());  // the fake worker's one model
    EXPECT_GT(step.steps_size(), 0);
  }
  EXPECT_EQ(job.series(job.series_size() - 1).episode(), job.result().episode());
}

TEST_F(PlannedSearchTest, LearnsFromTheHistoryOfAnEndedJobAlone) {
  FakeWorker worker(channel_, "w");
  const v1::Job first = WaitForEnd(Submit(SpecOf("hybrid"), "first")->id());
  ASSERT_EQ(first.state(), v1::JOB_STATE_SUCCEEDED) << first.message();
  v1::JobSpec spec = SpecOf("hybrid", 40);
  spec.mutable_budget()->set_ratio(0.4);
  spec.mutable_search()->add_learn_from(first.id());
  const v1::Job learnt = WaitForEnd(Submit(spec, "learnt")->id());
  ASSERT_EQ(learnt.state(), v1::JOB_STATE_SUCCEEDED) << learnt.message();

  const auto violation = [&](const v1::JobSpec& bad) {
    const absl::Status status = Submit(bad, "bad").status();
    return std::string(status.message());
  };
  v1::JobSpec unknown = spec;
  unknown.mutable_search()->add_learn_from("nobody");
  EXPECT_THAT(violation(unknown), HasSubstr("spec.search.learn_from[1]"));
  v1::JobSpec other = spec;
  other.mutable_evaluation()->set_reward_images(16);
  EXPECT_THAT(violation(other), HasSubstr("another model, data pack, evaluation or sparsity"));
}

}  // namespace
}  // namespace amc
