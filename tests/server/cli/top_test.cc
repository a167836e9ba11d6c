// amc top and amc workers: one moment of a server as text and JSON, workers by the first digits.
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"
#include "server/cli/top.h"
#include "server/cli/worker_text.h"

namespace amc {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kStart = 1'700'000'000'000;

v1::Job SearchingJob() {
  v1::Job job;
  job.set_id("aaaa");
  job.mutable_spec()->set_name("resnet20");
  job.set_state(v1::JOB_STATE_SEARCHING);
  job.set_episodes_done(41);
  job.mutable_spec()->mutable_search()->set_episodes(100);
  job.set_evaluations_spent(32.5);
  job.set_episodes_reused(3);
  job.set_best_reward(0.9321);
  job.set_best_episode(7);
  return job;
}

v1::Job QueuedJob(const std::string& id, int64_t priority, int64_t created) {
  v1::Job job;
  job.set_id(id);
  job.set_state(v1::JOB_STATE_QUEUED);
  job.set_best_episode(-1);
  job.mutable_spec()->set_priority(priority);
  job.set_create_time_ms(created);
  return job;
}

v1::Worker BusyWorker(const std::string& uuid) {
  v1::Worker worker;
  worker.set_uuid(uuid);
  worker.mutable_capabilities()->set_hostname("box");
  worker.set_state(v1::WORKER_STATE_BUSY);
  worker.set_completed(12);
  worker.set_last_seen_ms(kStart + 3'600'000 - 400);
  worker.mutable_lease()->set_job("aaaa");
  worker.mutable_lease()->set_task(43);
  worker.mutable_progress()->set_what("images");
  worker.mutable_progress()->set_done(320);
  worker.mutable_progress()->set_total(5000);
  return worker;
}

// An hour after the server's start, with a job of which half an evaluation was committed every two
// seconds.
TopSnapshot Snapshot() {
  TopSnapshot snapshot;
  snapshot.address = "127.0.0.1:7070";
  v1::ServerStatus& status = snapshot.status;
  status.set_version("9.9.9");
  status.set_start_time_ms(kStart);
  status.set_now_ms(kStart + 3'600'000);
  status.set_jobs_running(1);
  status.set_jobs_queued(2);
  status.set_workers(2);
  status.set_workers_busy(1);
  status.set_completions(1234);
  status.set_completions_per_minute(30);
  status.set_artifact_bytes(2'500'000'000);
  status.set_disk_free_bytes(100'000'000'000);
  snapshot.jobs = {QueuedJob("late", 0, kStart + 9), QueuedJob("early", 0, kStart + 5),
                   QueuedJob("urgent", 5, kStart + 9), SearchingJob()};
  for (int64_t number = 20; number <= 40; ++number) {
    v1::Episode episode;
    episode.set_number(number);
    episode.set_evaluations(0.5);
    episode.set_commit_time_ms(status.now_ms() - 2000 * (40 - number));
    snapshot.recent["aaaa"].push_back(episode);
  }
  snapshot.workers = {BusyWorker("0123456789abcdef"), BusyWorker("0124")};
  return snapshot;
}

std::string Text(const TopSnapshot& snapshot, TerminalSize size = {200, 50}) {
  return absl::StrJoin(TopLines(snapshot, size), "\n");
}

TEST(TopTest, ShowsServerJobsAndWorkers) {
  const std::string text = Text(Snapshot());
  EXPECT_THAT(text, HasSubstr("amc 9.9.9 at 127.0.0.1:7070, up 1 h 00 min\n"));
  EXPECT_THAT(text, HasSubstr("jobs: 1 running, 2 queued   workers: 2, 1 busy   completions: "
                              "30.0/min, 1234 in all\n"));
  EXPECT_THAT(text, HasSubstr("artifacts: 2.50 GB   database: 0 B   disk: 100.0 GB free\n"));
  EXPECT_THAT(
      text, ContainsRegex("aaaa +resnet20 +searching +41 +32.5/100 +3 +0.9321 +15.0 +4 min 30 s"));
  EXPECT_THAT(text, ContainsRegex("0123456789ab +box +busy +12 +0.4 s ago +aaaa +43 +images "
                                  "320/5000"));
}

TEST(TopTest, RunningJobsComeFirstThenThoseThatRunNext) {
  EXPECT_THAT(Text(Snapshot()), ContainsRegex("\naaaa(.|\n)*\nurgent(.|\n)*\nearly(.|\n)*\nlate"));
}

TEST(TopTest, WhatAnEarlierServerDidSaysNothingOfTheSpeed) {
  TopSnapshot snapshot = Snapshot();
  snapshot.status.set_start_time_ms(snapshot.status.now_ms() - 1000);
  EXPECT_THAT(Text(snapshot), ContainsRegex("0.9321 +\\?"));
}

TEST(TopTest, FitsTheTerminal) {
  TopSnapshot snapshot = Snapshot();
  for (int i = 0; i < 40; ++i)
    snapshot.jobs.push_back(QueuedJob(absl::StrCat("more", i), 0, kStart));
  for (int i = 0; i < 40; ++i) snapshot.workers.push_back(BusyWorker(absl::StrCat("w", i)));
  for (const size_t rows : {0, 1, 2, 5, 7, 9, 10, 24, 60}) {
    for (const size_t columns : {1, 20, 80}) {
      const std::vector<std::string> lines = TopLines(snapshot, {columns, rows});
      EXPECT_LE(lines.size(), rows);
      for (const std::string& line : lines) EXPECT_LE(DisplayWidth(line), columns);
    }
  }
  const std::string text = Text(snapshot, {80, 24});
  EXPECT_THAT(text, HasSubstr("... 37 more jobs"));
  EXPECT_THAT(text, HasSubstr("... 36 more workers"));
  EXPECT_EQ(TopLines(snapshot, {80, 24}).size(), 24u);
}

TEST(TopTest, AFewJobsLeaveTheirRowsToTheWorkers) {
  TopSnapshot snapshot = Snapshot();
  for (int i = 0; i < 7; ++i) snapshot.workers.push_back(BusyWorker(absl::StrCat("w", i)));
  EXPECT_THAT(Text(snapshot, {200, 24}), Not(HasSubstr("more")));
}

TEST(TopTest, SaysWhatIsWrongAndThatThereIsNothing) {
  TopSnapshot snapshot;
  snapshot.trouble = "the server does not answer";
  const std::string text = Text(snapshot);
  EXPECT_THAT(text, HasSubstr("the server does not answer"));
  EXPECT_THAT(text, HasSubstr("no jobs"));
  EXPECT_THAT(text, HasSubstr("no workers"));
}

TEST(TopTest, JsonIsOneObject) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  v1::ListJobsResponse jobs;
  v1::ListWorkersResponse workers;
  const std::string json = TopJson(Snapshot());
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(json, &jobs, options).ok()) << json;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(json, &workers, options).ok());
  EXPECT_EQ(jobs.jobs_size(), 4);
  EXPECT_EQ(workers.workers(1).uuid(), "0124");
  EXPECT_THAT(json, HasSubstr("\"version\":\"9.9.9\""));
}

