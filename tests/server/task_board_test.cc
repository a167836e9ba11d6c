// Tasks and their attempts: what is leased, completed, lost, crashed, closed.
#include "server/task_board.h"

#include <atomic>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/job_error.h"
#include "tests/server/task_board_fixture.h"

namespace amc {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(TaskBoardTest, ReturnsResultsInTheOrderAskedFor) {
  MakeJob("j");
  Running run(board_.get(), "j", Tasks(0, 3));
  std::vector<v1::Lease> leases;
  leases.reserve(3);
  for (int i = 0; i < 3; ++i) leases.push_back(*Lease(absl::StrCat("w", i), absl::Seconds(5)));
  for (const int i : {2, 0, 1})
    ASSERT_TRUE(
        board_->Complete(absl::StrCat("w", i), Completion(leases[static_cast<size_t>(i)])).ok());
  const auto& records = run.Join();
  ASSERT_TRUE(records.ok()) << records.status();
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ((*records)[i].episode, static_cast<int64_t>(i));
    EXPECT_EQ((*records)[i].result->measurement().top1(), static_cast<double>(i));
  }
}

TEST_F(TaskBoardTest, ExpiresALeaseThatIsNotRenewedAndWaitsBeforeTheNext) {
  MakeJob("j");
  Running run(board_.get(), "j", Tasks(0, 1));
  const v1::Lease first = *Lease("w1", absl::Seconds(5));
  clock_.Advance(absl::Seconds(29));
  board_->ExpireLeases();
  v1::TaskProgress progress;
  *progress.mutable_lease() = Completion(first).lease();
  EXPECT_THAT(board_->Renew("w1", {&progress}), IsEmpty());
  clock_.Advance(absl::Seconds(29));  // 58 s after the grant, 29 after the renewal
  board_->ExpireLeases();
  EXPECT_THAT(board_->Renew("w2", {&progress}), SizeIs(1));  // not the holder
  clock_.Advance(absl::Seconds(1));
  board_->ExpireLeases();
  EXPECT_THAT(board_->Renew("w1", {&progress}), SizeIs(1));
  EXPECT_FALSE(Lease("w2").has_value());  // backoff
  clock_.Advance(absl::Seconds(1));
  const v1::Lease second = *Lease("w2");
  EXPECT_EQ(second.epoch(), 2);
  EXPECT_TRUE(absl::IsAborted(board_->Complete("w1", Completion(first))));
  EXPECT_TRUE(board_->Complete("w2", Completion(second)).ok());
  EXPECT_EQ((*run.Join())[0].lost_attempts, 1);
}

TEST_F(TaskBoardTest, ForgivesEarlierAttemptsOfAResumedJob) {
  v1::Job job = MakeJob("j", /*max_attempts=*/1);
  v1::TaskError error;
  error.set_kind(v1::TASK_ERROR_KIND_RETRYABLE);
  error.set_message("no memory");
  const auto fail = [&] {
    v1::CompleteTaskRequest request = Completion(*Lease("w", absl::Seconds(5)));
    *request.mutable_error() = error;
    EXPECT_TRUE(board_->Complete("w", request).ok());
  };
  {
    Running run(board_.get(), "j", Tasks(0, 1));
    fail();
    const absl::Status status = run.Join().status();
    EXPECT_EQ(ReasonOf(status), v1::FAILURE_REASON_EVALUATION);
    EXPECT_THAT(std::string(status.message()), HasSubstr("no memory"));
  }
  board_->CloseJob("j");
  job.mutable_spec()->set_max_attempts(2);  // one more attempt may fail, if the first is forgiven
  ASSERT_TRUE(store_->UpdateJob({job, {}, true}).ok());
  ASSERT_TRUE(board_->OpenJob(job).ok());
  Running run(board_.get(), "j", Tasks(0, 1));
  clock_.Advance(absl::Minutes(1));
  fail();
  clock_.Advance(absl::Minutes(1));
  EXPECT_TRUE(board_->Complete("w", Completion(*Lease("w", absl::Seconds(5)))).ok());
  EXPECT_TRUE(run.Join().ok());
}

TEST_F(TaskBoardTest, GivesALeaseAgainWhoseAnswerARestartSwallowed) {
  const v1::Job job = MakeJob("j");
  v1::Lease lease;
  {
    Running run(board_.get(), "j", Tasks(0, 1));
    lease = *Lease("w", absl::Seconds(5));
    board_->Shutdown();
    EXPECT_TRUE(absl::IsUnavailable(run.Join().status()));
  }
  NewBoard();
  ASSERT_TRUE(board_->OpenJob(job).ok());
  EXPECT_FALSE(Lease("other").has_value());
  const std::optional<v1::Lease> again = Lease("w");
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->epoch(), lease.epoch());
  EXPECT_FALSE(Lease("w").has_value());  // once
  EXPECT_TRUE(board_->Complete("w", Completion(*again)).ok());
  EXPECT_TRUE(board_->Run("j", Tasks(0, 1)).ok());  // done: nothing to wait for
}

