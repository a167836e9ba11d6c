// Tasks, leases, attempts and the commit of a generation.
#include <cmath>

#include "tests/storage/store_fixture.h"

namespace amc {
namespace {

using absl::StatusCode;
using testing::IsEmpty;

class StoreTasksTest : public StoreTest {
 protected:
  StoreTasksTest() { Create("a"); }
  TaskRecord Task(int64_t number) {
    const std::vector<TaskRecord> tasks = *store_->Tasks("a");
    for (const TaskRecord& task : tasks) {
      if (task.task == number) return task;
    }
    ADD_FAILURE() << "no task " << number;
    return {};
  }
  AttemptRecord LastAttempt() { return store_->Attempts("a")->back(); }
};

TEST_F(StoreTasksTest, AddsPendingTasksNumberedFromOne) {
  TaskRecord wish = SampleTask("a", 3);
  wish.task = 77;
  wish.images = 500;
  wish.epoch = 5;
  wish.state = TaskState::kDone;
  const auto tasks = store_->AddTasks({wish, SampleTask("a", -1, v1::TASK_KIND_BASELINE)});
  ASSERT_THAT(tasks, IsOk());
  ASSERT_EQ(tasks->size(), 2u);
  const TaskRecord& first = (*tasks)[0];
  EXPECT_EQ(first.task, 1);
  EXPECT_EQ(first.kind, v1::TASK_KIND_EVALUATE);
  EXPECT_EQ(first.episode, 3);
  EXPECT_EQ(first.state, TaskState::kPending);
  EXPECT_EQ(first.epoch, 0);
  EXPECT_FALSE(first.result.has_value());
  EXPECT_THAT(first.policy, SameAs(wish.policy));
  EXPECT_EQ(first.images, 500);
  EXPECT_EQ((*tasks)[1].images, 0);
  EXPECT_EQ((*tasks)[1].task, 2);
  EXPECT_EQ((*tasks)[1].kind, v1::TASK_KIND_BASELINE);
}

TEST_F(StoreTasksTest, TaskOfTheSameKindAndEpisodeIsReturnedAsItIs) {
  ASSERT_THAT(store_->AddTasks({SampleTask("a", 0)}), IsOk());
  ASSERT_THAT(LeaseTask(*store_, "a", 1, "w", "n", 10, 20), IsOk());
  const auto again = store_->AddTasks({SampleTask("a", 0), SampleTask("a", 1)});
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ((*again)[0].task, 1);
  EXPECT_EQ((*again)[0].state, TaskState::kLeased);
  EXPECT_EQ((*again)[1].task, 2);
  EXPECT_EQ(store_->Tasks("a")->size(), 2u);
}

TEST_F(StoreTasksTest, AddingIsAllOrNothing) {
  EXPECT_THAT(store_->AddTasks({SampleTask("a", 0), SampleTask("x", 0)}),
              Fails(StatusCode::kNotFound, "\"x\""));
  EXPECT_THAT(*store_->Tasks("a"), IsEmpty());
}

TEST_F(StoreTasksTest, LeaseGrantsTheNextEpochAndOpensAnAttempt) {
  ASSERT_THAT(store_->AddTasks({SampleTask("a", 0)}), IsOk());
  const auto lease = LeaseTask(*store_, "a", 1, "w1", "avx512", 100, 200);
  ASSERT_THAT(lease, IsOk());
  EXPECT_EQ(lease->epoch, 1);
  EXPECT_EQ(lease->state, TaskState::kLeased);
  EXPECT_EQ(lease->worker, "w1");
  EXPECT_EQ(lease->expire_ms, 200);
  EXPECT_EQ(Task(1).epoch, 1);
  EXPECT_EQ(Task(1).expire_ms, 200);
  EXPECT_EQ(store_->GetJob("a")->numerics_id(), "avx512");

  const AttemptRecord attempt = LastAttempt();
  EXPECT_EQ(attempt.task, 1);
  EXPECT_EQ(attempt.epoch, 1);
  EXPECT_EQ(attempt.kind, v1::TASK_KIND_EVALUATE);
  EXPECT_EQ(attempt.episode, 0);
  EXPECT_EQ(attempt.worker, "w1");
  EXPECT_EQ(attempt.start_ms, 100);
  EXPECT_EQ(attempt.end_ms, 0);
  EXPECT_EQ(attempt.outcome, AttemptOutcome::kOpen);
}

TEST_F(StoreTasksTest, OnlyAPendingTaskIsLeased) {
  EXPECT_THAT(LeaseTask(*store_, "a", 1, "w", "n", 0, 1), Fails(StatusCode::kNotFound, "task 1"));
  ASSERT_THAT(store_->AddTasks({SampleTask("a", 0)}), IsOk());
  ASSERT_THAT(LeaseTask(*store_, "a", 1, "w", "n", 0, 1), IsOk());
  EXPECT_THAT(LeaseTask(*store_, "a", 1, "v", "n", 0, 1),
              Fails(StatusCode::kFailedPrecondition, "leased"));
  ASSERT_THAT(store_->CompleteTask("a", 1, 1, SampleResult(), 2), IsOk());
  EXPECT_THAT(LeaseTask(*store_, "a", 1, "v", "n", 0, 1),
              Fails(StatusCode::kFailedPrecondition, "done"));
  EXPECT_EQ(store_->Attempts("a")->size(), 1u);
}

TEST_F(StoreTasksTest, BackoffKeepsATaskFromBeingLeased) {
  ASSERT_THAT(store_->AddTasks({SampleTask("a", 0)}), IsOk());
  ASSERT_THAT(LeaseTask(*store_, "a", 1, "w", "n", 0, 100), IsOk());
  ASSERT_THAT(
      store_->EndAttempt("a", 1, 1, AttemptOutcome::kLost, {}, TaskState::kPending, 500, 100),
      IsOk());
  EXPECT_THAT(LeaseTask(*store_, "a", 1, "w", "n", 499, 600),
              Fails(StatusCode::kFailedPrecondition, "1 ms"));
  const auto lease = LeaseTask(*store_, "a", 1, "w", "n", 500, 600);
  ASSERT_THAT(lease, IsOk());
  EXPECT_EQ(lease->epoch, 2);
  EXPECT_EQ(lease->lost_attempts, 1);
}

TEST_F(StoreTasksTest, RenewMovesTheTermOfThePresentEpochOnly) {
  ASSERT_THAT(store_->AddTasks({SampleTask("a", 0)}), IsOk());
  EXPECT_THAT(store_->RenewLease("a", 1, 0, 9), Fails(StatusCode::kAborted, "epoch 0"));
  ASSERT_THAT(LeaseTask(*store_, "a", 1, "w", "n", 0, 1), IsOk());
  ASSERT_THAT(store_->RenewLease("a", 1, 1, 50), IsOk());
  EXPECT_EQ(Task(1).expire_ms, 50);
  EXPECT_THAT(store_->RenewLease("a", 1, 2, 90), Fails(StatusCode::kAborted, "epoch 2"));
  EXPECT_THAT(store_->RenewLease("a", 9, 1, 90), Fails(StatusCode::kNotFound, "task 9"));
  ASSERT_THAT(store_->EndAttempt("a", 1, 1, AttemptOutcome::kLost, {}, TaskState::kPending, 0, 60),
              IsOk());
  EXPECT_THAT(store_->RenewLease("a", 1, 1, 90), Fails(StatusCode::kAborted, "lost"));
  EXPECT_EQ(Task(1).expire_ms, 50);
}

TEST_F(StoreTasksTest, CompletionStoresTheResultAndEndsTheAttempt) {
  ASSERT_THAT(store_->AddTasks({SampleTask("a", 0)}), IsOk());
  ASSERT_THAT(LeaseTask(*store_, "a", 1, "w", "n", 0, 1), IsOk());
  ASSERT_THAT(store_->CompleteTask("a", 1, 1, SampleResult(), 30), IsOk());
  EXPECT_EQ(Task(1).state, TaskState::kDone);
  ASSERT_TRUE(Task(1).result.has_value());
  EXPECT_THAT(*Task(1).result, SameAs(SampleResult()));
  EXPECT_EQ(LastAttempt().outcome, AttemptOutcome::kDone);
  EXPECT_EQ(LastAttempt().end_ms, 30);
}

TEST_F(StoreTasksTest, RepeatedCompletionIsOkAndChangesNothing) {
  ASSERT_THAT(store_->AddTasks({SampleTask("a", 0)}), IsOk());
  ASSERT_THAT(LeaseTask(*store_, "a", 1, "w", "n", 0, 1), IsOk());
  ASSERT_THAT(store_->CompleteTask("a", 1, 1, SampleResult(), 30), IsOk());
  v1::TaskResult slower = SampleResult();
  slower.set_seconds(99);
  EXPECT_THAT(store_->CompleteTask("a", 1, 1, slower, 40), IsOk());
  EXPECT_THAT(*Task(1).result, SameAs(SampleResult()));
  EXPECT_EQ(LastAttempt().end_ms, 30);
  EXPECT_THAT(store_->CompleteTask("a", 1, 1, SampleResult(0.8), 40),
              Fails(StatusCode::kAlreadyExists, "another result"));
  EXPECT_THAT(*Task(1).result, SameAs(SampleResult()));
}

TEST_F(StoreTasksTest, StaleCompletionIsAborted) {
  ASSERT_THAT(store_->AddTasks({SampleTask("a", 0)}), IsOk());
  ASSERT_THAT(LeaseTask(*store_, "a", 1, "w", "n", 0, 1), IsOk());
  ASSERT_THAT(store_->EndAttempt("a", 1, 1, AttemptOutcome::kLost, {}, TaskState::kPending, 0, 5),
              IsOk());
  // Lost but not granted again: still stale, for nobody knows who may be granted it next.
  EXPECT_THAT(store_->CompleteTask("a", 1, 1, SampleResult(), 6),
              Fails(StatusCode::kAborted, "lost"));
  ASSERT_THAT(LeaseTask(*store_, "a", 1, "v", "n", 7, 9), IsOk());
  EXPECT_THAT(store_->CompleteTask("a", 1, 1, SampleResult(), 8),
              Fails(StatusCode::kAborted, "epoch 1"));
  EXPECT_THAT(store_->CompleteTask("a", 1, 3, SampleResult(), 8),
              Fails(StatusCode::kAborted, "epoch 3"));
  EXPECT_EQ(Task(1).state, TaskState::kLeased);
  EXPECT_THAT(store_->CompleteTask("a", 1, 2, SampleResult(), 8), IsOk());
}

TEST_F(StoreTasksTest, EndedAttemptsAreCountedByWhatEndedThem) {
  ASSERT_THAT(store_->AddTasks({SampleTask("a", 0)}), IsOk());
  v1::TaskError error;
  error.set_kind(v1::TASK_ERROR_KIND_RETRYABLE);
  error.set_message("disk full");
  struct End {
    AttemptOutcome outcome;
    int64_t lost, failed, crashed;
  };
  for (const End& end :
       {End{AttemptOutcome::kError, 0, 1, 0}, End{AttemptOutcome::kLost, 1, 1, 0},
        End{AttemptOutcome::kCancelled, 1, 1, 0}, End{AttemptOutcome::kCrashed, 1, 1, 1},
        End{AttemptOutcome::kError, 1, 2, 1}}) {
    const auto lease = LeaseTask(*store_, "a", 1, "w", "n", 0, 1);
    ASSERT_THAT(lease, IsOk());
    const v1::TaskError& why = end.outcome == AttemptOutcome::kError ? error : v1::TaskError();
    ASSERT_THAT(store_->EndAttempt("a", 1, lease->epoch, end.outcome, why, TaskState::kPending, 0,
                                   lease->epoch),
                IsOk());
    EXPECT_EQ(Task(1).state, TaskState::kPending);
    EXPECT_EQ(Task(1).lost_attempts, end.lost);
    EXPECT_EQ(Task(1).failed_attempts, end.failed);
    EXPECT_EQ(Task(1).crashed_attempts, end.crashed);
    EXPECT_THAT(Task(1).error, SameAs(error));
    EXPECT_EQ(LastAttempt().outcome, end.outcome);
    EXPECT_EQ(LastAttempt().message, why.message());
    EXPECT_EQ(LastAttempt().end_ms, lease->epoch);
  }
  EXPECT_EQ(store_->Attempts("a")->size(), 5u);

  const auto lease = LeaseTask(*store_, "a", 1, "w", "n", 0, 1);
  ASSERT_THAT(lease, IsOk());
  error.set_kind(v1::TASK_ERROR_KIND_PERMANENT);
  ASSERT_THAT(
      store_->EndAttempt("a", 1, 6, AttemptOutcome::kError, error, TaskState::kFailed, 0, 9),
      IsOk());
  EXPECT_EQ(Task(1).state, TaskState::kFailed);
  EXPECT_EQ(Task(1).failed_attempts, 2);  // only retryable ones count
}

TEST_F(StoreTasksTest, RepeatedEndIsOkAnotherEndIsAborted) {
  ASSERT_THAT(store_->AddTasks({SampleTask("a", 0)}), IsOk());
  ASSERT_THAT(LeaseTask(*store_, "a", 1, "w", "n", 0, 1), IsOk());
  v1::TaskError error;
  error.set_kind(v1::TASK_ERROR_KIND_RETRYABLE);
  error.set_message("no memory");
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(
        store_->EndAttempt("a", 1, 1, AttemptOutcome::kError, error, TaskState::kPending, 0, 5),
        IsOk());
  }
  EXPECT_EQ(Task(1).failed_attempts, 1);
  EXPECT_THAT(store_->EndAttempt("a", 1, 1, AttemptOutcome::kLost, {}, TaskState::kPending, 0, 5),
              Fails(StatusCode::kAborted, "error"));
  EXPECT_THAT(store_->EndAttempt("a", 1, 2, AttemptOutcome::kLost, {}, TaskState::kPending, 0, 5),
              Fails(StatusCode::kAborted, "epoch 2"));
  EXPECT_THAT(store_->EndAttempt("a", 1, 1, AttemptOutcome::kDone, {}, TaskState::kPending, 0, 5),
              Fails(StatusCode::kInvalidArgument, "done"));
  EXPECT_THAT(store_->EndAttempt("a", 1, 1, AttemptOutcome::kLost, {}, TaskState::kDone, 0, 5),
              Fails(StatusCode::kInvalidArgument, "done"));
}

TEST_F(StoreTasksTest, RepeatedReportOfACrashCountsOnce) {
  ASSERT_THAT(store_->AddTasks({SampleTask("a", 0)}), IsOk());
  ASSERT_THAT(LeaseTask(*store_, "a", 1, "w", "n", 0, 1), IsOk());
  v1::TaskError error;
  error.set_message("killed by signal 11");
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(
        store_->EndAttempt("a", 1, 1, AttemptOutcome::kCrashed, error, TaskState::kPending, 7, 5),
        IsOk());
  }
  EXPECT_EQ(Task(1).crashed_attempts, 1);
  EXPECT_EQ(Task(1).not_before_ms, 7);
  EXPECT_EQ(LastAttempt().outcome, AttemptOutcome::kCrashed);
  EXPECT_EQ(LastAttempt().message, "killed by signal 11");
  EXPECT_THAT(store_->CompleteTask("a", 1, 1, SampleResult(), 8),
              Fails(StatusCode::kAborted, "crashed"));
  Reopen();
  EXPECT_EQ(Task(1).crashed_attempts, 1);
}