TEST(WorkerTextTest, TheFirstDigitsOfAUuidAreEnough) {
  const std::vector<v1::Worker> workers = {BusyWorker("0123456789abcdef"), BusyWorker("0124")};
  EXPECT_EQ(*FindWorker(workers, "01234"), "0123456789abcdef");
  EXPECT_EQ(*FindWorker(workers, "0124"), "0124");
  EXPECT_EQ(ExitCodeOf(FindWorker(workers, "012").status()), kExitUsage);
  EXPECT_TRUE(absl::IsNotFound(FindWorker(workers, "0125").status()));
  const std::vector<v1::Worker> twins = {BusyWorker("abcd1"), BusyWorker("abcd2")};
  EXPECT_THAT(std::string(FindWorker(twins, "abcd").status().message()),
              HasSubstr("any of abcd1, abcd2"));
}

TEST(WorkerTextTest, SaysWhatAWorkerIsAt) {
  v1::Worker worker = BusyWorker("w");
  EXPECT_EQ(WorkerStateName(worker), "busy");
  EXPECT_EQ(WorkerActivity(worker), "images 320/5000");
  worker.mutable_progress()->clear_total();
  EXPECT_EQ(WorkerActivity(worker), "images");
  worker.clear_lease();
  EXPECT_EQ(WorkerActivity(worker), "");
  worker.set_state(v1::WORKER_STATE_CRASHED);
  worker.set_message("killed for want of memory");
  EXPECT_EQ(WorkerActivity(worker), "killed for want of memory");
}

}  // namespace
}  // namespace amc
