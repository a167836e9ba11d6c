// Bytes and names of artifacts in step: quota, collection, damage, and many threads at once.
#include "server/artifact_catalog.h"

#include <atomic>
#include <filesystem>
#include <functional>
#include <future>
#include <limits>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

const std::string kNew(64, '0');  // the digest of an artifact that nobody has seen

// A clock that lets something happen when it is asked next.
class HookClock : public FakeClock {
 public:
  using FakeClock::FakeClock;
  absl::Time Now() const override {
    if (const std::function<void()> once = std::exchange(hook, nullptr)) once();
    return FakeClock::Now();
  }
  mutable std::function<void()> hook;
};

class ArtifactCatalogTest : public ::testing::Test {
 protected:
  ArtifactCatalogTest()
      : artifacts_(*ArtifactStore::Open(folder_.path() + "/artifacts")),
        store_(*OpenSqliteStore(folder_.path() + "/amc.db")) {
    Options({});
  }
  void Options(const ArtifactCatalogOptions& options) {
    catalog_ = std::make_unique<ArtifactCatalog>(artifacts_.get(), store_.get(), &clock_, options);
  }

  static v1::Artifact Header(const std::string& bytes) {
    v1::Artifact header;
    header.set_digest(Sha256Hex(bytes));
    header.set_size(static_cast<int64_t>(bytes.size()));
    header.set_kind(v1::ARTIFACT_KIND_MODEL);
    header.set_name("net.onnx");
    return header;
  }
  // Writes the bytes as an upload does that found them missing.
  absl::StatusOr<v1::Artifact> Put(const std::string& bytes) {
    const std::unique_ptr<ArtifactStore::Writer> writer = *artifacts_->NewWriter();
    EXPECT_TRUE(writer->Append(bytes).ok());
    return catalog_->Put(*writer, Header(bytes));
  }
  // A job that has ended and names the model.
  void MakeJob(const std::string& id, const std::string& model) {
    v1::Job job;
    job.set_id(id);
    job.set_state(v1::JOB_STATE_CANCELLED);
    job.set_create_time_ms(absl::ToUnixMillis(clock_.Now()));
    job.mutable_spec()->set_model(model);
    const absl::Status status = store_->CreateJob(job, id, "hash", {}).status();
    EXPECT_TRUE(status.ok()) << status;
  }
  bool HasRow(const std::string& digest) { return store_->GetArtifact(digest).ok(); }
  bool HasFile(const std::string& digest) { return artifacts_->Contains(digest); }

  TempDirectory folder_ = *TempDirectory::Create("amc_catalog_test");
  HookClock clock_{absl::FromUnixSeconds(1'000'000)};
  std::unique_ptr<ArtifactStore> artifacts_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<ArtifactCatalog> catalog_;
};

