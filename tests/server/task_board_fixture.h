// What the board's tests share: a board over a real store, with a clock that stands still until
// told.
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "gtest/gtest.h"
#include "server/task_board.h"

namespace amc {

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

}  // namespace amc