TEST_F(StoreTasksTest, ForgivenAttemptsCountAnew) {
  v1::Job job = Create("b");
  ASSERT_THAT(store_->AddTasks({SampleTask("a", 0), SampleTask("b", 0)}), IsOk());
  v1::TaskError error;
  error.set_kind(v1::TASK_ERROR_KIND_RETRYABLE);
  for (const char* id : {"a", "b"}) {
    for (const AttemptOutcome outcome :
         {AttemptOutcome::kLost, AttemptOutcome::kError, AttemptOutcome::kCrashed}) {
      const auto lease = LeaseTask(*store_, id, 1, "w", "n", 100, 200);
      ASSERT_THAT(lease, IsOk());
      ASSERT_THAT(
          store_->EndAttempt(id, 1, lease->epoch, outcome, error, TaskState::kPending, 100, 100),
          IsOk());
    }
  }
  ASSERT_THAT(store_->UpdateJob({.job = job, .events = {}}), IsOk());  // forgives nothing
  EXPECT_EQ((*store_->Tasks("b"))[0].crashed_attempts, 1);
  ASSERT_THAT(store_->UpdateJob({.job = job, .events = {}, .forgive_attempts = true}), IsOk());
  const TaskRecord forgiven = (*store_->Tasks("b"))[0];
  EXPECT_EQ(forgiven.lost_attempts, 0);
  EXPECT_EQ(forgiven.failed_attempts, 0);
  EXPECT_EQ(forgiven.crashed_attempts, 0);
  EXPECT_EQ(forgiven.not_before_ms, 0);
  EXPECT_EQ(forgiven.epoch, 3);  // leases stay fenced
  EXPECT_EQ(store_->Attempts("b")->size(), 3u);
  EXPECT_EQ(Task(1).lost_attempts, 1);  // another job's
  EXPECT_EQ(Task(1).failed_attempts, 1);
  EXPECT_EQ(Task(1).crashed_attempts, 1);
}

