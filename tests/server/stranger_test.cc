// Clients that mean ill or are broken: refused with a reason, while everybody else is served.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/channel.h"
#include "server/rpc/status_convert.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

class StrangerTest : public ServerTest {
 protected:
  void SetUp() override {
    options_.stream_idle = absl::Milliseconds(800);  // more than a watcher looks up
    ServerTest::SetUp();
    options_.address = "127.0.0.1:0";
    RestartServer();
  }
  // That an honest worker and client get a whole job done meanwhile.
  void ExpectServiceAsUsual(const std::string& request_id) {
    FakeWorker worker(channel_, absl::StrCat("honest-", request_id));
    const v1::Job job = WaitForEnd(Submit(Spec(4), request_id)->id());
    EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  }
  std::string Register(const std::string& uuid) {
    v1::RegisterWorkerResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(workers_->RegisterWorker(&context, FakeIdentity(uuid), &response).ok());
    return response.session();
  }
  v1::Lease Lease(const std::string& session) {
    v1::LeaseTaskRequest request;
    request.set_session(session);
    request.set_request_id("lease");
    request.set_wait_ms(5000);
    v1::LeaseTaskResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(workers_->LeaseTask(&context, request, &response).ok());
    EXPECT_TRUE(response.has_lease());
    return response.lease();
  }
  grpc::Status Complete(const std::string& session, const v1::Lease& lease) {
    v1::CompleteTaskRequest request;
    request.set_session(session);
    request.mutable_lease()->set_job(lease.job());
    request.mutable_lease()->set_task(lease.task());
    request.mutable_lease()->set_epoch(lease.epoch());
    *request.mutable_result() = std::get<v1::TaskResult>(*FakeWorker::Measure(lease));
    v1::CompleteTaskResponse response;
    grpc::ClientContext context;
    return workers_->CompleteTask(&context, request, &response);
  }
};

// Connections that say nothing, a few bytes, or half a greeting.
TEST_F(StrangerTest, MuteConnectionsDisturbNobody) {
  const std::string address = server_->address();
  int port = 0;
  ASSERT_TRUE(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port));
  std::vector<int> sockets;
  for (int i = 0; i < 100; ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in peer{};
    peer.sin_family = AF_INET;
    peer.sin_port = htons(static_cast<uint16_t>(port));
    peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)), 0);
    const std::string greeting = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const std::string said = i % 3 == 0   ? ""
                             : i % 3 == 1 ? greeting.substr(0, 10)
                                          : greeting + std::string(20, '\xff');
    EXPECT_EQ(send(fd, said.data(), said.size(), MSG_NOSIGNAL), static_cast<ssize_t>(said.size()));
    sockets.push_back(fd);
  }
  ExpectServiceAsUsual("mute");
  for (const int fd : sockets) close(fd);
}

