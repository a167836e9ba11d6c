// What the store keeps when things go wrong: kill -9, a full disk, a damaged file, a second
// process.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "storage/file_lock.h"
#include "storage/sqlite.h"
#include "tests/storage/store_fixture.h"

namespace amc {
namespace {

using absl::StatusCode;

using DurabilityTest = StoreTest;

constexpr int64_t kGeneration = 3;

std::vector<v1::Episode> Generation(int64_t generation) {
  std::vector<v1::Episode> episodes;
  for (int64_t i = 0; i < kGeneration; ++i) {
    episodes.push_back(SampleEpisode("a", generation * kGeneration + i));
  }
  return episodes;
}

// Commits generation after generation and writes a byte to `ack` after each. Never returns.
[[noreturn]] void CommitForever(const std::string& path, int64_t first, int ack) {
  const auto store = OpenSqliteStore(path);
  if (!store.ok()) _exit(1);
  for (int64_t generation = first;; ++generation) {
    auto job = (*store)->GetJob("a");
    if (!job.ok()) _exit(2);
    job->set_episodes_done((generation + 1) * kGeneration);
    const std::vector<v1::JobEvent> events(kGeneration, SampleEvent(v1::EVENT_KIND_EPISODE));
    const absl::Status status = (*store)->CommitGeneration({*job, events}, Generation(generation),
                                                           absl::StrCat("generation ", generation));
    if (!status.ok()) _exit(3);
    if (write(ack, "x", 1) != 1) _exit(4);
  }
}

TEST_F(DurabilityTest, WhatWasAcknowledgedSurvivesKill) {
  Create("a");
  int64_t acknowledged = 0, committed = 0;
  for (int round = 0; round < 20; ++round) {
    store_.reset();
    int ack[2];
    ASSERT_EQ(pipe(ack), 0);
    const pid_t child = fork();
    if (child == 0) {
      close(ack[0]);
      CommitForever(path_, committed, ack[1]);
    }
    close(ack[1]);
    // Killed at another moment of the commit each time.
    char byte;
    for (int i = 0; i < 2 + round % 3; ++i) {
      ASSERT_EQ(read(ack[0], &byte, 1), 1) << "the child died by itself";
      ++acknowledged;
    }
    usleep(static_cast<useconds_t>(round * 311));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "exit " << WEXITSTATUS(status);
    while (read(ack[0], &byte, 1) == 1) ++acknowledged;
    close(ack[0]);

    Open();
    ASSERT_NE(store_, nullptr);
    const auto job = store_->GetJob("a");
    ASSERT_THAT(job, IsOk());
    committed = job->episodes_done() / kGeneration;
    EXPECT_GE(committed, acknowledged);
    // Generations are there whole, with all that belongs to them, or not at all.
    EXPECT_EQ(job->last_sequence(), 1 + committed * kGeneration);
    EXPECT_EQ(static_cast<int64_t>(store_->Events("a", 0, 1 << 20)->size()), job->last_sequence());
    EXPECT_EQ(*store_->Checkpoint("a"), absl::StrCat("generation ", committed - 1));
    for (int64_t generation = 0; generation < committed; ++generation) {
      for (const v1::Episode& episode : Generation(generation)) {
        ASSERT_THAT(*store_->GetEpisode("a", episode.number()), SameAs(episode));
      }
    }
    EXPECT_THAT(store_->GetEpisode("a", committed * kGeneration), Fails(StatusCode::kNotFound, ""));
    acknowledged = committed;
  }
  EXPECT_GT(committed, 40);
}

TEST_F(DurabilityTest, ASecondOpenIsRefusedWithTheHoldersPid) {
  EXPECT_THAT(OpenSqliteStore(path_), Fails(StatusCode::kFailedPrecondition, path_));
  EXPECT_THAT(OpenSqliteStore(path_),
              Fails(StatusCode::kFailedPrecondition, absl::StrCat("process ", getpid())));
  store_.reset();
  EXPECT_THAT(OpenSqliteStore(path_), IsOk());
}

TEST_F(DurabilityTest, AProcessThatDiedHoldsNoLock) {
  store_.reset();
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto store = OpenSqliteStore(path_);
    if (write(ready[1], "x", 1) != 1) _exit(1);
    pause();
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_THAT(OpenSqliteStore(path_),
              Fails(StatusCode::kFailedPrecondition, absl::StrCat("process ", child)));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_THAT(OpenSqliteStore(path_), IsOk());
}

TEST_F(DurabilityTest, AMissingFolderIsNotFound) {
  EXPECT_THAT(OpenSqliteStore(folder_.path() + "/no/amc.db"),
              Fails(StatusCode::kNotFound, folder_.path() + "/no"));
}

TEST_F(DurabilityTest, AFullDiskIsSaidAndLosesNothing) {
  Create("a");
  ASSERT_THAT(Commit("a", {SampleEpisode("a", 0)}, "first"), IsOk());
  const v1::Job before = *store_->GetJob("a");
  const std::string large(2 << 20, 'x');
  {
    FileSizeLimit limit(1 << 20);
    EXPECT_THAT(Commit("a", {SampleEpisode("a", 1)}, large),
                Fails(StatusCode::kResourceExhausted, path_));
    // What was there can be read, and small changes still fit.
    EXPECT_THAT(*store_->GetJob("a"), SameAs(before));
    EXPECT_EQ(*store_->Checkpoint("a"), "first");
    EXPECT_THAT(store_->GetEpisode("a", 1), Fails(StatusCode::kNotFound, ""));
    EXPECT_THAT(store_->UpdateJob({before, {}}), IsOk());
  }
  ASSERT_THAT(Commit("a", {SampleEpisode("a", 1)}, large), IsOk());
  Reopen();
  EXPECT_EQ(*store_->Checkpoint("a"), large);
}

TEST_F(DurabilityTest, OfChangesThatShareACommitOnlyTheOneThatDoesNotFitFails) {
  Create("a");
  Create("b");
  FileSizeLimit limit(1 << 20);
  std::vector<std::thread> threads;
  std::vector<absl::Status> small(20), large(20);
  for (size_t i = 0; i < 20; ++i) {
    threads.emplace_back([&, i] {
      v1::Worker worker;
      worker.set_uuid(absl::StrCat("w", i));
      small[i] = store_->PutWorker(worker);
    });
    threads.emplace_back([&, i] {
      v1::Worker worker;
      worker.set_uuid(absl::StrCat("large", i));
      worker.mutable_capabilities()->set_hostname(std::string(2 << 20, 'x'));
      large[i] = store_->PutWorker(worker);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : small) EXPECT_THAT(status, IsOk());
  for (const absl::Status& status : large) {
    EXPECT_THAT(status, Fails(StatusCode::kResourceExhausted, path_));
  }
  EXPECT_EQ(store_->ListWorkers({})->workers_size(), 20);
}

TEST_F(DurabilityTest, AFileThatIsNoDatabaseIsDataLossAndLeftAlone) {
  const std::string path = folder_.path() + "/text.db";
  const std::string text(8192, 'x');
  ASSERT_THAT(WriteFileAtomically(path, text), IsOk());
  EXPECT_THAT(OpenSqliteStore(path), Fails(StatusCode::kDataLoss, path));
  EXPECT_EQ(*ReadFile(path), text);
}

TEST_F(DurabilityTest, ADamagedFileIsDataLossNotACrash) {
  Create("a");
  std::vector<v1::Episode> episodes;
  for (int64_t i = 0; i < 500; ++i) episodes.push_back(SampleEpisode("a", i));
  ASSERT_THAT(Commit("a", episodes), IsOk());
  store_.reset();  // moves the log into the file
  std::string bytes = *ReadFile(path_);
  ASSERT_GT(bytes.size(), 200000u);
  // The head stays: the schema can be read, the rows cannot.
  const size_t head = bytes.size() / 4 / 4096 * 4096;
  for (size_t i = head; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 131 + i / 7);
  ASSERT_THAT(WriteFileAtomically(path_, bytes), IsOk());
  const auto store = OpenSqliteStore(path_);
  absl::Status status = store.status();
  if (status.ok()) {
    v1::ListEpisodesRequest request;
    request.set_job("a");
    request.set_page_size(1000);
    request.set_with_steps(true);
    status = (*store)->ListEpisodes(request).status();
  }
  EXPECT_THAT(status, Fails(StatusCode::kDataLoss, ""));
}

TEST_F(DurabilityTest, ATruncatedFileIsDataLoss) {
  Create("a");
  std::vector<v1::Episode> episodes;
  for (int64_t i = 0; i < 500; ++i) episodes.push_back(SampleEpisode("a", i));
  ASSERT_THAT(Commit("a", episodes), IsOk());
  store_.reset();
  const std::string bytes = *ReadFile(path_);
  ASSERT_THAT(WriteFileAtomically(path_, bytes.substr(0, 40 * 4096)), IsOk());
  const auto store = OpenSqliteStore(path_);
  absl::Status status = store.status();
  if (status.ok()) {
    v1::ListEpisodesRequest request;
    request.set_job("a");
    request.set_page_size(1000);
    status = (*store)->ListEpisodes(request).status();
  }
  EXPECT_THAT(status, Fails(StatusCode::kDataLoss, path_));
}

}  // namespace
}  // namespace amc
