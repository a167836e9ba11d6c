// Many threads on one store: nothing lost, nothing doubled, readers see whole commits.
#include <atomic>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/storage/store_fixture.h"

namespace amc {
namespace {

using StoreThreadsTest = StoreTest;

TEST_F(StoreThreadsTest, EachTaskIsLeasedOnceAndCompletedOnce) {
  constexpr int64_t kTasks = 60;
  constexpr int kThreads = 8;
  Create("a");
  std::vector<TaskRecord> tasks;
  for (int64_t i = 0; i < kTasks; ++i) tasks.push_back(SampleTask("a", i));
  ASSERT_THAT(store_->AddTasks(tasks), IsOk());

  std::atomic<int> leased{0}, refused{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const std::string worker = absl::StrCat("w", t);
      for (int64_t task = 1; task <= kTasks; ++task) {
        const auto lease = LeaseTask(*store_, "a", task, worker, "n", 0, 100);
        if (!lease.ok()) {
          EXPECT_EQ(lease.status().code(), absl::StatusCode::kFailedPrecondition);
          ++refused;
          continue;
        }
        ++leased;
        EXPECT_THAT(store_->RenewLease("a", task, lease->epoch, 200), IsOk());
        EXPECT_THAT(store_->CompleteTask("a", task, lease->epoch, SampleResult(), 50), IsOk());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(leased, kTasks);
  EXPECT_EQ(refused, kTasks * (kThreads - 1));
  EXPECT_EQ(store_->Attempts("a")->size(), static_cast<size_t>(kTasks));
  const std::vector<TaskRecord> after = *store_->Tasks("a");
  for (const TaskRecord& task : after) EXPECT_EQ(task.state, TaskState::kDone);
}

TEST_F(StoreThreadsTest, EventsOfManyWritersAreNumberedWithoutGaps) {
  constexpr int kThreads = 8, kEach = 25;
  const v1::Job job = Create("a");
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const std::string message = absl::StrCat(t, "/", i);
        EXPECT_THAT(store_->UpdateJob({job, {SampleEvent(v1::EVENT_KIND_STATE, message)}}), IsOk());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto events = store_->Events("a", 1, 100000);
  ASSERT_THAT(events, IsOk());
  ASSERT_EQ(events->size(), static_cast<size_t>(kThreads * kEach));
  std::set<std::string> messages;
  for (size_t i = 0; i < events->size(); ++i) {
    EXPECT_EQ((*events)[i].sequence(), static_cast<int64_t>(i) + 2);
    messages.insert((*events)[i].message());
  }
  EXPECT_EQ(messages.size(), events->size());
}

TEST_F(StoreThreadsTest, OneOfManyEqualRequestsMakesTheJob) {
  constexpr int kThreads = 8;
  std::vector<std::string> ids(kThreads);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const auto job =
          store_->CreateJob(SampleJob(absl::StrCat("job", t)), "same request", "hash", {});
      ASSERT_THAT(job, IsOk());
      ids[t] = job->id();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), 1u);
  EXPECT_EQ(store_->ListJobs({})->jobs_size(), 1);
}

// The failures are undone alone, though they share commits with the others.
TEST_F(StoreThreadsTest, FailedChangesDoNotHurtTheirNeighbours) {
  constexpr int kThreads = 8, kEach = 25;
  for (int t = 0; t < kThreads; ++t) Create(absl::StrCat("job", t));
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const std::string id = absl::StrCat("job", t);
      for (int64_t i = 0; i < kEach; ++i) {
        EXPECT_THAT(Commit(id, {SampleEpisode(id, i)}), IsOk());
        EXPECT_THAT(Commit(id, {SampleEpisode(id, i + 1000), SampleEpisode(id, i)}),
                    Fails(absl::StatusCode::kAlreadyExists, "committed already"));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int t = 0; t < kThreads; ++t) {
    const std::string id = absl::StrCat("job", t);
    EXPECT_EQ(store_->GetJob(id)->episodes_done(), kEach);
    EXPECT_EQ(store_->Events(id, 0, 1000)->size(), static_cast<size_t>(kEach + 1));
    v1::ListEpisodesRequest request;
    request.set_job(id);
    request.set_page_size(1000);
    EXPECT_EQ(store_->ListEpisodes(request)->episodes_size(), kEach);
  }
}

TEST_F(StoreThreadsTest, ReadersSeeWholeGenerations) {
  constexpr int64_t kGenerations = 40, kSize = 5;
  Create("a");
  std::atomic<bool> done{false};
  std::atomic<int64_t> reads{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 12; ++t) {  // more than there are connections
    readers.emplace_back([&] {
      while (!done) {
        v1::ListEpisodesRequest request;
        request.set_job("a");
        request.set_page_size(1000);
        request.set_order(v1::EPISODE_ORDER_REWARD_DESC);
        const auto list = store_->ListEpisodes(request);
        ASSERT_THAT(list, IsOk());
        EXPECT_EQ(list->episodes_size() % kSize, 0);
        ++reads;
      }
    });
  }
  for (int64_t generation = 0; generation < kGenerations; ++generation) {
    std::vector<v1::Episode> episodes;
    for (int64_t i = 0; i < kSize; ++i) {
      episodes.push_back(SampleEpisode("a", generation * kSize + i));
    }
    ASSERT_THAT(Commit("a", episodes), IsOk());
    // What was acknowledged can be read at once.
    ASSERT_THAT(store_->GetEpisode("a", generation * kSize), IsOk());
  }
  while (reads < 20) std::this_thread::yield();
  done = true;
  for (std::thread& thread : readers) thread.join();
}

}  // namespace
}  // namespace amc