TEST_F(TaskBoardTest, ALeaseOfAnEarlierLifeThatNobodyTakesUpDoesNotCount) {
  const v1::Job job = MakeJob("j");
  {
    Running run(board_.get(), "j", Tasks(0, 1));
    ASSERT_TRUE(Lease("w", absl::Seconds(5)).has_value());
    board_->Shutdown();
    EXPECT_TRUE(absl::IsUnavailable(run.Join().status()));
  }
  NewBoard();
  ASSERT_TRUE(board_->OpenJob(job).ok());
  Running run(board_.get(), "j", Tasks(0, 1));
  clock_.Advance(absl::Seconds(31));
  board_->ExpireLeases();
  EXPECT_TRUE(board_->Complete("v", Completion(*Lease("v", absl::Seconds(5)))).ok());
  EXPECT_EQ((*run.Join())[0].lost_attempts, 0);
  EXPECT_EQ((*store_->Attempts("j"))[0].outcome, AttemptOutcome::kCancelled);
}

// Completions that come while the job's leases are being ended, one write after another. What goes
// wrong here is memory that is used after it was freed: the address sanitizer sees it.
TEST_F(TaskBoardTest, ClosesAJobWhileItsWorkersComplete) {
  for (int round = 0; round < 10; ++round) {
    const std::string id = absl::StrCat("j", round);
    constexpr int kTasks = 12;
    OpenWithTasks(SampleJob(id), kTasks);
    std::vector<v1::Lease> leases;
    for (int i = 0; i < kTasks; ++i) leases.push_back(*Lease(absl::StrCat("w", i)));
    std::vector<std::thread> workers;
    std::atomic<int> taken = 0, refused = 0;
    for (int i = 0; i < kTasks; ++i) {
      workers.emplace_back([&, i] {
        const absl::Status status =
            board_->Complete(absl::StrCat("w", i), Completion(leases[static_cast<size_t>(i)]));
        EXPECT_TRUE(status.ok() || absl::IsAborted(status)) << status;
        ++(status.ok() ? taken : refused);
      });
    }
    board_->CloseJob(id);
    for (std::thread& worker : workers) worker.join();
    EXPECT_EQ(taken + refused, kTasks);
    int done = 0;
    for (const TaskRecord& task : *store_->Tasks(id)) {
      EXPECT_NE(task.state, TaskState::kLeased);
      done += task.state == TaskState::kDone ? 1 : 0;
    }
    EXPECT_EQ(done, taken);
  }
}

TEST_F(TaskBoardTest, LosesManyWorkersBeforeItGivesUp) {
  MakeJob("j", /*max_attempts=*/1);
  Running run(board_.get(), "j", Tasks(0, 1));
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(Lease(absl::StrCat("w", i), absl::Seconds(5)).has_value()) << i;
    clock_.Advance(absl::Seconds(30));
    board_->ExpireLeases();
    clock_.Advance(absl::Seconds(5));  // the longest wait after a loss
  }
  const absl::Status status = run.Join().status();
  EXPECT_EQ(ReasonOf(status), v1::FAILURE_REASON_LOST_WORKERS);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("episode 0, attempt 100 on worker w99: no heartbeat"));
}

TEST_F(TaskBoardTest, ACandidateThatCrashesItsWorkersIsPutUnderQuarantine) {
  MakeJob("j", /*max_attempts=*/2);
  Running run(board_.get(), "j", Tasks(0, 1));
  const v1::Lease first = *Lease("w1", absl::Seconds(5));
  board_->Release("w1", AttemptOutcome::kCrashed, "killed by signal 6");
  EXPECT_TRUE(absl::IsAborted(board_->Complete("w1", Completion(first))));
  EXPECT_FALSE(Lease("w2").has_value());  // backoff
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Lease("w2")->epoch(), 2);
  board_->Release("w2", AttemptOutcome::kCrashed, "killed by signal 11");
  const absl::Status status = run.Join().status();
  EXPECT_EQ(ReasonOf(status), v1::FAILURE_REASON_QUARANTINED);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("episode 0, attempt 2 on worker w2: killed by signal 11"));
  clock_.Advance(absl::Hours(1));
  EXPECT_FALSE(Lease("w3").has_value());  // blocked
  const TaskRecord task = (*store_->Tasks("j"))[0];
  EXPECT_EQ(task.state, TaskState::kPending);  // without an invented result
  EXPECT_FALSE(task.result.has_value());
  EXPECT_EQ(task.crashed_attempts, 2);
  EXPECT_EQ(task.lost_attempts + task.failed_attempts, 0);
  const std::vector<AttemptRecord> attempts = *store_->Attempts("j");
  ASSERT_THAT(attempts, SizeIs(2));
  EXPECT_EQ(attempts[0].outcome, AttemptOutcome::kCrashed);
  EXPECT_EQ(attempts[0].message, "killed by signal 6");
}

