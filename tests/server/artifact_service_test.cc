// Uploads and downloads while the guard of streams looks: what takes the server long is not held
// against the client.
#include "server/artifact_service.h"

#include <atomic>
#include <functional>
#include <memory>

#include "base/file.h"
#include "base/sha256.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

// A clock that lets something happen whenever it is asked.
class HookClock : public FakeClock {
 public:
  using FakeClock::FakeClock;
  absl::Time Now() const override {
    if (hook) hook();
    return FakeClock::Now();
  }
  std::function<void()> hook;
};

class ArtifactServiceTest : public ::testing::Test {
 protected:
  ArtifactServiceTest() {
    grpc::ServerBuilder builder;
    const std::string address = "unix:" + folder_.path() + "/socket";
    builder.AddListeningPort(address, grpc::InsecureServerCredentials());
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    stub_ = v1::ArtifactService::NewStub(
        grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  }
  ~ArtifactServiceTest() override { server_->Shutdown(); }

  grpc::Status Upload(const std::string& bytes) {
    grpc::ClientContext context;
    v1::Artifact stored;
    const auto writer = stub_->UploadArtifact(&context, &stored);
    v1::UploadArtifactRequest request;
    request.mutable_header()->set_digest(Sha256Hex(bytes));
    request.mutable_header()->set_size(static_cast<int64_t>(bytes.size()));
    request.mutable_header()->set_kind(v1::ARTIFACT_KIND_DATA);
    writer->Write(request);
    for (size_t at = 0; at < bytes.size(); at += kChunk) {
      request.set_chunk(bytes.substr(at, kChunk));
      if (!writer->Write(request)) break;  // it is known
    }
    writer->WritesDone();
    return writer->Finish();
  }

  static constexpr size_t kChunk = size_t{1} << 20;
  TempDirectory folder_ = *TempDirectory::Create("amc_artifact_service_test");
  std::unique_ptr<ArtifactStore> artifacts_ = *ArtifactStore::Open(folder_.path() + "/artifacts");
  std::unique_ptr<Store> store_ = *OpenSqliteStore(folder_.path() + "/amc.db");
  HookClock clock_{absl::FromUnixSeconds(1'000'000)};          // the catalog's
  HookClock streams_clock_{absl::FromUnixSeconds(1'000'000)};  // the guard's
  StreamGuard streams_{&streams_clock_, 4, absl::Minutes(1)};
  ArtifactCatalog catalog_{artifacts_.get(), store_.get(), &clock_, {}};
  ArtifactServiceImpl service_{&catalog_, store_.get(), &streams_};
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::ArtifactService::Stub> stub_;
};

// The catalog asks for the time once it has synced the bytes of a new artifact, and once it has
// read those of a known one: either has taken an hour, and the guard's timer runs.
TEST_F(ArtifactServiceTest, AnUploadMayWaitForTheServersDisk) {
  std::atomic<int> hours = 0;
  clock_.hook = [&] {
    ++hours;
    streams_clock_.Advance(absl::Hours(1));
    streams_.CancelIdle();
  };
  for (const bool known : {false, true}) {
    hours = 0;
    const grpc::Status status = Upload("abc");
    EXPECT_TRUE(status.ok()) << (known ? "known: " : "new: ") << status.error_message();
    EXPECT_GE(hours, 1);
  }
}

TEST_F(ArtifactServiceTest, WhatADownloadSkipsCountsAsMovement) {
  constexpr size_t kChunks = 12;
  const std::string bytes(kChunks * kChunk, 'x');
  ASSERT_TRUE(Upload(bytes).ok());
  std::atomic<size_t> looks = 0;
  streams_clock_.hook = [&] { ++looks; };
  v1::DownloadArtifactRequest request;
  request.set_digest(Sha256Hex(bytes));
  request.set_offset(static_cast<int64_t>(bytes.size()));
  grpc::ClientContext context;
  const auto reader = stub_->DownloadArtifact(&context, request);
  v1::DownloadArtifactResponse response;
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_GE(looks, kChunks);  // every chunk that was read noted the time
}

}  // namespace
}  // namespace amc
