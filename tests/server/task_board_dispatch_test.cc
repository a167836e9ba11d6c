// Polls that wait for a task: who gets which, and how a poll ends without.
#include <future>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/task_board_fixture.h"

namespace amc {
namespace {

using ::testing::SizeIs;

TEST_F(TaskBoardTest, APollThatIsGivenUpGetsNothing) {
  MakeJob("j");
  std::promise<absl::StatusOr<std::optional<v1::Lease>>> reply;
  board_->Lease(MakeWorker("w"), "r", absl::Now() + absl::Minutes(1),
                [&reply](auto lease) { reply.set_value(std::move(lease)); });
  board_->GiveUp("w", "another request");
  board_->GiveUp("w", "r");
  const absl::StatusOr<std::optional<v1::Lease>> answer = reply.get_future().get();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_FALSE(answer->has_value());
  Running run(board_.get(), "j", Tasks(0, 1));
  EXPECT_TRUE(board_->Complete("v", Completion(*Lease("v", absl::Seconds(5)))).ok());
  EXPECT_TRUE(run.Join().ok());
}

TEST_F(TaskBoardTest, EndPollEndsWhateverAWorkerWaitsFor) {
  MakeJob("j");
  std::promise<absl::StatusOr<std::optional<v1::Lease>>> ended, waiting;
  board_->Lease(MakeWorker("w"), "any", absl::Now() + absl::Minutes(1),
                [&ended](auto lease) { ended.set_value(std::move(lease)); });
  board_->Lease(MakeWorker("v"), "any", absl::Now() + absl::Minutes(1),
                [&waiting](auto lease) { waiting.set_value(std::move(lease)); });
  board_->EndPoll("nobody");
  board_->EndPoll("w");
  const absl::StatusOr<std::optional<v1::Lease>> answer = ended.get_future().get();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_FALSE(answer->has_value());
  board_->EndPoll("w");  // again
  Running run(board_.get(), "j", Tasks(0, 1));
  const absl::StatusOr<std::optional<v1::Lease>> lease = waiting.get_future().get();
  ASSERT_TRUE(lease.ok() && lease->has_value());
  EXPECT_TRUE(board_->Complete("v", Completion(**lease)).ok());
  EXPECT_TRUE(run.Join().ok());
}

TEST_F(TaskBoardTest, RepeatsOfAForgottenWorkerAreNotRecognised) {
  OpenWithTasks(SampleJob("j"), 1);
  const auto lease = Poll("w", "r", absl::Seconds(5));
  ASSERT_TRUE(lease.ok() && lease->has_value());
  const auto repeat = Poll("w", "r");
  ASSERT_TRUE(repeat.ok() && repeat->has_value());
  EXPECT_EQ((*repeat)->epoch(), (*lease)->epoch());
  board_->ForgetWorker("stranger");
  EXPECT_TRUE(Poll("w", "r")->has_value());
  board_->ForgetWorker("w");
  EXPECT_FALSE(Poll("w", "r")->has_value());
  EXPECT_TRUE(board_->Complete("w", Completion(**lease)).ok());  // the lease goes on
}

TEST_F(TaskBoardTest, GivesAJobNoMoreWorkersThanItMayHave) {
  constexpr size_t kPolls = 6;
  v1::Job job = SampleJob("j");
  job.mutable_spec()->set_max_workers(2);
  Open(job);
  std::vector<std::promise<absl::StatusOr<std::optional<v1::Lease>>>> replies(kPolls);
  std::vector<std::future<absl::StatusOr<std::optional<v1::Lease>>>> answers;
  for (size_t w = 0; w < kPolls; ++w) {
    answers.push_back(replies[w].get_future());
    board_->Lease(MakeWorker(absl::StrCat("w", w)), "r", absl::Now() + absl::Minutes(1),
                  [&replies, w](auto lease) { replies[w].set_value(std::move(lease)); });
  }
  // All polls wait when all tasks come: one dispatch could serve them all.
  Running run(board_.get(), "j", Tasks(0, kPolls));
  std::vector<v1::Lease> leases;
  for (size_t w = 0; w < kPolls; ++w) {
    const auto answer = answers[w].get();  // in the order in which they asked
    ASSERT_TRUE(answer.ok() && answer->has_value());
    leases.push_back(**answer);
    if (w == 0) continue;
    EXPECT_EQ(board_->leased(), 2);
    for (size_t other = w + 1; other < kPolls; ++other) {
      EXPECT_EQ(answers[other].wait_for(std::chrono::milliseconds(5)), std::future_status::timeout);
    }
    EXPECT_TRUE(board_->Complete(absl::StrCat("w", w - 1), Completion(leases[w - 1])).ok());
  }
  EXPECT_TRUE(board_->Complete("w5", Completion(leases[kPolls - 1])).ok());
  EXPECT_TRUE(run.Join().ok());
}

TEST_F(TaskBoardTest, GivesTheHigherPriorityItsTasksFirst) {
  for (const auto& [id, priority] :
       {std::pair("low", -1), std::pair("a", 0), std::pair("b", 0), std::pair("high", 7)}) {
    v1::Job job = SampleJob(id);
    job.mutable_spec()->set_priority(priority);
    OpenWithTasks(job, 2);
  }
  std::vector<std::string> order;
  for (int w = 0; w < 8; ++w) order.push_back(Lease(absl::StrCat("w", w), absl::Seconds(5))->job());
  EXPECT_THAT(order, testing::ElementsAre("high", "high", "a", "b", "a", "b", "low", "low"));
}

TEST_F(TaskBoardTest, GivesATaskToThoseOnlyWhoHaveWhatItsJobNeeds) {
  v1::Job job = SampleJob("j");
  job.mutable_spec()->mutable_requirements()->set_memory_bytes(100);
  job.mutable_spec()->mutable_requirements()->set_runtime("libtorch");
  OpenWithTasks(job, 1);
  const auto ask = [this](const WorkerView& worker, absl::Duration wait) {
    std::promise<absl::StatusOr<std::optional<v1::Lease>>> reply;
    board_->Lease(worker, absl::StrCat("r", ++requests_), absl::Now() + wait,
                  [&reply](auto lease) { reply.set_value(std::move(lease)); });
    return (*reply.get_future().get()).has_value();
  };
  WorkerView worker = MakeWorker("w");
  worker.capabilities.set_memory_bytes(100);
  EXPECT_FALSE(ask(worker, absl::ZeroDuration()));
  worker.capabilities.add_runtimes("libtorch 1.13.1");
  worker.capabilities.set_memory_bytes(99);
  EXPECT_FALSE(ask(worker, absl::ZeroDuration()));
  worker.capabilities.set_memory_bytes(100);
  EXPECT_TRUE(ask(worker, absl::Seconds(5)));
}

TEST_F(TaskBoardTest, ManyPollsShareTheTasksThatCome) {
  MakeJob("j");
  constexpr int kWorkers = 50;
  std::vector<std::promise<absl::StatusOr<std::optional<v1::Lease>>>> replies(kWorkers);
  for (int w = 0; w < kWorkers; ++w) {
    board_->Lease(
        MakeWorker(absl::StrCat("w", w)), "r", absl::Now() + absl::Minutes(1),
        [&replies, w](auto lease) { replies[static_cast<size_t>(w)].set_value(std::move(lease)); });
  }
  Running run(board_.get(), "j", Tasks(0, kWorkers));
  std::set<int64_t> episodes;
  for (int w = 0; w < kWorkers; ++w) {
    const auto lease = replies[static_cast<size_t>(w)].get_future().get();
    ASSERT_TRUE(lease.ok() && lease->has_value());
    episodes.insert((*lease)->episode());
    EXPECT_TRUE(board_->Complete(absl::StrCat("w", w), Completion(**lease)).ok());
  }
  EXPECT_THAT(episodes, SizeIs(kWorkers));
  EXPECT_TRUE(run.Join().ok());
}

TEST_F(TaskBoardTest, ANewerPollOfAWorkerEndsTheOlder) {
  std::thread older([&] { EXPECT_FALSE(Lease("w", absl::Seconds(60)).has_value()); });
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_FALSE(Lease("w").has_value());
  older.join();
}

}  // namespace
}  // namespace amc
