// Artifacts as files: whole and verified, or not there.
#include "storage/artifact_store.h"

#include <utime.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/storage/store_fixture.h"

namespace amc {
namespace {

using absl::StatusCode;

// FIPS 180-4, example B.1.
constexpr char kAbcDigest[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

class ArtifactStoreTest : public testing::Test {
 protected:
  ArtifactStoreTest()
      : folder_(*TempDirectory::Create("amc-artifacts")), root_(folder_.path() + "/artifacts") {
    store_ = *ArtifactStore::Open(root_);
  }
  size_t Uploads() {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(root_ + "/tmp"),
                                             std::filesystem::directory_iterator()));
  }

  TempDirectory folder_;
  std::string root_;
  std::unique_ptr<ArtifactStore> store_;
};

TEST_F(ArtifactStoreTest, PutNamesTheBytesByTheirDigest) {
  const auto digest = store_->Put("abc");
  ASSERT_THAT(digest, IsOk());
  EXPECT_EQ(*digest, kAbcDigest);
  EXPECT_TRUE(store_->Contains(kAbcDigest));
  EXPECT_EQ(*store_->Path(kAbcDigest), root_ + "/ba/" + kAbcDigest);
  EXPECT_EQ(*store_->Get(kAbcDigest), "abc");
  EXPECT_EQ(*store_->Put("abc"), kAbcDigest);  // again
  EXPECT_EQ(Uploads(), 0u);
  EXPECT_EQ(*(*ArtifactStore::Open(root_))->Get(kAbcDigest), "abc");
}

TEST_F(ArtifactStoreTest, EmptyArtifactsAreArtifacts) {
  const auto digest = store_->Put("");
  ASSERT_THAT(digest, IsOk());
  EXPECT_EQ(*store_->Get(*digest), "");
}

TEST_F(ArtifactStoreTest, PiecesMakeTheWhole) {
  auto writer = store_->NewWriter();
  ASSERT_THAT(writer, IsOk());
  for (const char* piece : {"a", "", "bc"}) ASSERT_THAT((*writer)->Append(piece), IsOk());
  EXPECT_FALSE(store_->Contains(kAbcDigest));
  ASSERT_THAT((*writer)->Finish(kAbcDigest, 3), IsOk());
  EXPECT_EQ(*store_->Get(kAbcDigest), "abc");
  EXPECT_THAT((*writer)->Finish(kAbcDigest, 3), Fails(StatusCode::kFailedPrecondition, "twice"));
  EXPECT_THAT((*writer)->Append("d"), Fails(StatusCode::kFailedPrecondition, "Finish"));
}

TEST_F(ArtifactStoreTest, SealedBytesHaveNoNameBeforeTheyGetOne) {
  {
    auto writer = store_->NewWriter();
    ASSERT_THAT((*writer)->Append("abc"), IsOk());
    EXPECT_THAT((*writer)->Name(), Fails(StatusCode::kFailedPrecondition, "sealed"));
    ASSERT_THAT((*writer)->Seal(kAbcDigest, 3), IsOk());
    EXPECT_THAT((*writer)->Append("d"), Fails(StatusCode::kFailedPrecondition, ""));
    EXPECT_THAT((*writer)->Seal(kAbcDigest, 3), Fails(StatusCode::kFailedPrecondition, "twice"));
    EXPECT_FALSE(store_->Contains(kAbcDigest));
    EXPECT_EQ(Uploads(), 1u);
  }
  EXPECT_EQ(Uploads(), 0u);  // nothing stays of what was never named
  auto writer = store_->NewWriter();
  ASSERT_THAT((*writer)->Append("abc"), IsOk());
  EXPECT_THAT((*writer)->Seal(kAbcDigest, 4), Fails(StatusCode::kInvalidArgument, "announced"));
  EXPECT_THAT((*writer)->Name(), Fails(StatusCode::kFailedPrecondition, "sealed"));
  ASSERT_THAT((*writer)->Seal(kAbcDigest, 3), IsOk());
  ASSERT_THAT((*writer)->Name(), IsOk());
  EXPECT_THAT((*writer)->Name(), Fails(StatusCode::kFailedPrecondition, "twice"));
  EXPECT_EQ(*store_->Get(kAbcDigest), "abc");
  EXPECT_EQ(Uploads(), 0u);
}

TEST_F(ArtifactStoreTest, WrongAnnouncementsAreRefusedAndLeaveNothing) {
  const std::string zeros(64, '0');
  struct Case {
    std::string digest;
    int64_t size;
    std::string text;
  };
  for (const Case& c :
       {Case{zeros, 3, kAbcDigest}, Case{kAbcDigest, 4, "3 bytes arrived, 4"},
        Case{"../../etc/passwd", 3, "hexadecimal"}, Case{std::string(64, 'A'), 3, "hexadecimal"}}) {
    auto writer = store_->NewWriter();
    ASSERT_THAT(writer, IsOk());
    ASSERT_THAT((*writer)->Append("abc"), IsOk());
    EXPECT_THAT((*writer)->Finish(c.digest, c.size), Fails(StatusCode::kInvalidArgument, c.text));
  }
  EXPECT_EQ(Uploads(), 0u);
  EXPECT_FALSE(store_->Contains(kAbcDigest));
}

TEST_F(ArtifactStoreTest, DroppedUploadLeavesNothing) {
  {
    auto writer = store_->NewWriter();
    ASSERT_THAT((*writer)->Append("abc"), IsOk());
    EXPECT_EQ(Uploads(), 1u);
  }
  EXPECT_EQ(Uploads(), 0u);
}

TEST_F(ArtifactStoreTest, UploadsOfAKilledProcessGoAfterADay) {
  for (const char* name : {"old", "new"}) {
    ASSERT_THAT(WriteFileAtomically(root_ + "/tmp/" + name, "part"), IsOk());
  }
  const utimbuf two_days_ago{time(nullptr) - 2 * 86400, time(nullptr) - 2 * 86400};
  ASSERT_EQ(utime((root_ + "/tmp/old").c_str(), &two_days_ago), 0);
  ASSERT_THAT(ArtifactStore::Open(root_), IsOk());
  EXPECT_FALSE(std::filesystem::exists(root_ + "/tmp/old"));
  EXPECT_TRUE(std::filesystem::exists(root_ + "/tmp/new"));
}

TEST_F(ArtifactStoreTest, UnknownAndMalformedNamesAreToldApart) {
  EXPECT_THAT(store_->Get(kAbcDigest), Fails(StatusCode::kNotFound, kAbcDigest));
  EXPECT_THAT(store_->Path(kAbcDigest), Fails(StatusCode::kNotFound, kAbcDigest));
  EXPECT_THAT(store_->Remove(kAbcDigest), Fails(StatusCode::kNotFound, kAbcDigest));
  EXPECT_THAT(store_->Path("../secret"), Fails(StatusCode::kInvalidArgument, "../secret"));
  EXPECT_THAT(store_->Get(""), Fails(StatusCode::kInvalidArgument, ""));
  EXPECT_FALSE(store_->Contains("../secret"));
}

TEST_F(ArtifactStoreTest, ChangedBytesAreDataLossAndANewUploadHealsThem) {
  ASSERT_THAT(store_->Put("abc"), IsOk());
  ASSERT_THAT(WriteFileAtomically(*store_->Path(kAbcDigest), "abd"), IsOk());
  EXPECT_THAT(store_->Get(kAbcDigest), Fails(StatusCode::kDataLoss, kAbcDigest));
  ASSERT_THAT(store_->Put("abc"), IsOk());
  EXPECT_EQ(*store_->Get(kAbcDigest), "abc");
}

TEST_F(ArtifactStoreTest, RemoveTakesTheBytes) {
  ASSERT_THAT(store_->Put("abc"), IsOk());
  ASSERT_THAT(store_->Remove(kAbcDigest), IsOk());
  EXPECT_FALSE(store_->Contains(kAbcDigest));
  EXPECT_THAT(store_->Put("abc"), IsOk());
}

class ArtifactCacheTest : public ArtifactStoreTest {
 protected:
  // Puts 1000 bytes that were used `minutes` ago.
  std::string Put(char c, int minutes) {
    const std::string digest = *store_->Put(std::string(1000, c));
    SetUsed(*store_->Path(digest), minutes);
    return digest;
  }
  static void SetUsed(const std::string& path, int minutes) {
    const time_t used = time(nullptr) - 60 * minutes;
    const utimbuf times{used, used};
    ASSERT_EQ(utime(path.c_str(), &times), 0);
  }
};

TEST_F(ArtifactCacheTest, ShrinkTakesWhatWasUsedLongestAgoAndNoMoreThanItMust) {
  const std::string b = Put('b', 20), a = Put('a', 40), d = Put('d', 10), c = Put('c', 30);
  ASSERT_THAT(store_->Shrink(4000, absl::ZeroDuration()), IsOk());  // they fit
  for (const std::string& digest : {a, b, c, d}) EXPECT_TRUE(store_->Contains(digest));
  ASSERT_THAT(store_->Shrink(3999, absl::ZeroDuration()), IsOk());
  EXPECT_FALSE(store_->Contains(a));
  for (const std::string& digest : {b, c, d}) EXPECT_TRUE(store_->Contains(digest));
  ASSERT_THAT(store_->Shrink(1500, absl::ZeroDuration()), IsOk());
  EXPECT_FALSE(store_->Contains(b));
  EXPECT_FALSE(store_->Contains(c));
  EXPECT_EQ(*store_->Get(d), std::string(1000, 'd'));
  ASSERT_THAT(store_->Shrink(0, absl::ZeroDuration()), IsOk());
  EXPECT_FALSE(store_->Contains(d));
  EXPECT_THAT(store_->Shrink(0, absl::ZeroDuration()), IsOk());  // nothing to do
}

TEST_F(ArtifactCacheTest, TouchedOnesCountAsUsedNow) {
  const std::string a = Put('a', 40), b = Put('b', 20);
  store_->Touch(a);
  store_->Touch(kAbcDigest);  // not there: nothing to mark
  store_->Touch("../secret");
  ASSERT_THAT(store_->Shrink(1000, absl::ZeroDuration()), IsOk());
  EXPECT_TRUE(store_->Contains(a));
  EXPECT_FALSE(store_->Contains(b));
  EXPECT_FALSE(store_->Contains(kAbcDigest));
}

TEST_F(ArtifactCacheTest, ShrinkSparesWhatSomebodyMayBeAboutToOpen) {
  const std::string old = Put('a', 40), recent = Put('b', 4), now = Put('c', 0);
  ASSERT_THAT(store_->Shrink(0, absl::Minutes(5)), IsOk());
  EXPECT_FALSE(store_->Contains(old));
  EXPECT_TRUE(store_->Contains(recent));
  EXPECT_TRUE(store_->Contains(now));
  ASSERT_THAT(store_->Shrink(0, absl::Minutes(3)), IsOk());
  EXPECT_FALSE(store_->Contains(recent));
  EXPECT_TRUE(store_->Contains(now));
}

TEST_F(ArtifactCacheTest, ShrinkLeavesUploadsAndStrangersAlone) {
  const std::string a = Put('a', 40);
  auto writer = store_->NewWriter();
  ASSERT_THAT((*writer)->Append("abc"), IsOk());
  ASSERT_THAT(WriteFileAtomically(root_ + "/README", std::string(5000, 'x')), IsOk());
  SetUsed(root_ + "/README", 100);
  // What is no artifact does not count either.
  ASSERT_THAT(store_->Shrink(1000, absl::ZeroDuration()), IsOk());
  EXPECT_TRUE(store_->Contains(a));
  ASSERT_THAT(store_->Shrink(0, absl::ZeroDuration()), IsOk());
  EXPECT_FALSE(store_->Contains(a));
  EXPECT_TRUE(std::filesystem::exists(root_ + "/README"));
  ASSERT_THAT((*writer)->Finish(kAbcDigest, 3), IsOk());
  EXPECT_EQ(*store_->Get(kAbcDigest), "abc");
}

TEST_F(ArtifactCacheTest, WhoeverHasOneOpenKeepsIt) {
  const std::string a = Put('a', 40);
  std::ifstream file(*store_->Path(a), std::ios::binary);
  ASSERT_TRUE(file.is_open());
  ASSERT_THAT(store_->Shrink(0, absl::ZeroDuration()), IsOk());
  EXPECT_FALSE(store_->Contains(a));
  std::string bytes(2000, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  EXPECT_EQ(bytes.substr(0, static_cast<size_t>(file.gcount())), std::string(1000, 'a'));
}

TEST_F(ArtifactCacheTest, ShrinkOfAFolderThatHasGoneSaysSo) {
  std::filesystem::remove_all(root_);
  EXPECT_THAT(store_->Shrink(0, absl::ZeroDuration()), Fails(StatusCode::kNotFound, root_));
}

// Two processes may share a cache: neither stumbles over what the other removed.
TEST_F(ArtifactCacheTest, ManyMayShrinkAtOnce) {
  std::vector<std::string> digests;
  for (int i = 0; i < 40; ++i) digests.push_back(Put(static_cast<char>('0' + i), 60 - i));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] { EXPECT_THAT(store_->Shrink(5000, absl::ZeroDuration()), IsOk()); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < digests.size(); ++i) {
    EXPECT_EQ(store_->Contains(digests[i]), i >= 35) << i;
  }
}

TEST_F(ArtifactStoreTest, AFullDiskIsResourceExhaustedAndLeavesNothing) {
  {
    const FileSizeLimit limit(1000);
    EXPECT_THAT(store_->Put(std::string(5000, 'x')), Fails(StatusCode::kResourceExhausted, root_));
  }
  EXPECT_EQ(Uploads(), 0u);
  EXPECT_THAT(store_->Put(std::string(5000, 'x')), IsOk());
}

TEST_F(ArtifactStoreTest, AFileWhereTheFolderShouldBeIsAnError) {
  const std::string path = folder_.path() + "/file";
  ASSERT_THAT(WriteFileAtomically(path, "x"), IsOk());
  EXPECT_FALSE(ArtifactStore::Open(path).ok());
}

TEST_F(ArtifactStoreTest, ManyThreadsMayPutTheSameBytes) {
  std::vector<std::thread> threads;
  const std::string bytes(100000, 'y');
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) {
        const auto digest = store_->Put(bytes);
        ASSERT_THAT(digest, IsOk());
        EXPECT_EQ(*store_->Get(*digest), bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Uploads(), 0u);
}

}  // namespace
}  // namespace amc
