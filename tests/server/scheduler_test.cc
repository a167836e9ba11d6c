#include "server/scheduler.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::SizeIs;

WorkerView Cpu(int64_t threads = 1, const std::string& platform = "avx512:torch1") {
  WorkerView worker{.uuid = "w", .capabilities = v1::WorkerCapabilities()};
  worker.capabilities.add_devices(v1::DEVICE_CPU);
  worker.capabilities.set_threads(threads);
  worker.capabilities.set_platform_id(platform);
  return worker;
}

JobView MakeJob(const std::string& id, std::vector<JobView::PendingTask> pending) {
  JobView job{.id = id, .evaluation = v1::EvaluationSpec(), .numerics_id = ""};
  job.evaluation.set_device(v1::DEVICE_CPU);
  job.evaluation.set_threads(1);
  job.evaluation.set_batch_size(64);
  job.evaluation.set_precision(v1::PRECISION_FP32);
  job.pending = std::move(pending);
  return job;
}

v1::TaskError Error(v1::TaskErrorKind kind) {
  v1::TaskError error;
  error.set_kind(kind);
  return error;
}

TEST(PickTaskTest, TakesTheFirstDueTaskOfTheJob) {
  const std::vector<JobView> jobs = {
      MakeJob("a", {{.task = 1, .not_before_ms = 500}, {.task = 2}})};
  EXPECT_EQ(PickTask(jobs, Cpu(), 100)->task, 2);
  EXPECT_EQ(PickTask(jobs, Cpu(), 500)->task, 1);
}

TEST(PickTaskTest, GivesNothingWithoutADueTask) {
  EXPECT_FALSE(PickTask({}, Cpu(), 0).has_value());
  const std::vector<JobView> jobs = {MakeJob("a", {{.task = 1, .not_before_ms = 500}})};
  EXPECT_FALSE(PickTask(jobs, Cpu(), 499).has_value());
  EXPECT_EQ(NextDue(jobs, 499), 500);
  EXPECT_FALSE(NextDue(jobs, 500).has_value());
}

TEST(PickTaskTest, LetsJobsTakeTurns) {
  std::vector<JobView> jobs = {MakeJob("a", {{.task = 1}}), MakeJob("b", {{.task = 1}}),
                               MakeJob("c", {{.task = 1}})};
  std::string order;
  for (int64_t grant = 1; grant <= 7; ++grant) {
    const std::optional<Assignment> assignment = PickTask(jobs, Cpu(), 0);
    order += jobs[assignment->job].id;
    jobs[assignment->job].last_grant = grant;
  }
  EXPECT_EQ(order, "abcabca");
}

TEST(PickTaskTest, MatchesDeviceThreadsAndNumerics) {
  JobView job = MakeJob("a", {{.task = 1}});
  EXPECT_TRUE(Matches(job, Cpu()));
  job.evaluation.set_threads(2);
  EXPECT_FALSE(Matches(job, Cpu(1)));
  EXPECT_TRUE(Matches(job, Cpu(2)));
  job.evaluation.set_device(v1::DEVICE_CUDA);
  EXPECT_FALSE(Matches(job, Cpu(2)));

  job = MakeJob("a", {{.task = 1}});
  job.numerics_id = PickTask({job}, Cpu(1, "avx512:torch1"), 0)->numerics_id;
  EXPECT_EQ(job.numerics_id, "cpu:avx512:torch1:threads1:batch64:fp32");
  EXPECT_TRUE(Matches(job, Cpu(4, "avx512:torch1")));  // spare threads change nothing
  EXPECT_FALSE(Matches(job, Cpu(1, "avx2:torch1")));
}

TEST(WhyNoWorkerFitsTest, NamesWhatIsMissing) {
  JobView job = MakeJob("a", {{.task = 1}});
  EXPECT_EQ(WhyNoWorkerFits(job, {Cpu()}), "");
  EXPECT_EQ(WhyNoWorkerFits(job, {}), "no worker is connected");
  job.evaluation.set_threads(4);
  EXPECT_EQ(WhyNoWorkerFits(job, {Cpu(2)}), "1 worker is connected, without 4 threads");
  EXPECT_EQ(WhyNoWorkerFits(job, {Cpu(2), Cpu(4)}), "");
  job.evaluation.set_device(v1::DEVICE_CUDA);
  EXPECT_EQ(WhyNoWorkerFits(job, {Cpu(2), Cpu(4)}),
            "2 workers are connected, none with device cuda");
  job = MakeJob("a", {{.task = 1}});
  job.numerics_id = "cpu:avx2:torch1:threads1:batch64:fp32";
  EXPECT_EQ(WhyNoWorkerFits(job, {Cpu()}),
            "1 worker is connected, without the numerics of the job's first measurements "
            "(cpu:avx2:torch1:threads1:batch64:fp32)");
  EXPECT_EQ(WhyNoWorkerFits(job, {Cpu(1, "avx2:torch1")}), "");
}