TEST_F(TaskBoardTest, CrashesBeforeARestartCountToo) {
  const v1::Job job = MakeJob("j", /*max_attempts=*/2);
  {
    Running run(board_.get(), "j", Tasks(0, 1));
    ASSERT_TRUE(Lease("w1", absl::Seconds(5)).has_value());
    board_->Release("w1", AttemptOutcome::kCrashed, "killed");
    board_->Shutdown();
    EXPECT_TRUE(absl::IsUnavailable(run.Join().status()));
  }
  NewBoard();
  ASSERT_TRUE(board_->OpenJob(job).ok());
  Running run(board_.get(), "j", Tasks(0, 1));
  clock_.Advance(absl::Seconds(1));
  ASSERT_TRUE(Lease("w2", absl::Seconds(5)).has_value());
  board_->Release("w2", AttemptOutcome::kCrashed, "killed");
  EXPECT_EQ(ReasonOf(run.Join().status()), v1::FAILURE_REASON_QUARANTINED);
}

TEST_F(TaskBoardTest, AWorkerThatSaysGoodbyeCountsForNothing) {
  MakeJob("j", /*max_attempts=*/1);
  Running run(board_.get(), "j", Tasks(0, 1));
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(Lease("w", absl::Seconds(5)).has_value());  // at once, without a backoff
    board_->Release("w", AttemptOutcome::kCancelled, "said goodbye");
  }
  EXPECT_TRUE(board_->Complete("v", Completion(*Lease("v", absl::Seconds(5)))).ok());
  const TaskRecord task = (*run.Join())[0];
  EXPECT_EQ(task.epoch, 6);
  EXPECT_EQ(task.lost_attempts + task.failed_attempts + task.crashed_attempts, 0);
  EXPECT_EQ((*store_->Attempts("j"))[0].outcome, AttemptOutcome::kCancelled);
}

TEST_F(TaskBoardTest, ReleaseEndsTheLeasesOfThatWorkerAlone) {
  OpenWithTasks(SampleJob("j"), 3);
  const v1::Lease one = *Lease("w1", absl::Seconds(5)), two = *Lease("w2", absl::Seconds(5));
  EXPECT_EQ(board_->leased(), 2);
  EXPECT_EQ(board_->HeldLeases().at("w1").task(), one.task());
  board_->Release("stranger", AttemptOutcome::kCrashed, "killed");
  EXPECT_EQ(board_->leased(), 2);
  board_->Release("w1", AttemptOutcome::kCrashed, "killed");
  EXPECT_EQ(board_->leased(), 1);
  EXPECT_EQ(board_->HeldLeases().count("w1"), 0U);
  EXPECT_EQ(board_->HeldLeases().at("w2").task(), two.task());
  EXPECT_TRUE(board_->Complete("w2", Completion(two)).ok());
  EXPECT_EQ(board_->leased(), 0);
  EXPECT_EQ(board_->HeldLeases().count("w2"), 0U);
}

