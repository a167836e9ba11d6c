// The board over a real store, with a clock that stands still until told.
#include "server/task_board.h"

#include <atomic>
#include <future>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/job_error.h"

namespace amc {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class TaskBoardTest : public ::testing::Test {
 protected:
  void SetUp() override {
    store_ = *OpenSqliteStore(folder_.path() + "/amc.db");
    NewBoard();
  }
  void NewBoard() {
    board_ = std::make_unique<TaskBoard>(
        store_.get(), &hub_, &clock_,
        TaskBoardOptions{.lease_term = absl::Seconds(30), .backoff = absl::Seconds(1)});
  }

  static v1::Job SampleJob(const std::string& id, int64_t max_attempts = 3) {
    v1::Job job;
    job.set_id(id);
    job.set_state(v1::JOB_STATE_SEARCHING);
    v1::JobSpec& spec = *job.mutable_spec();
    spec.set_max_attempts(max_attempts);
    spec.mutable_evaluation()->set_device(v1::DEVICE_CPU);
    spec.mutable_evaluation()->set_threads(1);
    return job;
  }
  void Open(const v1::Job& job) {
    ASSERT_TRUE(store_->CreateJob(job, job.id(), "hash", {}).ok());
    ASSERT_TRUE(board_->OpenJob(job).ok());
  }
  v1::Job MakeJob(const std::string& id, int64_t max_attempts = 3) {
    const v1::Job job = SampleJob(id, max_attempts);
    Open(job);
    return job;
  }
  // A job whose tasks are open before anybody asks for one.
  void OpenWithTasks(const v1::Job& job, int64_t count) {
    ASSERT_TRUE(store_->CreateJob(job, job.id(), "hash", {}).ok());
    std::vector<TaskRecord> tasks = Tasks(0, count);
    for (TaskRecord& task : tasks) task.job = job.id();
    ASSERT_TRUE(store_->AddTasks(tasks).ok());
    ASSERT_TRUE(board_->OpenJob(job).ok());
  }
  static std::vector<TaskRecord> Tasks(int64_t first, int64_t count) {
    std::vector<TaskRecord> tasks(static_cast<size_t>(count));
    for (TaskRecord& task : tasks) {
      task.kind = v1::TASK_KIND_EVALUATE;
      task.episode = first++;
    }
    return tasks;
  }
  static WorkerView MakeWorker(const std::string& uuid) {
    WorkerView worker{.uuid = uuid, .capabilities = v1::WorkerCapabilities()};
    worker.capabilities.add_devices(v1::DEVICE_CPU);
    worker.capabilities.set_threads(1);
    worker.capabilities.set_platform_id("p");
    return worker;
  }
  // Asks and waits for the reply.
  absl::StatusOr<std::optional<v1::Lease>> Poll(const std::string& uuid,
                                                const std::string& request_id,
                                                absl::Duration wait = absl::ZeroDuration()) {
    std::promise<absl::StatusOr<std::optional<v1::Lease>>> reply;
    board_->Lease(MakeWorker(uuid), request_id, absl::Now() + wait,
                  [&reply](auto lease) { reply.set_value(std::move(lease)); });
    return reply.get_future().get();
  }
  std::optional<v1::Lease> Lease(const std::string& uuid,
                                 absl::Duration wait = absl::ZeroDuration()) {
    const absl::StatusOr<std::optional<v1::Lease>> lease =
        Poll(uuid, absl::StrCat("r", ++requests_), wait);
    EXPECT_TRUE(lease.ok()) << lease.status();
    return lease.ok() ? *lease : std::nullopt;
  }
  static v1::CompleteTaskRequest Completion(const v1::Lease& lease) {
    v1::CompleteTaskRequest request;
    request.mutable_lease()->set_job(lease.job());
    request.mutable_lease()->set_task(lease.task());
    request.mutable_lease()->set_epoch(lease.epoch());
    request.mutable_result()->set_numerics_id(lease.numerics_id());
    request.mutable_result()->mutable_measurement()->set_top1(static_cast<double>(lease.episode()));
    return request;
  }

  TempDirectory folder_ = *TempDirectory::Create("amc_board_test");
  std::unique_ptr<Store> store_;
  EventHub hub_;
  FakeClock clock_{absl::FromUnixSeconds(1'000'000)};
  std::unique_ptr<TaskBoard> board_;
  std::atomic<int64_t> requests_ = 0;
};

// Runs a generation in a thread of its own, as a job does.
class Running {
 public:
  Running(TaskBoard* board, const std::string& job, std::vector<TaskRecord> tasks)
      : thread_([=, this] { result_ = board->Run(job, tasks); }) {}
  ~Running() {
    if (thread_.joinable()) thread_.join();
  }
  const absl::StatusOr<std::vector<TaskRecord>>& Join() {
    thread_.join();
    return result_;
  }

 private:
  absl::StatusOr<std::vector<TaskRecord>> result_ = absl::UnknownError("did not run");
  std::thread thread_;
};

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

TEST_F(TaskBoardTest, ANewerPollOfAWorkerEndsTheOlder) {
  std::thread older([&] { EXPECT_FALSE(Lease("w", absl::Seconds(60)).has_value()); });
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_FALSE(Lease("w").has_value());
  older.join();
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

}  // namespace
}  // namespace amc
