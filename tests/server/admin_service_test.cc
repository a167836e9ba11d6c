// How the server is, copies of what it knows, quotas, and what goes with a job.
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/status_convert.h"
#include "storage/store.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

class AdminServiceTest : public ServerTest {
 protected:
  v1::ServerStatus Status() {
    v1::ServerStatus status;
    grpc::ClientContext context;
    EXPECT_TRUE(admin_->GetServerStatus(&context, {}, &status).ok());
    return status;
  }
  // Streams a copy of the database into `path`.
  absl::Status Backup(const std::string& path) {
    grpc::ClientContext context;
    const auto reader = admin_->BackupDatabase(&context, {});
    std::string bytes;
    int64_t size = -1;
    v1::BackupDatabaseResponse response;
    while (reader->Read(&response)) {
      if (response.has_size()) size = response.size();
      bytes += response.chunk();
    }
    const absl::Status status = FromGrpcStatus(reader->Finish());
    if (!status.ok()) return status;
    EXPECT_EQ(static_cast<int64_t>(bytes.size()), size);
    return WriteFileAtomically(path, bytes);
  }
  std::vector<std::string> Artifacts() {
    std::vector<std::string> digests;
    v1::ListArtifactsRequest request;
    request.set_page_size(1);
    do {
      v1::ListArtifactsResponse response;
      grpc::ClientContext context;
      EXPECT_TRUE(artifacts_->ListArtifacts(&context, request, &response).ok());
      for (const v1::Artifact& artifact : response.artifacts()) {
        digests.push_back(artifact.digest());
      }
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
    return digests;
  }
  grpc::Status TryUpload(const std::string& bytes) {
    grpc::ClientContext context;
    v1::Artifact stored;
    const auto writer = artifacts_->UploadArtifact(&context, &stored);
    v1::UploadArtifactRequest request;
    request.mutable_header()->set_digest(Sha256Hex(bytes));
    request.mutable_header()->set_size(static_cast<int64_t>(bytes.size()));
    request.mutable_header()->set_kind(v1::ARTIFACT_KIND_DATA);
    writer->Write(request);
    request.set_chunk(bytes);
    writer->Write(request);
    writer->WritesDone();
    return writer->Finish();
  }
  void Delete(const std::string& id) {
    v1::DeleteJobRequest request;
    request.set_id(id);
    v1::DeleteJobResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(jobs_->DeleteJob(&context, request, &response).ok());
  }
};

TEST_F(AdminServiceTest, SaysHowTheServerIs) {
  v1::ServerStatus status = Status();
  EXPECT_EQ(status.workers(), 0);
  EXPECT_EQ(status.jobs_running(), 0);
  EXPECT_EQ(status.artifact_bytes(), 0);
  EXPECT_GT(status.disk_free_bytes(), 0);
  EXPECT_GE(status.now_ms(), status.start_time_ms());
  const std::string id = Submit(Spec(6), "r")->id();
  EXPECT_EQ(Status().artifact_bytes(),
            static_cast<int64_t>(TestModel().size() + TestPack().size()));
  FakeWorker worker(channel_, "w");
  WaitForEnd(id);
  status = Status();
  EXPECT_EQ(status.workers(), 1);
  EXPECT_EQ(status.completions(), 8);  // baseline, six candidates, finish
  EXPECT_GT(status.completions_per_minute(), 0);
  EXPECT_GT(status.database_bytes(), 0);
}

TEST_F(AdminServiceTest, CopiesItsDatabaseWhileItWorks) {
  FakeWorker worker(channel_, "w");
  const std::string id = Submit(Spec(200), "r")->id();
  WaitForEpisodes(id, 20);
  const std::string copy = folder_.path() + "/copy.db";
  ASSERT_TRUE(Backup(copy).ok());
  ASSERT_EQ(WaitForEnd(id).state(), v1::JOB_STATE_SUCCEEDED);
  const std::vector<v1::Episode> all = Episodes(id);

  const auto store = *OpenSqliteStore(copy);
  const v1::Job job = *store->GetJob(id);
  EXPECT_GE(job.episodes_done(), 20);
  v1::ListEpisodesRequest request;
  request.set_job(id);
  request.set_page_size(1000);
  request.set_with_steps(true);
  const v1::ListEpisodesResponse copied = *store->ListEpisodes(request);
  ASSERT_EQ(copied.episodes_size(), job.episodes_done());
  for (int i = 0; i < copied.episodes_size(); ++i) {
    EXPECT_EQ(copied.episodes(i).SerializeAsString(),
              all[static_cast<size_t>(i)].SerializeAsString());
  }
}

TEST_F(AdminServiceTest, RemovesArtifactsWithTheLastJobThatUsedThem) {
  FakeWorker worker(channel_, "w");
  const std::string first = Submit(Spec(2), "one")->id();
  ASSERT_EQ(WaitForEnd(first).state(), v1::JOB_STATE_SUCCEEDED);
  const std::string second = Submit(Spec(2), "two")->id();
  ASSERT_EQ(WaitForEnd(second).state(), v1::JOB_STATE_SUCCEEDED);
  const std::string unused = Upload("uploaded, not yet submitted", v1::ARTIFACT_KIND_DATA);
  EXPECT_EQ(Artifacts().size(), 3U);
  Delete(first);
  EXPECT_EQ(Artifacts().size(), 3U);  // the other job's too
  Delete(second);
  EXPECT_EQ(Artifacts(), std::vector<std::string>{unused});
  EXPECT_EQ(Status().artifact_bytes(), 27);
  EXPECT_TRUE(Submit(Spec(2), "three").ok());  // uploads them anew
}

TEST_F(AdminServiceTest, KeepsToItsQuotaAndSaysHowToMakeRoom) {
  options_.disk_quota_bytes = 100;
  RestartServer();
  EXPECT_TRUE(TryUpload(std::string(60, 'a')).ok());
  const grpc::Status status = TryUpload(std::string(41, 'b'));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("41 bytes do not fit into the quota of 100"));
  EXPECT_THAT(status.error_message(), HasSubstr("amc delete"));
  EXPECT_TRUE(TryUpload(std::string(40, 'c')).ok());
  EXPECT_TRUE(TryUpload(std::string(60, 'a')).ok());  // a repeat takes no room
}

TEST_F(AdminServiceTest, TakesNoMoreJobsThanItMay) {
  options_.max_unfinished_jobs = 2;
  RestartServer();
  ASSERT_TRUE(Submit(Spec(), "one").ok());
  ASSERT_TRUE(Submit(Spec(), "two").ok());
  EXPECT_TRUE(Submit(Spec(), "two").ok());  // a repeat
  const absl::Status status = Submit(Spec(), "three").status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("--max-jobs"));
}

}  // namespace
}  // namespace amc
