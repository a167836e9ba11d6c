// amc backup against a fake server: what lands on the disk, and what does not.
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "amc/v1/admin.grpc.pb.h"
#include "amc/v1/artifact.grpc.pb.h"
#include "base/file.h"
#include "base/sha256.h"
#include "gmock/gmock.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "server/cli/backup.h"
#include "server/cli/folder_lock.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Sends the database that it is given, two bytes a message.
class FakeAdminService : public v1::AdminService::Service {
 public:
  grpc::Status BackupDatabase(grpc::ServerContext* /*context*/,
                              const v1::BackupDatabaseRequest* /*request*/,
                              grpc::ServerWriter<v1::BackupDatabaseResponse>* writer) override {
    v1::BackupDatabaseResponse response;
    response.set_size(announced);
    writer->Write(response);
    for (size_t i = 0; i < database.size(); i += 2) {
      response.set_chunk(database.substr(i, 2));
      writer->Write(response);
    }
    return grpc::Status::OK;
  }
  void Set(const std::string& bytes) {
    database = bytes;
    announced = static_cast<int64_t>(bytes.size());
  }

  std::string database;
  int64_t announced = 0;
};

// Lists one artifact a page; sends an error for those that have no bytes.
class FakeArtifactService : public v1::ArtifactService::Service {
 public:
  grpc::Status ListArtifacts(grpc::ServerContext* /*context*/,
                             const v1::ListArtifactsRequest* request,
                             v1::ListArtifactsResponse* response) override {
    const size_t at = request->page_token().empty() ? 0 : std::stoul(request->page_token());
    if (at < listed.size()) *response->add_artifacts() = listed[at];
    if (at + 1 < listed.size()) response->set_next_page_token(std::to_string(at + 1));
    return grpc::Status::OK;
  }
  grpc::Status DownloadArtifact(grpc::ServerContext* /*context*/,
                                const v1::DownloadArtifactRequest* request,
                                grpc::ServerWriter<v1::DownloadArtifactResponse>* writer) override {
    asked.push_back(request->digest());
    const auto found = bytes.find(request->digest());
    if (found == bytes.end()) return {error, "as the test wants it"};
    v1::DownloadArtifactResponse response;
    response.set_chunk(found->second);
    writer->Write(response);
    return grpc::Status::OK;
  }
  // Returns its digest.
  std::string Add(const std::string& content) {
    v1::Artifact artifact;
    artifact.set_digest(Sha256Hex(content));
    artifact.set_size(static_cast<int64_t>(content.size()));
    listed.push_back(artifact);
    bytes[artifact.digest()] = content;
    return artifact.digest();
  }

  std::vector<v1::Artifact> listed;
  std::map<std::string, std::string> bytes;
  std::vector<std::string> asked;
  grpc::StatusCode error = grpc::StatusCode::NOT_FOUND;
};

class BackupTest : public testing::Test {
 protected:
  BackupTest() {
    ClientFlags flags;
    flags.channel.address = "unix:" + home_.path() + "/socket";
    grpc::ServerBuilder builder;
    builder.AddListeningPort(flags.channel.address, grpc::InsecureServerCredentials());
    builder.RegisterService(&admin_);
    builder.RegisterService(&artifacts_);
    server_ = builder.BuildAndStart();
    client_ = *Client::Connect(flags);
    admin_.Set("first database");
  }
  std::string Stored(const std::string& digest) {
    const auto bytes = ReadFile(folder_ + "/artifacts/" + digest.substr(0, 2) + "/" + digest);
    return bytes.ok() ? *bytes : "";
  }
  std::string Database() { return *ReadFile(folder_ + "/amc.db"); }

