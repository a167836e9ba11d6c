// The scheduler's decisions, from snapshots written down here.
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

TEST(PickTaskTest, TakesTheHighestPriorityBeforeAnyTurns) {
  std::vector<JobView> jobs = {MakeJob("a", {{.task = 1}}), MakeJob("b", {{.task = 1}}),
                               MakeJob("c", {{.task = 1}}), MakeJob("d", {{.task = 1}})};
  jobs[0].priority = -100;
  jobs[1].priority = 5;
  jobs[3].priority = 5;
  std::string order;
  for (int64_t grant = 1; grant <= 4; ++grant) {
    const std::optional<Assignment> assignment = PickTask(jobs, Cpu(), 0);
    order += jobs[assignment->job].id;
    jobs[assignment->job].last_grant = grant;
  }
  EXPECT_EQ(order, "bdbd");
  // Those below get what the higher ones leave.
  jobs[1].pending[0].not_before_ms = 10;
  jobs[3].pending.clear();
  EXPECT_EQ(jobs[PickTask(jobs, Cpu(), 0)->job].id, "c");
  jobs[2].pending.clear();
  EXPECT_EQ(jobs[PickTask(jobs, Cpu(), 0)->job].id, "a");
  EXPECT_EQ(jobs[PickTask(jobs, Cpu(), 10)->job].id, "b");
}

TEST(PickTaskTest, AJobThatTheWorkerDoesNotFitIsPassedOverWhateverItsPriority) {
  std::vector<JobView> jobs = {MakeJob("a", {{.task = 1}}), MakeJob("b", {{.task = 1}})};
  jobs[0].priority = 9;
  jobs[0].evaluation.set_device(v1::DEVICE_CUDA);
  EXPECT_EQ(PickTask(jobs, Cpu(), 0)->job, 1u);
}

