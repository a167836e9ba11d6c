// How `amc` deals with a server: uploads against a real one, and against fakes what it sends and
// what it shows of a server that refuses.
#include "server/cli/client.h"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "gmock/gmock.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "server/cli/follow.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::unique_ptr<Client> Connected(const std::string& address) {
  ClientFlags flags;
  flags.channel.address = address;
  return *Client::Connect(flags);
}

class UploadToServerTest : public ServerTest {};

TEST_F(UploadToServerTest, RepairsWhatIsDamagedThere) {
  const std::string bytes(3 << 20, 'x'), path = folder_.path() + "/file";
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  const auto client = Connected(server_->address());
  const std::string digest = Sha256Hex(bytes);
  const std::string there =
      options_.data_folder + "/artifacts/" + digest.substr(0, 2) + "/" + digest;
  for (const std::string damaged : {"", "short"}) {
    EXPECT_EQ(*client->Upload(path, v1::ARTIFACT_KIND_DATA), digest);
    EXPECT_TRUE(*ReadFile(there) == bytes);
    ASSERT_TRUE(WriteFileAtomically(there, damaged).ok());
  }
  EXPECT_EQ(*client->Upload(path, v1::ARTIFACT_KIND_DATA), digest);
  EXPECT_TRUE(*ReadFile(there) == bytes);
}

TEST_F(UploadToServerTest, OfAnEmptyFileNeedsNoBytes) {
  const std::string path = folder_.path() + "/file";
  ASSERT_TRUE(WriteFileAtomically(path, "").ok());
  const auto client = Connected(server_->address());
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(*client->Upload(path, v1::ARTIFACT_KIND_DATA), Sha256Hex(""));
  }
}

// Has one artifact or none, and remembers the bytes that came with each header.
class FakeArtifactService : public v1::ArtifactService::Service {
 public:
  grpc::Status GetArtifact(grpc::ServerContext* /*context*/,
                           const v1::GetArtifactRequest* /*request*/,
                           v1::Artifact* /*response*/) override {
    return has ? grpc::Status::OK : grpc::Status(grpc::StatusCode::NOT_FOUND, "not here");
  }
  grpc::Status UploadArtifact(grpc::ServerContext* /*context*/,
                              grpc::ServerReader<v1::UploadArtifactRequest>* reader,
                              v1::Artifact* /*response*/) override {
    v1::UploadArtifactRequest message;
    reader->Read(&message);
    const int64_t size = message.header().size();
    int64_t received = 0;
    while (reader->Read(&message)) received += static_cast<int64_t>(message.chunk().size());
    uploads.push_back(received);
    if (has && received == 0) return refusal;
    return received == size ? grpc::Status::OK
                            : grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "size");
  }

  bool has = false;
  grpc::Status refusal;
  std::vector<int64_t> uploads;
};

// Refuses a number of watchers, then tells of a job that has succeeded.
class FakeJobService : public v1::JobService::Service {
 public:
  grpc::Status GetJob(grpc::ServerContext* /*context*/, const v1::GetJobRequest* /*request*/,
                      v1::Job* response) override {
    response->set_id("j");
    response->set_state(v1::JOB_STATE_SUCCEEDED);
    return grpc::Status::OK;
  }
  grpc::Status WatchJob(grpc::ServerContext* /*context*/, const v1::WatchJobRequest* /*request*/,
                        grpc::ServerWriter<v1::JobEvent>* /*writer*/) override {
    if (refusals-- > 0) return {grpc::StatusCode::UNAVAILABLE, "3 streams are open"};
    return grpc::Status::OK;
  }

  std::atomic<int> refusals = 0;
};

class ClientTest : public testing::Test {
 protected:
  ClientTest() {
    const std::string address = "unix:" + folder_.path() + "/socket";
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials());
    builder.RegisterService(&artifacts_);
    builder.RegisterService(&jobs_);
    server_ = builder.BuildAndStart();
    client_ = Connected(address);
  }
  absl::Status Upload(const std::string& bytes) {
    const std::string path = folder_.path() + "/file";
    EXPECT_TRUE(WriteFileAtomically(path, bytes).ok());
    return client_->Upload(path, v1::ARTIFACT_KIND_MODEL).status();
  }
  // What following the job says on stderr.
  std::string Follow(bool json) {
    testing::internal::CaptureStderr();
    FollowOptions options;
    options.json = json;
    const absl::StatusOr<v1::Job> job = FollowJob(*client_, "j", options);
    EXPECT_TRUE(job.ok()) << job.status();
    return testing::internal::GetCapturedStderr();
  }

  TempDirectory folder_ = *TempDirectory::Create();
  FakeArtifactService artifacts_;
  FakeJobService jobs_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(ClientTest, SendsOnlyAHeaderOfWhatTheServerHasSoThatItNotesTheUse) {
  artifacts_.has = true;
  EXPECT_TRUE(Upload("bytes").ok());
  EXPECT_THAT(artifacts_.uploads, ElementsAre(0));
}

TEST_F(ClientTest, SendsTheBytesWhereTheServerHasNoneOrDamagedOnes) {
  EXPECT_TRUE(Upload("bytes").ok());
  EXPECT_THAT(artifacts_.uploads, ElementsAre(5));
  artifacts_.has = true;
  artifacts_.refusal = {grpc::StatusCode::INVALID_ARGUMENT, "0 bytes arrived"};
  EXPECT_TRUE(Upload("bytes").ok());
  EXPECT_THAT(artifacts_.uploads, ElementsAre(5, 0, 5));
}

TEST_F(ClientTest, OtherErrorsOfAnUploadAreErrors) {
  artifacts_.has = true;
  artifacts_.refusal = {grpc::StatusCode::RESOURCE_EXHAUSTED, "full"};
  const absl::Status status = Upload("bytes");
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("/file"), HasSubstr("full")));
  EXPECT_THAT(artifacts_.uploads, ElementsAre(0));
}

TEST_F(ClientTest, FollowingShowsOnceWhyTheServerTakesNoMoreWatchers) {
  for (const bool json : {false, true}) {
    jobs_.refusals = 4;
    const std::string said = Follow(json);
    const std::string why = "3 streams are open";
    EXPECT_THAT(said, HasSubstr(why));
    EXPECT_THAT(said.substr(said.find(why) + why.size()), Not(HasSubstr(why)));
  }
}

TEST_F(ClientTest, FollowingSaysNothingOfAServerThatStartsAgain) {
  jobs_.refusals = 1;
  EXPECT_THAT(Follow(false), IsEmpty());
}

}  // namespace
}  // namespace amc