TEST_F(StoreTasksTest, RestartExtendsOpenLeasesOnly) {
  ASSERT_THAT(store_->AddTasks({SampleTask("a", 0), SampleTask("a", 1), SampleTask("a", 2)}),
              IsOk());
  ASSERT_THAT(LeaseTask(*store_, "a", 1, "w", "n", 0, 10), IsOk());
  ASSERT_THAT(LeaseTask(*store_, "a", 2, "w", "n", 0, 10), IsOk());
  ASSERT_THAT(store_->CompleteTask("a", 2, 1, SampleResult(), 5), IsOk());
  Reopen();
  ASSERT_THAT(store_->ExtendOpenLeases(1000), IsOk());
  EXPECT_EQ(Task(1).expire_ms, 1000);
  EXPECT_EQ(Task(1).epoch, 1);
  EXPECT_EQ(Task(2).expire_ms, 10);
  EXPECT_EQ(Task(3).expire_ms, 0);
  EXPECT_THAT(store_->CompleteTask("a", 1, 1, SampleResult(), 5), IsOk());
}

TEST_F(StoreTasksTest, CommitMakesAGenerationVisibleAndTakesItsTasks) {
  ASSERT_THAT(store_->AddTasks({SampleTask("a", -1, v1::TASK_KIND_BASELINE), SampleTask("a", 0),
                                SampleTask("a", 1), SampleTask("a", 2)}),
              IsOk());
  for (int64_t task : {2, 3}) {
    ASSERT_THAT(LeaseTask(*store_, "a", task, "w", "n", 0, 1), IsOk());
    ASSERT_THAT(store_->CompleteTask("a", task, 1, SampleResult(), 2), IsOk());
  }
  ASSERT_THAT(Commit("a", {SampleEpisode("a", 0), SampleEpisode("a", 1)}, "weights"), IsOk());
  EXPECT_EQ(store_->Tasks("a")->size(), 2u);
  EXPECT_EQ(Task(1).kind, v1::TASK_KIND_BASELINE);
  EXPECT_EQ(Task(4).episode, 2);
  EXPECT_EQ(store_->Attempts("a")->size(), 2u);
  EXPECT_EQ(store_->GetJob("a")->episodes_done(), 2);
  EXPECT_EQ(*store_->Checkpoint("a"), "weights");
  EXPECT_EQ(store_->Events("a", 1, 10)->size(), 2u);
  EXPECT_THAT(*store_->GetEpisode("a", 1), SameAs(SampleEpisode("a", 1)));

  // A worker whose answer got lost repeats itself after the commit.
  EXPECT_THAT(store_->CompleteTask("a", 2, 1, SampleResult(), 9), IsOk());
  EXPECT_THAT(store_->CompleteTask("a", 2, 1, SampleResult(0.1), 9),
              Fails(StatusCode::kAlreadyExists, "task 2"));
  EXPECT_THAT(store_->CompleteTask("a", 2, 2, SampleResult(), 9),
              Fails(StatusCode::kNotFound, "task 2"));
  // Numbers of tasks that have gone are not given again.
  EXPECT_EQ((*store_->AddTasks({SampleTask("a", 3)}))[0].task, 5);
}