TEST(PickTaskTest, GivesAJobNoMoreWorkersThanItMayHave) {
  std::vector<JobView> jobs = {MakeJob("a", {{.task = 1}, {.task = 2}}),
                               MakeJob("b", {{.task = 1}})};
  jobs[0].priority = 1;
  jobs[0].max_leased = 2;
  jobs[0].leased = 1;
  EXPECT_EQ(PickTask(jobs, Cpu(), 0)->job, 0u);
  jobs[0].leased = 2;
  EXPECT_EQ(PickTask(jobs, Cpu(), 0)->job, 1u);
  jobs[0].leased = 3;  // more than it may have since
  EXPECT_EQ(PickTask(jobs, Cpu(), 0)->job, 1u);
  jobs[0].max_leased = 0;  // as many as there are
  jobs[0].leased = 1000;
  EXPECT_EQ(PickTask(jobs, Cpu(), 0)->job, 0u);
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

TEST(PickTaskTest, MatchesMemory) {
  JobView job = MakeJob("a", {{.task = 1}});
  WorkerView worker = Cpu();
  EXPECT_TRUE(Matches(job, worker));  // says nothing of its memory, nothing is asked
  job.requirements.set_memory_bytes(int64_t{4} << 30);
  EXPECT_FALSE(Matches(job, worker));
  worker.capabilities.set_memory_bytes((int64_t{4} << 30) - 1);
  EXPECT_FALSE(Matches(job, worker));
  EXPECT_FALSE(PickTask({job}, worker, 0).has_value());
  worker.capabilities.set_memory_bytes(int64_t{4} << 30);
  EXPECT_TRUE(Matches(job, worker));
}

TEST(PickTaskTest, MatchesRuntimesByNameOrNameAndVersion) {
  WorkerView worker = Cpu();
  const auto fits = [&worker](const std::string& runtime) {
    JobView job = MakeJob("a", {{.task = 1}});
    job.requirements.set_runtime(runtime);
    return Matches(job, worker);
  };
  EXPECT_TRUE(fits(""));
  EXPECT_FALSE(fits("libtorch"));
  worker.capabilities.add_runtimes("onnxruntime 1.14.0");
  worker.capabilities.add_runtimes("libtorch 1.13.1");
  EXPECT_TRUE(fits(""));
  EXPECT_TRUE(fits("libtorch"));
  EXPECT_TRUE(fits("onnxruntime"));
  EXPECT_TRUE(fits("libtorch 1.13.1"));
  for (const char* other : {"libtorch 1.13", "libtorch 1.13.10", "libtorch 2.1.0", "libtor",
                            "torch", "libtorch ", "LIBTORCH", "tvm", "1.13.1"}) {
    EXPECT_FALSE(fits(other)) << other;
  }
}

TEST(WhyNoWorkerFitsTest, NamesMemoryAndRuntime) {
  JobView job = MakeJob("a", {{.task = 1}});
  job.requirements.set_memory_bytes(1000);
  WorkerView small = Cpu(), large = Cpu();
  small.capabilities.set_memory_bytes(999);
  large.capabilities.set_memory_bytes(1000);
  EXPECT_EQ(WhyNoWorkerFits(job, {small}), "1 worker is connected, without 1000 bytes of memory");
  EXPECT_EQ(WhyNoWorkerFits(job, {small, small}),
            "2 workers are connected, none with 1000 bytes of memory");
  EXPECT_EQ(WhyNoWorkerFits(job, {small, large}), "");
  job.requirements.set_runtime("libtorch 2.1.0");
  // The one with the runtime has not the memory: what is named is missing in those left.
  small.capabilities.add_runtimes("libtorch 2.1.0");
  large.capabilities.add_runtimes("libtorch 1.13.1");
  EXPECT_EQ(WhyNoWorkerFits(job, {small, large}),
            "2 workers are connected, none with runtime libtorch 2.1.0");
  large.capabilities.add_runtimes("libtorch 2.1.0");
  EXPECT_EQ(WhyNoWorkerFits(job, {small, large}), "");
}

TEST(WhyNoWorkerFitsTest, AJobThatHasItsShareIsNotStarved) {
  JobView job = MakeJob("a", {{.task = 1}});
  job.max_leased = job.leased = 1;
  EXPECT_EQ(WhyNoWorkerFits(job, {Cpu()}), "");
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

RetryDecision Retry(const RetryPolicy& policy, const AttemptCounts& counts,
                    AttemptOutcome outcome) {
  return DecideRetry(policy, counts, outcome, Error(v1::TASK_ERROR_KIND_RETRYABLE), 0);
}

TEST(DecideRetryTest, WaitsTwiceAsLongEachTimeUpToALimit) {
  const RetryPolicy policy{
      .max_attempts = 10, .backoff = absl::Seconds(1), .max_backoff = absl::Seconds(7)};
  const auto wait = [&](int64_t failed) {
    const RetryDecision decision = DecideRetry(policy, {.failed = failed}, AttemptOutcome::kError,
                                               Error(v1::TASK_ERROR_KIND_RETRYABLE), 500);
    EXPECT_TRUE(decision.retry);
    return decision.not_before_ms - 500;
  };
  EXPECT_EQ(wait(0), 1000);
  EXPECT_EQ(wait(1), 2000);
  EXPECT_EQ(wait(2), 4000);
  EXPECT_EQ(wait(3), 7000);
  EXPECT_EQ(wait(8), 7000);
  EXPECT_EQ(Retry(policy, {.crashed = 2}, AttemptOutcome::kCrashed).not_before_ms, 4000);
  EXPECT_EQ(Retry(policy, {.crashed = 8}, AttemptOutcome::kCrashed).not_before_ms, 7000);
}

// A lost lease has cost a whole term already, and machines go for reasons of their own.
TEST(DecideRetryTest, WaitsLessAfterALossAndAllowsMoreOfThem) {
  const RetryPolicy policy{.max_attempts = 2,
                           .max_lost = 50,
                           .backoff = absl::Seconds(1),
                           .max_backoff = absl::Seconds(60),
                           .max_lost_backoff = absl::Seconds(3)};
  EXPECT_EQ(Retry(policy, {.lost = 0}, AttemptOutcome::kLost).not_before_ms, 1000);
  EXPECT_EQ(Retry(policy, {.lost = 1}, AttemptOutcome::kLost).not_before_ms, 2000);
  EXPECT_EQ(Retry(policy, {.lost = 2}, AttemptOutcome::kLost).not_before_ms, 3000);
  EXPECT_EQ(Retry(policy, {.lost = 48}, AttemptOutcome::kLost).not_before_ms, 3000);
  EXPECT_TRUE(Retry(policy, {.lost = 48}, AttemptOutcome::kLost).retry);
  const RetryDecision last = Retry(policy, {.lost = 49}, AttemptOutcome::kLost);
  EXPECT_FALSE(last.retry);
  EXPECT_EQ(last.failure, v1::FAILURE_REASON_LOST_WORKERS);
}

TEST(DecideRetryTest, AllowsAHundredLossesAndWaitsFiveSecondsAtMostByDefault) {
  EXPECT_TRUE(Retry({}, {.lost = 98}, AttemptOutcome::kLost).retry);
  EXPECT_EQ(Retry({}, {.lost = 98}, AttemptOutcome::kLost).not_before_ms, 5000);
  EXPECT_FALSE(Retry({}, {.lost = 99}, AttemptOutcome::kLost).retry);
}

TEST(DecideRetryTest, CountsLossesFailuresAndCrashesApart) {
  const RetryPolicy policy{.max_attempts = 3, .max_lost = 3};
  struct Case {
    AttemptOutcome outcome;
    AttemptCounts others, own;
    v1::FailureReason failure;
  };
  for (const Case& c : {Case{AttemptOutcome::kLost,
                             {.failed = 99, .crashed = 99},
                             {.lost = 2},
                             v1::FAILURE_REASON_LOST_WORKERS},
                        Case{AttemptOutcome::kError,
                             {.lost = 99, .crashed = 99},
                             {.failed = 2},
                             v1::FAILURE_REASON_EVALUATION},
                        Case{AttemptOutcome::kCrashed,
                             {.lost = 99, .failed = 99},
                             {.crashed = 2},
                             v1::FAILURE_REASON_QUARANTINED}}) {
    const RetryDecision first = Retry(policy, c.others, c.outcome);
    EXPECT_TRUE(first.retry) << c.failure;
    EXPECT_EQ(first.not_before_ms, 1000);  // as after no attempt at all
    EXPECT_EQ(first.failure, v1::FAILURE_REASON_UNSPECIFIED);
    const RetryDecision third = Retry(policy, c.own, c.outcome);
    EXPECT_FALSE(third.retry) << c.failure;
    EXPECT_EQ(third.failure, c.failure);
    EXPECT_TRUE(
        Retry(policy,
              {.lost = c.own.lost / 2, .failed = c.own.failed / 2, .crashed = c.own.crashed / 2},
              c.outcome)
            .retry);
  }
}

TEST(DecideRetryTest, OnlyCrashesLeadToQuarantine) {
  for (const AttemptOutcome outcome :
       {AttemptOutcome::kLost, AttemptOutcome::kError, AttemptOutcome::kCancelled}) {
    for (int64_t count = 0; count < 200; ++count) {
      const AttemptCounts counts{.lost = count, .failed = count, .crashed = count};
      EXPECT_NE(Retry({}, counts, outcome).failure, v1::FAILURE_REASON_QUARANTINED);
    }
  }
  // Whatever a crash's report says of an error: it is no error.
  const RetryDecision crash =
      DecideRetry({}, {}, AttemptOutcome::kCrashed, Error(v1::TASK_ERROR_KIND_PERMANENT), 0);
  EXPECT_TRUE(crash.retry);
}

TEST(DecideRetryTest, AJobMayAllowASingleAttempt) {
  const RetryPolicy policy{.max_attempts = 1};
  EXPECT_EQ(Retry(policy, {}, AttemptOutcome::kCrashed).failure, v1::FAILURE_REASON_QUARANTINED);
  EXPECT_EQ(Retry(policy, {}, AttemptOutcome::kError).failure, v1::FAILURE_REASON_EVALUATION);
  EXPECT_TRUE(Retry(policy, {}, AttemptOutcome::kLost).retry);
}

TEST(DecideRetryTest, EndsTheJobAtOnceOnAPermanentError) {
  const RetryPolicy policy{.max_attempts = 100};
  const auto failure = [&](v1::TaskErrorKind kind) {
    const RetryDecision decision = DecideRetry(policy, {}, AttemptOutcome::kError, Error(kind), 0);
    EXPECT_FALSE(decision.retry);
    return decision.failure;
  };
  EXPECT_EQ(failure(v1::TASK_ERROR_KIND_PERMANENT), v1::FAILURE_REASON_EVALUATION);
  EXPECT_EQ(failure(v1::TASK_ERROR_KIND_UNSPECIFIED), v1::FAILURE_REASON_EVALUATION);
  EXPECT_EQ(failure(v1::TASK_ERROR_KIND_EXPORT), v1::FAILURE_REASON_EXPORT);
}

TEST(DecideRetryTest, CountsACancelledAttemptForNothing) {
  const RetryDecision decision =
      DecideRetry({.max_attempts = 1}, {.lost = 99, .failed = 99, .crashed = 99},
                  AttemptOutcome::kCancelled, {}, 77);
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

v1::LatencySetting OnnxRuntime(const std::string& version = "1.30.0") {
  v1::LatencySetting setting;
  setting.set_device("AMD EPYC 9R14");
  setting.set_runtime("onnxruntime");
  setting.set_version(version);
  setting.set_threads(2);
  setting.set_batch(1);
  return setting;
}

WorkerView Timer() {
  WorkerView worker = Cpu(2);
  worker.capabilities.set_processor("AMD EPYC 9R14");
  worker.capabilities.add_runtimes("libtorch 1.13.1");
  worker.capabilities.add_runtimes("onnxruntime 1.30.0");
  return worker;
}

TEST(MeasuresTest, WantsDeviceRuntimeVersionAndThreads) {
  EXPECT_TRUE(Measures(Timer().capabilities, OnnxRuntime()));
  EXPECT_FALSE(Measures(Timer().capabilities, OnnxRuntime("1.3")));
  EXPECT_TRUE(Measures(Timer().capabilities, OnnxRuntime("")));
  v1::LatencySetting setting = OnnxRuntime();
  setting.set_threads(3);
  EXPECT_FALSE(Measures(Timer().capabilities, setting));
  setting = OnnxRuntime();
  setting.set_device("Pixel 7");
  EXPECT_FALSE(Measures(Timer().capabilities, setting));
  setting.set_device("");
  EXPECT_TRUE(Measures(Timer().capabilities, setting));
  setting.set_runtime("onnx");
  EXPECT_FALSE(Measures(Timer().capabilities, setting));
}

TEST(PickTaskTest, TimingGoesToWorkersThatMeasureAndFixesNoNumerics) {
  const v1::LatencySetting setting = OnnxRuntime();
  std::vector<JobView> jobs = {MakeJob("a", {{.task = 1, .timing = &setting}, {.task = 2}})};
  EXPECT_EQ(PickTask(jobs, Cpu(), 0)->task, 2);
  // Its platform is another than that of the job's measurements: times are none of those.
  jobs[0].numerics_id = "elsewhere";
  const std::optional<Assignment> timing = PickTask(jobs, Timer(), 0);
  ASSERT_TRUE(timing.has_value());
  EXPECT_EQ(timing->task, 1);
  EXPECT_EQ(timing->numerics_id, "");
  jobs[0].pending.pop_back();
  EXPECT_FALSE(PickTask(jobs, Cpu(), 0).has_value());
  EXPECT_EQ(WhyNoWorkerFits(jobs[0], {Timer()}), "");
  EXPECT_EQ(WhyNoWorkerFits(jobs[0], {Cpu()}),
            "none of those connected measures with onnxruntime 1.30.0 on AMD EPYC 9R14, 2 threads, "
            "batch 1");
}

}  // namespace
}  // namespace amc