TEST_F(StrangerTest, AnUploadThatStandsStillIsCancelled) {
  grpc::ClientContext context;
  v1::Artifact stored;
  const auto writer = artifacts_->UploadArtifact(&context, &stored);
  v1::UploadArtifactRequest request;
  request.mutable_header()->set_digest(Sha256Hex("slow"));
  request.mutable_header()->set_size(4);
  request.mutable_header()->set_kind(v1::ARTIFACT_KIND_DATA);
  ASSERT_TRUE(writer->Write(request));
  ExpectServiceAsUsual("slow");
  // Finish returns although neither the bytes nor WritesDone ever come.
  EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  v1::GetArtifactRequest get;
  get.set_digest(Sha256Hex("slow"));
  grpc::ClientContext second;
  EXPECT_EQ(artifacts_->GetArtifact(&second, get, &stored).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(StrangerTest, ADownloadThatIsNotReadIsCancelled) {
  const std::string digest = Upload(std::string(40 << 20, 'x'), v1::ARTIFACT_KIND_DATA);
  v1::DownloadArtifactRequest request;
  request.set_digest(digest);
  grpc::ClientContext context;
  const auto reader = artifacts_->DownloadArtifact(&context, request);
  absl::SleepFor(absl::Seconds(2));  // flow control stops the server meanwhile
  v1::DownloadArtifactResponse response;
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(StrangerTest, AnEnvironmentsStreamThatStandsStillIsCancelled) {
  options_.environment_idle = absl::Milliseconds(300);
  RestartServer();
  grpc::ClientContext context;
  const auto stream = environments_->StepStream(&context);
  v1::StepResponse response;
  EXPECT_FALSE(stream->Read(&response));  // returns
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(StrangerTest, StreamsAreLimitedInNumberAndWatchersMayWait) {
  options_.max_streams = 2;
  RestartServer();
  const std::string id = Submit(Spec(4), "r")->id();  // nobody works on it
  v1::WatchJobRequest request;
  request.set_id(id);
  grpc::ClientContext contexts[3];
  const auto first = jobs_->WatchJob(&contexts[0], request);
  const auto second = jobs_->WatchJob(&contexts[1], request);
  v1::JobEvent event;
  ASSERT_TRUE(first->Read(&event));
  ASSERT_TRUE(second->Read(&event));
  const auto third = jobs_->WatchJob(&contexts[2], request);
  EXPECT_FALSE(third->Read(&event));
  const grpc::Status refused = third->Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(refused.error_message(), HasSubstr("2 streams are open"));
  absl::SleepFor(absl::Milliseconds(1500));  // more than a stream may stand still
  FakeWorker worker(channel_, "w");
  int64_t last = 0;
  while (first->Read(&event)) last = std::max(last, event.sequence());
  EXPECT_TRUE(first->Finish().ok());
  EXPECT_EQ(last, GetJob(id).last_sequence());
  while (second->Read(&event)) {
  }
}

TEST_F(StrangerTest, AnOversizedMessageIsRefusedAndNothingElse) {
  v1::SubmitJobRequest request;
  request.set_request_id("large");
  request.mutable_spec()->set_name(std::string(9 << 20, 'x'));
  v1::Job job;
  grpc::ClientContext context;
  EXPECT_EQ(jobs_->SubmitJob(&context, request, &job).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  ExpectServiceAsUsual("after");
}

TEST_F(StrangerTest, NobodyCompletesAnothersLease) {
  ASSERT_TRUE(Submit(Spec(), "r").ok());
  const std::string holder = Register("holder");
  const v1::Lease lease = Lease(holder);
  const grpc::Status stolen = Complete(Register("thief"), lease);
  EXPECT_EQ(stolen.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(stolen.error_message(), HasSubstr("is leased by holder, not by thief"));
  EXPECT_EQ(Complete("a made-up session", lease).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(Complete(holder, lease).ok());
}

// Nor by registering as its holder: that takes the secret that the uuid is made of.
TEST_F(StrangerTest, NobodyRegistersAsAnother) {
  v1::RegisterWorkerRequest holder = FakeIdentity(Sha256Hex("a secret"));
  holder.set_secret("a secret");
  v1::RegisterWorkerResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(workers_->RegisterWorker(&context, holder, &response).ok());
  }
  for (const char* secret : {"", "a guess"}) {
    v1::RegisterWorkerRequest thief = holder;
    thief.set_secret(secret);
    v1::RegisterWorkerResponse stolen;
    grpc::ClientContext context;
    EXPECT_EQ(workers_->RegisterWorker(&context, thief, &stolen).error_code(),
              grpc::StatusCode::PERMISSION_DENIED);
  }
  ASSERT_TRUE(Submit(Spec(), "r").ok());
  EXPECT_TRUE(Complete(response.session(), Lease(response.session())).ok());  // it still holds
}

// Nor can anybody end another's lease by calling it crashed: that takes the session.
TEST_F(StrangerTest, NobodyReportsAnothersCrash) {
  ASSERT_TRUE(Submit(Spec(), "r").ok());
  const std::string holder = Register("holder");
  const v1::Lease lease = Lease(holder);
  v1::ReportCrashRequest request;
  request.set_session("holder");  // the uuid is no secret
  request.set_message("killed by signal 11");
  v1::ReportCrashResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(workers_->ReportCrash(&context, request, &response).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(Complete(holder, lease).ok());
}

TEST_F(StrangerTest, ACompletionForADeletedJobIsAborted) {
  const std::string id = Submit(Spec(), "r")->id();
  const std::string session = Register("late");
  const v1::Lease lease = Lease(session);
  v1::CancelJobRequest cancel;
  cancel.set_id(id);
  v1::Job job;
  grpc::ClientContext context;
  ASSERT_TRUE(jobs_->CancelJob(&context, cancel, &job).ok());
  v1::DeleteJobRequest remove;
  remove.set_id(id);
  v1::DeleteJobResponse removed;
  grpc::ClientContext second;
  ASSERT_TRUE(jobs_->DeleteJob(&second, remove, &removed).ok());
  const grpc::Status status = Complete(session, lease);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_THAT(status.error_message(), HasSubstr(id));
  ExpectServiceAsUsual("after");
}

TEST_F(StrangerTest, AWorkerOfAnotherVersionIsToldBothVersions) {
  v1::RegisterWorkerRequest request = FakeIdentity("old");
  request.mutable_capabilities()->set_version("0.0.1");
  v1::RegisterWorkerResponse response;
  grpc::ClientContext context;
  const grpc::Status status = workers_->RegisterWorker(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("0.0.1"));
  EXPECT_THAT(status.error_message(), HasSubstr(std::string(Version())));
}

}  // namespace
}  // namespace amc