TEST_F(StoreTasksTest, CommitIsAllOrNothing) {
  ASSERT_THAT(Commit("a", {SampleEpisode("a", 0)}, "first"), IsOk());
  ASSERT_THAT(store_->AddTasks({SampleTask("a", 2)}), IsOk());
  const v1::Job before = *store_->GetJob("a");

  v1::Episode other = SampleEpisode("a", 1);
  other.set_job("b");
  v1::Episode unordered = SampleEpisode("a", 1);
  unordered.set_reward(std::nan(""));
  EXPECT_THAT(Commit("a", {SampleEpisode("a", 1), SampleEpisode("a", 0)}, "second"),
              Fails(StatusCode::kAlreadyExists, "episode 0"));
  EXPECT_THAT(Commit("a", {SampleEpisode("a", 1), other}, "second"),
              Fails(StatusCode::kInvalidArgument, "\"b\""));
  EXPECT_THAT(Commit("a", {unordered}, "second"), Fails(StatusCode::kInvalidArgument, "nan"));
  EXPECT_THAT(Commit("a", {SampleEpisode("a", -1)}, "second"),
              Fails(StatusCode::kInvalidArgument, "-1"));
  EXPECT_THAT(Commit("a", {SampleEpisode("a", 1), SampleEpisode("a", 2)}, "second"),
              Fails(StatusCode::kFailedPrecondition, "pending"));

  EXPECT_THAT(*store_->GetJob("a"), SameAs(before));
  EXPECT_EQ(*store_->Checkpoint("a"), "first");
  EXPECT_EQ(store_->Events("a", 0, 100)->size(), 2u);
  EXPECT_EQ(store_->Tasks("a")->size(), 1u);
  EXPECT_THAT(store_->GetEpisode("a", 1), Fails(StatusCode::kNotFound, "episode 1"));
}

}  // namespace
}  // namespace amc