TEST_F(TaskBoardTest, AnswersCandidatesOfBeforeWithoutALease) {
  const auto with_keys = [](std::vector<TaskRecord> tasks) {
    for (TaskRecord& task : tasks) task.reuse_key = absl::StrCat("m:", task.episode % 2);
    return tasks;
  };
  MakeJob("first");
  {
    Running run(board_.get(), "first", with_keys(Tasks(0, 1)));
    EXPECT_TRUE(board_->Complete("w", Completion(*Lease("w", absl::Seconds(5)))).ok());
    const auto records = run.Join();
    ASSERT_TRUE(records.ok());
    EXPECT_FALSE((*records)[0].reused());
  }
  MakeJob("second");
  const auto at_once = board_->Run("second", with_keys(Tasks(2, 1)));
  ASSERT_TRUE(at_once.ok()) << at_once.status();
  EXPECT_TRUE((*at_once)[0].reused());
  EXPECT_EQ((*at_once)[0].worker, "w");
  EXPECT_EQ((*at_once)[0].result->measurement().top1(), 0);  // episode 0's
  EXPECT_EQ(board_->leased(), 0);
  EXPECT_THAT(*store_->Attempts("second"), IsEmpty());

  // Of a generation only what is new is leased.
  Running run(board_.get(), "second", with_keys(Tasks(4, 3)));
  const v1::Lease lease = *Lease("v", absl::Seconds(5));
  EXPECT_EQ(lease.episode(), 5);
  EXPECT_FALSE(Lease("u").has_value());
  EXPECT_TRUE(board_->Complete("v", Completion(lease)).ok());
  const auto& records = run.Join();
  ASSERT_TRUE(records.ok());
  EXPECT_TRUE((*records)[0].reused());
  EXPECT_EQ((*records)[1].worker, "v");
  EXPECT_TRUE((*records)[2].reused());
}

TEST_F(TaskBoardTest, TakesAnInfeasibleCandidateInsteadOfAMeasurement) {
  MakeJob("j");
  Running run(board_.get(), "j", Tasks(0, 1));
  const v1::Lease lease = *Lease("w", absl::Seconds(5));
  v1::CompleteTaskRequest completion = Completion(lease);
  completion.mutable_result()->set_infeasible("singular");
  const absl::Status both = board_->Complete("w", completion);
  EXPECT_TRUE(absl::IsInvalidArgument(both));
  EXPECT_THAT(std::string(both.message()), HasSubstr("infeasible"));
  completion.mutable_result()->clear_measurement();
  completion.mutable_result()->clear_infeasible();
  EXPECT_THAT(std::string(board_->Complete("w", completion).message()),
              HasSubstr("result.measurement: missing for a task of kind TASK_KIND_EVALUATE"));
  completion.mutable_result()->set_infeasible("singular");
  EXPECT_TRUE(board_->Complete("w", completion).ok());  // refusals have not ended the lease
  EXPECT_TRUE(board_->Complete("w", completion).ok());  // a repeat
  const auto& records = run.Join();
  ASSERT_TRUE(records.ok()) << records.status();
  EXPECT_EQ((*records)[0].result->infeasible(), "singular");
  EXPECT_FALSE((*records)[0].result->has_measurement());
}

TEST_F(TaskBoardTest, OnlyCandidatesMayBeInfeasible) {
  MakeJob("j");
  for (const v1::TaskKind kind : {v1::TASK_KIND_BASELINE, v1::TASK_KIND_FINISH}) {
    std::vector<TaskRecord> tasks = Tasks(0, 1);
    tasks[0].kind = kind;
    Running run(board_.get(), "j", tasks);
    const v1::Lease lease = *Lease("w", absl::Seconds(5));
    v1::CompleteTaskRequest completion = Completion(lease);
    completion.mutable_result()->clear_measurement();
    completion.mutable_result()->set_infeasible("singular");
    const absl::Status status = board_->Complete("w", completion);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(v1::TaskKind_Name(kind)));
    completion.mutable_result()->clear_infeasible();
    completion.mutable_result()->mutable_measurement();
    completion.mutable_result()->mutable_result();
    EXPECT_TRUE(board_->Complete("w", completion).ok());
    EXPECT_TRUE(run.Join().ok());
  }
}

TEST_F(TaskBoardTest, InterruptsAJobThatWaits) {
  MakeJob("j");
  Running run(board_.get(), "j", Tasks(0, 1));
  const v1::Lease lease = *Lease("w", absl::Seconds(5));
  board_->Interrupt("j");
  EXPECT_TRUE(absl::IsCancelled(run.Join().status()));
  board_->CloseJob("j");
  EXPECT_TRUE(absl::IsAborted(board_->Complete("w", Completion(lease))));
  EXPECT_EQ((*store_->Attempts("j"))[0].outcome, AttemptOutcome::kCancelled);
}