  TempDirectory home_ = *TempDirectory::Create();
  const std::string folder_ = home_.path() + "/there/backup";
  FakeAdminService admin_;
  FakeArtifactService artifacts_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(BackupTest, CopiesDatabaseAndArtifacts) {
  const std::string one = artifacts_.Add("one"), two = artifacts_.Add("number two");
  const auto done = BackUp(*client_, folder_);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(Database(), "first database");
  EXPECT_EQ(Stored(one), "one");
  EXPECT_EQ(Stored(two), "number two");
  EXPECT_EQ(done->database_bytes, 14);
  EXPECT_EQ(done->artifacts, 2);
  EXPECT_EQ(done->copied, 2);
  EXPECT_EQ(done->copied_bytes, 13);
  EXPECT_TRUE(std::filesystem::is_empty(folder_ + "/artifacts/tmp"));
}

TEST_F(BackupTest, ASecondOneCopiesOnlyWhatIsNew) {
  artifacts_.Add("one");
  ASSERT_TRUE(BackUp(*client_, folder_).ok());
  artifacts_.asked.clear();
  const std::string two = artifacts_.Add("two");
  admin_.Set("second");
  ASSERT_TRUE(WriteFileAtomically(folder_ + "/amc.db-wal", "of the first").ok());
  const auto done = BackUp(*client_, folder_);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(Database(), "second");
  EXPECT_THAT(artifacts_.asked, ElementsAre(two));
  EXPECT_EQ(done->artifacts, 2);
  EXPECT_EQ(done->copied, 1);
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/amc.db-wal"));
}

TEST_F(BackupTest, SkipsAnArtifactThatWasDeletedMeanwhile) {
  artifacts_.bytes.erase(artifacts_.Add("gone"));
  const std::string kept = artifacts_.Add("kept");
  const auto done = BackUp(*client_, folder_);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->artifacts, 1);
  EXPECT_EQ(Stored(kept), "kept");
}

TEST_F(BackupTest, ADamagedArtifactDoesNotKeepBackTheOthers) {
  const std::string damaged = artifacts_.Add("as it was");
  artifacts_.bytes[damaged] = "as it is.";
  const std::string kept = artifacts_.Add("kept");
  const auto done = BackUp(*client_, folder_);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_TRUE(absl::IsDataLoss(done->damaged));
  EXPECT_THAT(std::string(done->damaged.message()), HasSubstr(damaged));
  EXPECT_EQ(Stored(damaged), "");
  EXPECT_EQ(Stored(kept), "kept");
  EXPECT_EQ(Database(), "first database");
}

TEST_F(BackupTest, TheOldDatabaseStaysUntilTheNewBackupIsWhole) {
  ASSERT_TRUE(BackUp(*client_, folder_).ok());
  admin_.Set("second");
  artifacts_.error = grpc::StatusCode::RESOURCE_EXHAUSTED;
  artifacts_.bytes.erase(artifacts_.Add("not to be had"));
  EXPECT_TRUE(absl::IsResourceExhausted(BackUp(*client_, folder_).status()));
  EXPECT_EQ(Database(), "first database");
  artifacts_.listed.clear();
  admin_.announced = 7;  // one more than come
  EXPECT_TRUE(absl::IsDataLoss(BackUp(*client_, folder_).status()));
  EXPECT_EQ(Database(), "first database");
}

TEST_F(BackupTest, NeverOverwritesAServersFolder) {
  ASSERT_TRUE(MakeDirectories(folder_).ok());
  {
    const auto lock = FolderLock::Take(folder_ + "/amc.db.lock", "");
    ASSERT_TRUE(lock.ok());
    const absl::Status status = BackUp(*client_, folder_).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status));
    EXPECT_THAT(std::string(status.message()), HasSubstr("a server is using this folder"));
  }
  EXPECT_THAT(std::string(BackUp(*client_, folder_).status().message()),
              HasSubstr("a server has used this folder"));
  std::filesystem::remove(folder_ + "/amc.db.lock");
  const auto other = FolderLock::Take(folder_ + "/backup.lock", "");
  EXPECT_THAT(std::string(BackUp(*client_, folder_).status().message()),
              HasSubstr("another `amc backup`"));
}

TEST_F(BackupTest, ADigestThatIsNoneNeverBecomesAPath) {
  artifacts_.Add("x");
  artifacts_.listed[0].set_digest("../../../escaped");
  EXPECT_FALSE(BackUp(*client_, folder_).ok());
}

}  // namespace
}  // namespace amc
