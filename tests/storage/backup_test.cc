// Copies of the store while it is at work: whole, of one moment, and a store of their own.
#include <atomic>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/storage/store_fixture.h"

namespace amc {
namespace {

using absl::StatusCode;

constexpr int64_t kSize = 4;  // episodes of a generation

class BackupTest : public StoreTest {
 protected:
  absl::Status CommitGeneration(int64_t generation) {
    std::vector<v1::Episode> episodes;
    for (int64_t i = 0; i < kSize; ++i) {
      episodes.push_back(SampleEpisode("a", generation * kSize + i));
    }
    return Commit("a", episodes, absl::StrCat("generation ", generation));
  }
  // That the file at `path` is a sound store of whole generations. Returns how many.
  int64_t CheckCopy(const std::string& path) {
    {
      const auto database = sqlite::Database::Open(path, sqlite::Database::Mode::kReadOnly);
      EXPECT_THAT(database, IsOk());
      if (!database.ok()) return -1;
      auto check = (*database)->Query("PRAGMA integrity_check");
      EXPECT_TRUE(*check->Step());
      EXPECT_EQ(check->Text(0), "ok");
    }
    const auto opened = OpenSqliteStore(path);
    EXPECT_THAT(opened, IsOk());
    if (!opened.ok()) return -1;
    Store& copy = **opened;
    const auto job = copy.GetJob("a");
    EXPECT_THAT(job, IsOk());
    if (!job.ok()) return -1;
    const int64_t episodes = job->episodes_done();
    EXPECT_EQ(episodes % kSize, 0);
    EXPECT_EQ(job->last_sequence(), 1 + episodes);
    EXPECT_EQ(static_cast<int64_t>(copy.Events("a", 0, 1 << 20)->size()), 1 + episodes);
    for (int64_t number = 0; number < episodes; ++number) {
      EXPECT_THAT(*copy.GetEpisode("a", number), SameAs(SampleEpisode("a", number)));
    }
    EXPECT_THAT(copy.GetEpisode("a", episodes), Fails(StatusCode::kNotFound, ""));
    EXPECT_EQ(*copy.Checkpoint("a"), absl::StrCat("generation ", episodes / kSize - 1));
    return episodes / kSize;
  }
};

TEST_F(BackupTest, HoldsAPrefixOfTheHistoryWhileItGrows) {
  constexpr int kCopies = 8;
  Create("a");
  ASSERT_THAT(CommitGeneration(0), IsOk());
  std::atomic<bool> done = false;
  std::atomic<int64_t> committed = 1;
  std::thread writer([&] {
    while (!done) {
      ASSERT_THAT(CommitGeneration(committed), IsOk());
      ++committed;
    }
  });
  std::vector<int64_t> before, after;
  for (int i = 0; i < kCopies; ++i) {
    const int64_t begun = committed;
    before.push_back(begun);
    EXPECT_THAT(store_->BackupTo(absl::StrCat(folder_.path(), "/copy", i)), IsOk());
    after.push_back(committed + 1);  // the one under way may be in the copy already
    while (committed < begun + 2) std::this_thread::yield();  // the writer goes on
  }
  done = true;
  writer.join();
  for (size_t i = 0; i < kCopies; ++i) {
    const int64_t copied = CheckCopy(absl::StrCat(folder_.path(), "/copy", i));
    EXPECT_GE(copied, before[i]);  // all that was acknowledged before it began
    EXPECT_LE(copied, after[i]);
    EXPECT_FALSE(std::filesystem::exists(absl::StrCat(folder_.path(), "/copy", i, ".part")));
  }
  EXPECT_EQ(store_->GetJob("a")->episodes_done(), committed * kSize);
}

TEST_F(BackupTest, ReplacesAnOlderCopyAndGoesOnByItself) {
  Create("a");
  const std::string copy = folder_.path() + "/copy";
  ASSERT_THAT(WriteFileAtomically(copy, "an older file"), IsOk());
  ASSERT_THAT(CommitGeneration(0), IsOk());
  ASSERT_THAT(store_->BackupTo(copy), IsOk());
  ASSERT_THAT(CommitGeneration(1), IsOk());
  EXPECT_EQ(CheckCopy(copy), 1);
  {
    const auto restored = OpenSqliteStore(copy);
    ASSERT_THAT(restored, IsOk());
    EXPECT_THAT((*restored)->AddTasks({SampleTask("a", 4)}), IsOk());
  }
  EXPECT_TRUE(store_->Tasks("a")->empty());
}

TEST_F(BackupTest, OneThatFailsLeavesNothingAndTheStoreAsItWas) {
  Create("a");
  ASSERT_THAT(CommitGeneration(0), IsOk());
  const std::string copy = folder_.path() + "/copy";
  EXPECT_THAT(store_->BackupTo(folder_.path() + "/no/copy"),
              Fails(StatusCode::kNotFound, "no/copy"));
  {
    const FileSizeLimit limit(20000);
    EXPECT_THAT(store_->BackupTo(copy), Fails(StatusCode::kResourceExhausted, copy));
  }
  EXPECT_FALSE(std::filesystem::exists(copy));
  EXPECT_FALSE(std::filesystem::exists(copy + ".part"));
  ASSERT_THAT(CommitGeneration(1), IsOk());
  ASSERT_THAT(store_->BackupTo(copy), IsOk());
  EXPECT_EQ(CheckCopy(copy), 2);
}

}  // namespace
}  // namespace amc
