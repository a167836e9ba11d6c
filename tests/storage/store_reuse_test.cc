// Candidates that were measured before are answered from the store.
#include "tests/storage/store_fixture.h"

namespace amc {
namespace {

using absl::StatusCode;
using testing::SizeIs;

constexpr char kKey[] = "model:candidate";

class StoreReuseTest : public StoreTest {
 protected:
  StoreReuseTest() {
    Create("a");
    Create("b");
  }
  static TaskRecord Candidate(const std::string& job, int64_t episode,
                              const std::string& key = kKey) {
    TaskRecord task = SampleTask(job, episode);
    task.reuse_key = key;
    return task;
  }
  TaskRecord Add(const TaskRecord& task) {
    const auto added = store_->AddTasks({task});
    EXPECT_THAT(added, IsOk());
    return added.ok() ? added->front() : TaskRecord();
  }
  int64_t Lease(const TaskRecord& task, const std::string& worker = "w") {
    const auto lease = LeaseTask(*store_, task.job, task.task, worker, "n", 0, 1);
    EXPECT_THAT(lease, IsOk());
    return lease.ok() ? lease->epoch : -1;
  }
  // Adds the task and has a worker do it.
  void Measure(const TaskRecord& task, const v1::TaskResult& result = SampleResult(),
               const std::string& worker = "w") {
    const TaskRecord added = Add(task);
    ASSERT_THAT(store_->CompleteTask(added.job, added.task, Lease(added, worker), result, 30),
                IsOk());
  }
  int64_t Measurements() { return Sql("SELECT count(*) FROM measurements"); }
};

TEST_F(StoreReuseTest, ACandidateThatWasMeasuredIsDoneAtOnce) {
  Measure(Candidate("a", 0), SampleResult(0.75), "first");
  EXPECT_FALSE((*store_->Tasks("a"))[0].reused());
  const TaskRecord again = Add(Candidate("a", 1));
  EXPECT_EQ(again.task, 2);
  EXPECT_EQ(again.episode, 1);
  EXPECT_EQ(again.state, TaskState::kDone);
  EXPECT_TRUE(again.reused());
  EXPECT_EQ(again.epoch, 0);
  EXPECT_EQ(again.worker, "first");
  ASSERT_TRUE(again.result.has_value());
  EXPECT_THAT(*again.result, SameAs(SampleResult(0.75)));  // with the seconds of then
  EXPECT_EQ(again.reuse_key, kKey);
  // Nobody held a lease, and nobody gets one.
  EXPECT_THAT(*store_->Attempts("a"), SizeIs(1));
  EXPECT_THAT(LeaseTask(*store_, "a", 2, "w", "n", 0, 1),
              Fails(StatusCode::kFailedPrecondition, "done"));
  EXPECT_THAT(store_->CompleteTask("a", 2, 0, SampleResult(), 5), Fails(StatusCode::kAborted, ""));
  Reopen();
  EXPECT_TRUE((*store_->Tasks("a"))[1].reused());
}

TEST_F(StoreReuseTest, AlsoByAnotherJobAndAfterTheFirstHasGone) {
  Measure(Candidate("a", 5), SampleResult(0.75), "first");
  SetState("a", v1::JOB_STATE_CANCELLED);
  ASSERT_THAT(store_->DeleteJob("a"), IsOk());
  Reopen();
  const TaskRecord task = Add(Candidate("b", 0));
  EXPECT_TRUE(task.reused());
  EXPECT_EQ(task.worker, "first");
  EXPECT_THAT(*task.result, SameAs(SampleResult(0.75)));
}

TEST_F(StoreReuseTest, AnotherCandidateIsMeasured) {
  Measure(Candidate("a", 0));
  for (const char* key :
       {"model:candidatf", "model:candidat", "model:candidate2", "", "candidate"}) {
    const TaskRecord task = Add(Candidate("b", Sql("SELECT count(*) FROM tasks"), key));
    EXPECT_EQ(task.state, TaskState::kPending) << key;
    EXPECT_FALSE(task.reused());
    EXPECT_FALSE(task.result.has_value());
  }
}

TEST_F(StoreReuseTest, WithoutAKeyNothingIsKept) {
  Measure(Candidate("a", 0, ""));
  EXPECT_EQ(Measurements(), 0);
  EXPECT_EQ(Add(Candidate("a", 1, "")).state, TaskState::kPending);
}

TEST_F(StoreReuseTest, TwinsOfOneGenerationAreBothMeasuredAndTheFirstResultStays) {
  const auto twins = store_->AddTasks({Candidate("a", 0), Candidate("a", 1)});
  ASSERT_THAT(twins, IsOk());
  for (size_t i : {0, 1}) EXPECT_EQ((*twins)[i].state, TaskState::kPending);
  for (size_t i : {1, 0}) {
    const std::string worker = i == 1 ? "second" : "first";
    ASSERT_THAT(store_->CompleteTask("a", (*twins)[i].task, Lease((*twins)[i], worker),
                                     SampleResult(0.5 + static_cast<double>(i) / 4), 30),
                IsOk());
  }
  EXPECT_EQ(Measurements(), 1);
  const TaskRecord third = Add(Candidate("b", 0));
  EXPECT_EQ(third.worker, "second");
  EXPECT_THAT(*third.result, SameAs(SampleResult(0.75)));
  // Each task keeps what its own worker measured.
  EXPECT_THAT(*(*store_->Tasks("a"))[0].result, SameAs(SampleResult(0.5)));
}

TEST_F(StoreReuseTest, ATaskThatExistsStaysAsItIs) {
  const TaskRecord waiting = Add(Candidate("b", 0));
  Measure(Candidate("a", 0));
  const TaskRecord again = Add(Candidate("b", 0));
  EXPECT_EQ(again.task, waiting.task);
  EXPECT_EQ(again.state, TaskState::kPending);
  EXPECT_FALSE(again.reused());
}

TEST_F(StoreReuseTest, OnlyAResultIsKept) {
  const TaskRecord task = Add(Candidate("a", 0));
  v1::TaskError error;
  error.set_kind(v1::TASK_ERROR_KIND_RETRYABLE);
  for (const AttemptOutcome outcome : {AttemptOutcome::kLost, AttemptOutcome::kError,
                                       AttemptOutcome::kCrashed, AttemptOutcome::kCancelled}) {
    ASSERT_THAT(
        store_->EndAttempt("a", task.task, Lease(task), outcome, error, TaskState::kPending, 0, 5),
        IsOk());
  }
  EXPECT_EQ(Measurements(), 0);
  // The first holder comes late.
  EXPECT_THAT(store_->CompleteTask("a", task.task, 1, SampleResult(), 6),
              Fails(StatusCode::kAborted, "lost"));
  EXPECT_EQ(Measurements(), 0);
  EXPECT_EQ(Add(Candidate("b", 0)).state, TaskState::kPending);
}

TEST_F(StoreReuseTest, ARepeatedCompletionIsNotKeptTwice) {
  const TaskRecord task = Add(Candidate("a", 0));
  const int64_t epoch = Lease(task);
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(store_->CompleteTask("a", task.task, epoch, SampleResult(0.75), 30), IsOk());
  }
  EXPECT_THAT(store_->CompleteTask("a", task.task, epoch, SampleResult(0.5), 30),
              Fails(StatusCode::kAlreadyExists, "another result"));
  EXPECT_EQ(Measurements(), 1);
  EXPECT_THAT(*Add(Candidate("b", 0)).result, SameAs(SampleResult(0.75)));
}

TEST_F(StoreReuseTest, WhatWasFoundInfeasibleIsNotTriedAgain) {
  v1::TaskResult infeasible;
  infeasible.set_infeasible("no channel left of conv1");
  infeasible.set_numerics_id("n");
  Measure(Candidate("a", 0), infeasible);
  const TaskRecord again = Add(Candidate("b", 0));
  EXPECT_TRUE(again.reused());
  EXPECT_THAT(*again.result, SameAs(infeasible));
}

TEST_F(StoreReuseTest, AGenerationOfMeasuredAndReusedCandidatesIsCommitted) {
  Measure(Candidate("a", 0));
  Measure(Candidate("b", 0, "model:other"));
  const auto rest = store_->AddTasks({Candidate("b", 1), Candidate("b", 2, "model:third")});
  ASSERT_THAT(rest, IsOk());
  EXPECT_TRUE((*rest)[0].reused());
  EXPECT_EQ((*rest)[1].state, TaskState::kPending);
  EXPECT_THAT(Commit("b", {SampleEpisode("b", 0), SampleEpisode("b", 1), SampleEpisode("b", 2)}),
              Fails(StatusCode::kFailedPrecondition, "episode 2"));
  ASSERT_THAT(Commit("b", {SampleEpisode("b", 0), SampleEpisode("b", 1)}), IsOk());
  ASSERT_THAT(*store_->Tasks("b"), SizeIs(1));
  EXPECT_EQ((*store_->Tasks("b"))[0].episode, 2);
  EXPECT_THAT(*store_->GetEpisode("b", 1), SameAs(SampleEpisode("b", 1)));
  EXPECT_EQ(Measurements(), 2);  // a commit takes the tasks, not what was learnt from them
}

}  // namespace
}  // namespace amc