TEST(DecideRetryTest, TriesLostWorkersAndTheirTroubleAgainLaterEachTime) {
  const RetryPolicy policy{
      .max_attempts = 5, .backoff = absl::Seconds(1), .max_backoff = absl::Seconds(3)};
  const auto wait = [&](int64_t lost, int64_t failed) {
    return DecideRetry(policy, lost, failed, AttemptOutcome::kLost, {}, 0).not_before_ms;
  };
  EXPECT_EQ(wait(0, 0), 1000);
  EXPECT_EQ(wait(1, 0), 2000);
  EXPECT_EQ(wait(1, 1), 3000);  // capped
  EXPECT_TRUE(
      DecideRetry(policy, 0, 0, AttemptOutcome::kError, Error(v1::TASK_ERROR_KIND_RETRYABLE), 0)
          .retry);
}

TEST(DecideRetryTest, SaysWhetherWorkersWereLostOrFailed) {
  const RetryPolicy policy{.max_attempts = 3};
  EXPECT_TRUE(DecideRetry(policy, 1, 0, AttemptOutcome::kLost, {}, 0).retry);
  const RetryDecision lost = DecideRetry(policy, 2, 0, AttemptOutcome::kLost, {}, 0);
  EXPECT_FALSE(lost.retry);
  EXPECT_EQ(lost.failure, v1::FAILURE_REASON_LOST_WORKERS);
  const RetryDecision failed =
      DecideRetry(policy, 1, 1, AttemptOutcome::kError, Error(v1::TASK_ERROR_KIND_RETRYABLE), 0);
  EXPECT_FALSE(failed.retry);
  EXPECT_EQ(failed.failure, v1::FAILURE_REASON_EVALUATION);
}

TEST(DecideRetryTest, EndsTheJobAtOnceOnAPermanentError) {
  const RetryPolicy policy{.max_attempts = 100};
  const auto failure = [&](v1::TaskErrorKind kind) {
    const RetryDecision decision =
        DecideRetry(policy, 0, 0, AttemptOutcome::kError, Error(kind), 0);
    EXPECT_FALSE(decision.retry);
    return decision.failure;
  };
  EXPECT_EQ(failure(v1::TASK_ERROR_KIND_PERMANENT), v1::FAILURE_REASON_EVALUATION);
  EXPECT_EQ(failure(v1::TASK_ERROR_KIND_UNSPECIFIED), v1::FAILURE_REASON_EVALUATION);
  EXPECT_EQ(failure(v1::TASK_ERROR_KIND_EXPORT), v1::FAILURE_REASON_EXPORT);
}

TEST(DecideRetryTest, CountsACancelledAttemptForNothing) {
  const RetryDecision decision =
      DecideRetry({.max_attempts = 1}, 0, 0, AttemptOutcome::kCancelled, {}, 77);
  EXPECT_TRUE(decision.retry);
  EXPECT_EQ(decision.not_before_ms, 77);
}

TEST(LeaseTest, ExpiresAtTheEndOfItsTermAndNotBefore) {
  const std::vector<LeaseView> leases = {{"a", 1, 1, 100}, {"a", 2, 1, 101}, {"b", 1, 4, 50}};
  EXPECT_THAT(Expired(leases, 49), SizeIs(0));
  EXPECT_THAT(Expired(leases, 100), SizeIs(2));
  EXPECT_THAT(Expired(leases, 101), SizeIs(3));
}

TEST(LeaseTest, StoresARenewalOnlyInTheSecondHalfOfTheStoredTerm) {
  EXPECT_FALSE(MustStoreRenewal(10'000, 1'000, absl::Seconds(10)));
  EXPECT_FALSE(MustStoreRenewal(10'000, 5'000, absl::Seconds(10)));
  EXPECT_TRUE(MustStoreRenewal(10'000, 5'001, absl::Seconds(10)));
}

}  // namespace
}  // namespace amc