// Workers that answer, drop leases and repeat themselves while leases expire and jobs take turns:
// every task is done once, with its own result, and the store agrees.
TEST_F(TaskBoardTest, LosesNothingUnderFire) {
  constexpr int kJobs = 3, kWorkers = 4, kGenerations = 6, kWidth = 5;
  for (int j = 0; j < kJobs; ++j) MakeJob(absl::StrCat("j", j), /*max_attempts=*/1000);
  std::atomic<bool> over = false;
  std::vector<std::thread> threads;
  threads.reserve(kWorkers + 1);
  for (int w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&, w] {
      Rng rng(static_cast<uint64_t>(w));
      const std::string uuid = absl::StrCat("w", w);
      while (!over) {
        const std::optional<v1::Lease> lease = Lease(uuid, absl::Milliseconds(20));
        if (!lease.has_value() || rng.Uniform() < 0.2) continue;  // dropped
        const v1::CompleteTaskRequest completion = Completion(*lease);
        const absl::Status first = board_->Complete(uuid, completion);
        if (rng.Uniform() < 0.3) {
          EXPECT_EQ(board_->Complete(uuid, completion).ok(), first.ok());
        }
      }
    });
  }
  threads.emplace_back([&] {
    while (!over) {
      clock_.Advance(absl::Seconds(10));
      board_->ExpireLeases();
      absl::SleepFor(absl::Milliseconds(5));
    }
  });
  std::vector<std::thread> jobs;
  jobs.reserve(kJobs);
  for (int j = 0; j < kJobs; ++j) {
    jobs.emplace_back([&, j] {
      const std::string job = absl::StrCat("j", j);
      for (int64_t g = 0; g < kGenerations; ++g) {
        const auto records = board_->Run(job, Tasks(g * kWidth, kWidth));
        ASSERT_TRUE(records.ok()) << records.status();
        for (const TaskRecord& record : *records) {
          EXPECT_EQ(record.result->measurement().top1(), static_cast<double>(record.episode));
        }
      }
    });
  }
  for (std::thread& job : jobs) job.join();
  over = true;
  for (std::thread& thread : threads) thread.join();
  for (int j = 0; j < kJobs; ++j) {
    std::set<int64_t> done;
    const std::vector<AttemptRecord> attempts = *store_->Attempts(absl::StrCat("j", j));
    for (const AttemptRecord& attempt : attempts) {
      if (attempt.outcome == AttemptOutcome::kDone) {
        EXPECT_TRUE(done.insert(attempt.task).second);
      }
    }
    EXPECT_THAT(done, SizeIs(kGenerations * kWidth));
  }
}

TEST_F(TaskBoardTest, ATimingTaskCarriesItsOrderAndWantsOneTimePerPolicy) {
  MakeJob("a");
  TaskRecord task;
  task.kind = v1::TASK_KIND_TIME;
  task.episode = 0;
  task.timing.mutable_setting()->set_runtime("libtorch");
  task.timing.mutable_setting()->set_threads(1);
  task.timing.add_policies();
  task.timing.add_policies();
  Running running(board_.get(), "a", {task});
  EXPECT_FALSE(Lease("w0", absl::Milliseconds(50)).has_value());  // has no runtimes
  WorkerView timer = MakeWorker("w1");
  timer.capabilities.add_runtimes("libtorch 1.13.1");
  std::promise<absl::StatusOr<std::optional<v1::Lease>>> reply;
  board_->Lease(timer, "r", absl::Now() + absl::Seconds(10),
                [&reply](auto lease) { reply.set_value(std::move(lease)); });
  const auto lease = reply.get_future().get();
  ASSERT_TRUE(lease.ok() && lease->has_value());
  EXPECT_EQ((*lease)->kind(), v1::TASK_KIND_TIME);
  EXPECT_EQ((*lease)->timing().policies_size(), 2);
  EXPECT_EQ(board_->NumericsId("a"), "");

  v1::CompleteTaskRequest request = Completion(**lease);
  request.mutable_result()->clear_measurement();
  const auto refused = [&] { return std::string(board_->Complete("w1", request).message()); };
  EXPECT_EQ(refused(), "result.timing: missing for a task of kind TASK_KIND_TIME");
  v1::TimingReport& report = *request.mutable_result()->mutable_timing();
  report.mutable_original()->set_median_us(10);
  report.add_policies()->set_median_us(5);
  EXPECT_EQ(refused(), "result.timing.policies: 1 for the 2 of the task");
  report.add_policies()->set_median_us(-5);
  EXPECT_EQ(refused(), "result.timing: a median_us is not a positive number of microseconds");
  report.mutable_policies(1)->set_median_us(6);
  ASSERT_TRUE(board_->Complete("w1", request).ok());
  const auto& records = running.Join();
  ASSERT_TRUE(records.ok()) << records.status();
  EXPECT_EQ((*records)[0].result->timing().policies(1).median_us(), 6);

  // A new board over the same store has it done, order and all.
  NewBoard();
  ASSERT_TRUE(board_->OpenJob(SampleJob("a")).ok());
  const auto again = board_->Run("a", {task});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)[0].timing.policies_size(), 2);
}

}  // namespace
}  // namespace amc