TEST_F(ArtifactCatalogTest, PutMakesFileAndRow) {
  const absl::StatusOr<v1::Artifact> artifact = Put("abc");
  ASSERT_TRUE(artifact.ok()) << artifact.status();
  EXPECT_EQ(artifact->digest(), Sha256Hex("abc"));
  EXPECT_EQ(artifact->size(), 3);
  EXPECT_EQ(artifact->name(), "net.onnx");
  EXPECT_EQ(artifact->create_time_ms(), 1'000'000'000);
  EXPECT_EQ(*artifacts_->Get(artifact->digest()), "abc");
  EXPECT_TRUE(HasRow(artifact->digest()));
  EXPECT_EQ(*catalog_->Bytes(), 3);
  clock_.Advance(absl::Hours(1));
  EXPECT_EQ(Put("abc")->create_time_ms(), 1'000'000'000);  // what was there first
  EXPECT_EQ(*catalog_->Bytes(), 3);
}

TEST_F(ArtifactCatalogTest, WhatIsNotAsAnnouncedLeavesNeither) {
  v1::Artifact header = Header("abc");
  const std::unique_ptr<ArtifactStore::Writer> writer = *artifacts_->NewWriter();
  ASSERT_TRUE(writer->Append("abd").ok());
  EXPECT_TRUE(absl::IsInvalidArgument(catalog_->Put(*writer, header).status()));
  EXPECT_FALSE(HasRow(header.digest()));
  EXPECT_FALSE(HasFile(header.digest()));
}

TEST_F(ArtifactCatalogTest, UseFindsWhatIsThereAndWhole) {
  const std::string digest = Sha256Hex("abc");
  EXPECT_TRUE(absl::IsNotFound(catalog_->Use(digest).status()));
  ASSERT_TRUE(Put("abc").ok());
  ASSERT_TRUE(catalog_->Use(digest).ok());
  EXPECT_EQ(catalog_->Use(digest)->name(), "net.onnx");
  for (const bool gone : {false, true}) {
    if (gone) {
      ASSERT_TRUE(artifacts_->Remove(digest).ok());
    } else {
      ASSERT_TRUE(WriteFileAtomically(*artifacts_->Path(digest), "abd").ok());
    }
    const absl::Status damaged = catalog_->Use(digest).status();
    EXPECT_TRUE(absl::IsNotFound(damaged)) << damaged;
    EXPECT_THAT(std::string(damaged.message()), HasSubstr("damaged or gone"));
    ASSERT_TRUE(Put("abc").ok());  // heals it
    EXPECT_TRUE(catalog_->Use(digest).ok());
    EXPECT_EQ(*artifacts_->Get(digest), "abc");
  }
}

TEST_F(ArtifactCatalogTest, QuotaCountsWhatIsStoredAndWhatIsArriving) {
  Options({.quota_bytes = 100});
  ASSERT_TRUE(Put(std::string(30, 'x')).ok());
  std::optional<ArtifactCatalog::Reservation> arriving;
  {
    absl::StatusOr<ArtifactCatalog::Reservation> room = catalog_->Reserve(kNew, 50);
    ASSERT_TRUE(room.ok()) << room.status();
    arriving.emplace(*std::move(room));
  }  // what was moved from gives nothing back
  const absl::Status full = catalog_->Reserve(kNew, 21).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()),
              HasSubstr("21 bytes do not fit into the quota of 100: 30 are stored, 50 are "
                        "arriving"));
  EXPECT_THAT(std::string(full.message()), HasSubstr("amc delete"));
  EXPECT_THAT(std::string(full.message()), HasSubstr("--disk-quota"));
  EXPECT_TRUE(catalog_->Reserve(kNew, 20).ok());  // fits exactly, and is given back at once
  EXPECT_TRUE(catalog_->Reserve(kNew, 20).ok());
  EXPECT_TRUE(catalog_->Reserve(kNew, 0).ok());
  arriving.reset();
  EXPECT_TRUE(catalog_->Reserve(kNew, 70).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(catalog_->Reserve(kNew, 71).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(
      catalog_->Reserve(kNew, std::numeric_limits<int64_t>::max()).status()));
  EXPECT_EQ(catalog_->quota_bytes(), 100);
}

// Its row counts already, whatever has become of its bytes.
TEST_F(ArtifactCatalogTest, ARepairNeedsNoMoreRoom) {
  Options({.quota_bytes = 100});
  const std::string bytes(60, 'x'), digest = Put(bytes)->digest();
  ASSERT_TRUE(WriteFileAtomically(*artifacts_->Path(digest), "damaged").ok());
  ASSERT_TRUE(absl::IsNotFound(catalog_->Use(digest).status()));
  clock_.Advance(absl::Hours(25));
  {
    const auto room = catalog_->Reserve(digest, 60);
    ASSERT_TRUE(room.ok()) << room.status();
    EXPECT_TRUE(catalog_->Reserve(kNew, 40).ok());
    EXPECT_TRUE(absl::IsResourceExhausted(catalog_->Reserve(kNew, 41).status()));
    ASSERT_TRUE(catalog_->Collect().ok());  // does not take the room away meanwhile
    EXPECT_EQ(*catalog_->Bytes(), 60);
    ASSERT_TRUE(Put(bytes).ok());
  }
  EXPECT_TRUE(catalog_->Use(digest).ok());
  EXPECT_EQ(*catalog_->Bytes(), 60);
  // Nor does anybody get more by announcing what is there as larger than it is.
  EXPECT_TRUE(absl::IsResourceExhausted(catalog_->Reserve(digest, 101).status()));
  EXPECT_TRUE(catalog_->Reserve(digest, 100).ok());
}

// Put asks for the time between the sync, which may take a minute, and what it does alone.
TEST_F(ArtifactCatalogTest, NobodyWaitsForBytesToReachTheDisk) {
  const std::unique_ptr<ArtifactStore::Writer> writer = *artifacts_->NewWriter();
  ASSERT_TRUE(writer->Append("abc").ok());
  bool sealed = false, collected = false;
  std::thread collection;
  clock_.hook = [&] {
    sealed = !writer->Append("").ok();
    std::promise<void> done;
    std::future<void> end = done.get_future();
    collection = std::thread([&, done = std::move(done)]() mutable {
      EXPECT_TRUE(catalog_->Collect().ok());
      done.set_value();
    });
    collected = end.wait_for(std::chrono::seconds(20)) == std::future_status::ready;
  };
  EXPECT_TRUE(catalog_->Put(*writer, Header("abc")).ok());
  EXPECT_TRUE(sealed);
  EXPECT_TRUE(collected);
  collection.join();
}

TEST_F(ArtifactCatalogTest, WithoutAQuotaThereIsRoomForAll) {
  // Announced sizes are whatever a client says: their sum may not overflow.
  const auto one = catalog_->Reserve(kNew, std::numeric_limits<int64_t>::max());
  const auto two = catalog_->Reserve(kNew, std::numeric_limits<int64_t>::max());
  EXPECT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(catalog_->quota_bytes(), 0);
}

TEST_F(ArtifactCatalogTest, CollectTakesFilesAndRowsOfWhatNobodyNeeds) {
  const std::string old = Put("old")->digest(), named = Put("named")->digest();
  MakeJob("j", named);
  clock_.Advance(absl::Hours(23));
  const std::string young = Put("young")->digest();
  ASSERT_TRUE(catalog_->Collect().ok());
  EXPECT_TRUE(HasRow(old) && HasFile(old));
  clock_.Advance(absl::Hours(2));
  ASSERT_TRUE(catalog_->Collect().ok());
  EXPECT_FALSE(HasRow(old));
  EXPECT_FALSE(HasFile(old));
  for (const std::string& kept : {named, young}) EXPECT_TRUE(HasRow(kept) && HasFile(kept));
  EXPECT_EQ(*catalog_->Bytes(), 10);

  ASSERT_TRUE(store_->DeleteJob("j").ok());
  ASSERT_TRUE(catalog_->Collect().ok());  // with its last job, not a day later
  EXPECT_FALSE(HasRow(named));
  EXPECT_FALSE(HasFile(named));
  EXPECT_TRUE(HasRow(young) && HasFile(young));
}

TEST_F(ArtifactCatalogTest, AUseKeepsAnArtifactForAnotherWhile) {
  const std::string digest = Put("abc")->digest();
  clock_.Advance(absl::Hours(20));
  ASSERT_TRUE(catalog_->Use(digest).ok());
  clock_.Advance(absl::Hours(20));
  ASSERT_TRUE(catalog_->Collect().ok());
  ASSERT_TRUE(Put("abc").ok());
  clock_.Advance(absl::Hours(20));
  ASSERT_TRUE(catalog_->Collect().ok());
  EXPECT_TRUE(HasRow(digest) && HasFile(digest));
  clock_.Advance(absl::Hours(5));
  ASSERT_TRUE(catalog_->Collect().ok());
  EXPECT_FALSE(HasRow(digest) || HasFile(digest));
}

TEST_F(ArtifactCatalogTest, CollectGoesOnWhereAFileIsMissingAlready) {
  const std::string one = Put("one")->digest(), two = Put("two")->digest();
  ASSERT_TRUE(artifacts_->Remove(std::min(one, two)).ok());
  clock_.Advance(absl::Hours(25));
  ASSERT_TRUE(catalog_->Collect().ok());
  for (const std::string& digest : {one, two}) EXPECT_FALSE(HasRow(digest) || HasFile(digest));
}

TEST_F(ArtifactCatalogTest, OneOfManyUploadsThatFitOnlyAloneGetsThrough) {
  Options({.quota_bytes = 1000});
  for (int round = 0; round < 10; ++round) {
    constexpr int kThreads = 4;
    std::atomic<int> stored = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        const auto room = catalog_->Reserve(kNew, 600);
        if (!room.ok()) return;
        ASSERT_TRUE(Put(std::string(600, static_cast<char>('a' + t))).ok());
        ++stored;
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(stored, 1);
    EXPECT_EQ(*catalog_->Bytes(), 600);
    clock_.Advance(absl::Hours(25));
    ASSERT_TRUE(catalog_->Collect().ok());
  }
}

// The artifact is a day old when it comes again: whichever comes first, collection or upload, in
// the end it is there.
TEST_F(ArtifactCatalogTest, AnUploadDuringACollectionEndsWithFileAndRow) {
  const std::string bytes = "abc", digest = Sha256Hex(bytes);
  for (int round = 0; round < 150; ++round) {
    ASSERT_TRUE(Put(bytes).ok());
    clock_.Advance(absl::Hours(25));
    std::thread collection([&] { EXPECT_TRUE(catalog_->Collect().ok()); });
    if (!catalog_->Use(digest).ok()) {
      EXPECT_TRUE(Put(bytes).ok());
    }
    collection.join();
    ASSERT_TRUE(HasRow(digest)) << round;
    ASSERT_TRUE(HasFile(digest)) << round;
  }
}

TEST_F(ArtifactCatalogTest, AWrittenFileIsNotCollectedBeforeItsRow) {
  const std::string bytes = "abc", digest = Sha256Hex(bytes);
  for (int round = 0; round < 150; ++round) {
    ASSERT_TRUE(Put(bytes).ok());
    clock_.Advance(absl::Hours(25));
    std::thread collection([&] { EXPECT_TRUE(catalog_->Collect().ok()); });
    EXPECT_TRUE(Put(bytes).ok());
    collection.join();
    ASSERT_TRUE(HasRow(digest)) << round;
    ASSERT_TRUE(HasFile(digest)) << round;
  }
}

// A job is accepted with its artifacts or told that they have gone; never without them.
TEST_F(ArtifactCatalogTest, ASubmissionDuringACollectionHasItsModelOrIsRefused) {
  const std::string bytes = "abc", digest = Sha256Hex(bytes);
  int accepted = 0;
  for (int round = 0; round < 100; ++round) {
    ASSERT_TRUE(Put(bytes).ok());
    clock_.Advance(absl::Hours(25));
    std::thread collection([&] { EXPECT_TRUE(catalog_->Collect().ok()); });
    v1::Job job;
    job.set_id(absl::StrCat("j", round));
    job.set_state(v1::JOB_STATE_CANCELLED);
    job.set_create_time_ms(absl::ToUnixMillis(clock_.Now()));
    job.mutable_spec()->set_model(digest);
    const absl::Status status = store_->CreateJob(job, job.id(), "hash", {}).status();
    collection.join();
    ASSERT_EQ(HasRow(digest), status.ok()) << status;
    ASSERT_EQ(HasFile(digest), status.ok()) << status;
    if (!status.ok()) {
      EXPECT_TRUE(absl::IsNotFound(status)) << status;
      continue;
    }
    ++accepted;
    ASSERT_TRUE(store_->DeleteJob(job.id()).ok());
  }
  RecordProperty("accepted", accepted);
}

}  // namespace
}  // namespace amc
