// Candidates that were measured before, in this job or another, are answered from the store.
#include <atomic>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/status_convert.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class ReuseTest : public ServerTest {
 protected:
  v1::JobSpec ReusingSpec(int64_t episodes = 6) {
    v1::JobSpec spec = Spec(episodes);
    spec.set_reuse(true);
    return spec;
  }
  // Measures, and counts the candidates.
  FakeWorker::Evaluate Counting() {
    return [this](const v1::Lease& lease) {
      if (lease.kind() == v1::TASK_KIND_EVALUATE) ++measured_;
      return FakeWorker::Measure(lease);
    };
  }
  std::atomic<int64_t> measured_ = 0;
};

TEST_F(ReuseTest, AnswersAnotherJobsCandidatesFromTheStore) {
  FakeWorker worker(channel_, "measurer", Counting());
  const std::string first = Submit(ReusingSpec(), "one")->id();
  ASSERT_EQ(WaitForEnd(first).state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(measured_, 6);
  const v1::Job second = WaitForEnd(Submit(ReusingSpec(8), "two")->id());
  EXPECT_EQ(measured_, 8);  // the two more
  EXPECT_EQ(second.episodes_reused(), 6);
  const std::vector<v1::Episode> episodes = Episodes(second.id());
  ASSERT_THAT(episodes, SizeIs(8));
  for (const v1::Episode& episode : episodes) {
    EXPECT_EQ(episode.reused(), episode.number() < 6);
    EXPECT_EQ(episode.attempts(), episode.reused() ? 0 : 1);
    EXPECT_EQ(episode.worker(), "measurer");
  }
  const std::vector<std::string> history = CanonicalHistory(second.id());
  const std::vector<std::string> start(history.begin(), history.begin() + 6);
  EXPECT_EQ(start, CanonicalHistory(first));

  // Another server's life makes no difference.
  RestartServer();
  FakeWorker again(channel_, "again", Counting());
  EXPECT_EQ(WaitForEnd(Submit(ReusingSpec(8), "three")->id()).episodes_reused(), 8);
  EXPECT_EQ(measured_, 8);
}

TEST_F(ReuseTest, MeasuresAnewWhatOtherSettingsWouldChange) {
  FakeWorker worker(channel_, "w", Counting());
  WaitForEnd(Submit(ReusingSpec(), "one")->id());
  const int64_t before = measured_;
  v1::JobSpec spec = ReusingSpec();
  spec.mutable_evaluation()->set_reward_images(16);
  EXPECT_EQ(WaitForEnd(Submit(spec, "images")->id()).episodes_reused(), 0);
  spec = ReusingSpec();
  spec.set_reuse(false);
  EXPECT_EQ(WaitForEnd(Submit(spec, "refused")->id()).episodes_reused(), 0);
  EXPECT_EQ(measured_, before + 12);
  // What does not touch a measurement does not stand in the way.
  spec = ReusingSpec();
  spec.mutable_search()->set_metric(v1::QUALITY_METRIC_NEGATIVE_KL);
  spec.mutable_evaluation()->set_report_images(8);
  spec.set_priority(5);
  EXPECT_EQ(WaitForEnd(Submit(spec, "metric")->id()).episodes_reused(), 6);
}

// A candidate that nobody can measure is an outcome: kept, reused, never rewarded.
TEST_F(ReuseTest, KeepsInfeasibleCandidatesWithoutAReward) {
  const auto odd_ones_fail = [](const v1::Lease& lease) -> FakeWorker::Outcome {
    if (lease.kind() != v1::TASK_KIND_EVALUATE || lease.episode() % 2 == 0) {
      return FakeWorker::Measure(lease);
    }
    v1::TaskResult result;
    result.set_numerics_id(lease.numerics_id());
    result.set_infeasible("the logits of 3 of 32 reward images are not finite");
    return result;
  };
  FakeWorker worker(channel_, "w", odd_ones_fail);
  for (const char* request : {"one", "two"}) {
    const v1::Job job = WaitForEnd(Submit(ReusingSpec(), request)->id());
    ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
    EXPECT_EQ(job.best_episode() % 2, 0);
    for (const v1::Episode& episode : Episodes(job.id())) {
      if (episode.number() % 2 == 0) {
        EXPECT_EQ(episode.state(), v1::EPISODE_STATE_DONE);
        continue;
      }
      EXPECT_EQ(episode.state(), v1::EPISODE_STATE_INFEASIBLE);
      EXPECT_THAT(episode.infeasible(), HasSubstr("not finite"));
      EXPECT_FALSE(episode.has_measurement());
      EXPECT_EQ(episode.reward(), 0);
      EXPECT_GT(episode.cost().macs(), 0);
    }
  }
}

TEST_F(ReuseTest, FailsAJobWithoutASingleMeasurement) {
  FakeWorker worker(channel_, "w", [](const v1::Lease& lease) -> FakeWorker::Outcome {
    if (lease.kind() != v1::TASK_KIND_EVALUATE) return FakeWorker::Measure(lease);
    v1::TaskResult result;
    result.set_numerics_id(lease.numerics_id());
    result.set_infeasible("no");
    return result;
  });
  const v1::Job job = WaitForEnd(Submit(Spec(4), "r")->id());
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job.failure(), v1::FAILURE_REASON_INFEASIBLE);
  EXPECT_EQ(job.episodes_done(), 4);
  EXPECT_EQ(job.best_episode(), -1);
  v1::GetBestRequest request;
  request.set_job(job.id());
  v1::GetBestResponse best;
  grpc::ClientContext context;
  EXPECT_EQ(jobs_->GetBest(&context, request, &best).error_code(), grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace amc
