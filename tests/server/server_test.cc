// The server as a whole: addresses, TLS, health, reflection, artifacts, environments.
#include "server/server.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/sha256.h"
#include "env/amc_env.h"
#include "env/graph/onnx_import.h"
#include "gmock/gmock.h"
#include "grpcpp/generic/generic_stub.h"
#include "gtest/gtest.h"
#include "server/rpc/channel.h"
#include "server/rpc/status_convert.h"
#include "server/submission.h"
#include "tests/require.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

// Calls a method that has no generated stub here: bytes in, bytes out.
absl::StatusOr<std::string> CallRaw(const std::shared_ptr<grpc::Channel>& channel,
                                    const std::string& method, const std::string& request) {
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  const grpc::Slice slice(request);
  const auto call = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(&slice, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  if (!status.ok()) return FromGrpcStatus(status);
  grpc::Slice all;
  response.DumpToSingleSlice(&all).ok();
  return std::string(reinterpret_cast<const char*>(all.begin()), all.size());
}

class WholeServerTest : public ServerTest {};

TEST_F(WholeServerTest, RefusesAPortThatIsInUse) {
  ServerOptions first = options_;
  first.address = "127.0.0.1:0";
  first.data_folder = folder_.path() + "/other";
  const auto running = Server::Start(first);
  ASSERT_TRUE(running.ok()) << running.status();
  ServerOptions second = first;
  second.address = (*running)->address();
  second.data_folder = folder_.path() + "/third";
  const absl::Status status = Server::Start(second).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr((*running)->address() + " is in use"));
  // The same for a socket in the file system, which gRPC would take over silently.
  second.address = options_.address;
  EXPECT_THAT(std::string(Server::Start(second).status().message()), HasSubstr("is in use"));
}

TEST_F(WholeServerTest, RefusesAStoreThatAnotherServerHasOpen) {
  ServerOptions second = options_;
  second.address = "unix:" + folder_.path() + "/socket2";
  EXPECT_TRUE(absl::IsFailedPrecondition(Server::Start(second).status()));
}

TEST_F(WholeServerTest, RefusesOpenAddressesWithoutTlsAndToken) {
  ServerOptions open = options_;
  open.data_folder = folder_.path() + "/other";
  open.address = "0.0.0.0:0";
  const absl::Status status = Server::Start(open).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("TLS"));
  open.address = "127.0.0.1:0";
  open.token = "secret";
  EXPECT_TRUE(absl::IsInvalidArgument(Server::Start(open).status()));
  open.address = "nonsense";
  EXPECT_TRUE(absl::IsInvalidArgument(Server::Start(open).status()));
}

TEST_F(WholeServerTest, AsksForTheTokenOverTls) {
  const std::string key = folder_.path() + "/key.pem", certificate = folder_.path() + "/cert.pem";
  const std::string command = absl::StrCat(
      "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext "
      "subjectAltName=DNS:localhost -keyout ",
      key, " -out ", certificate, " 2>/dev/null");
  if (std::system(command.c_str()) != 0) AMC_SKIP_WITHOUT("there is no openssl command");
  ServerOptions options = options_;
  options.address = "localhost:0";
  options.data_folder = folder_.path() + "/tls";
  options.tls_certificate_file = certificate;
  options.tls_key_file = key;
  options.token = "secret";
  const auto server = Server::Start(options);
  ASSERT_TRUE(server.ok()) << server.status();
  const auto list = [&](const std::string& token) {
    ChannelOptions channel;
    channel.address = (*server)->address();
    channel.ca_file = certificate;
    channel.token = token;
    const auto stub = v1::JobService::NewStub(*MakeChannel(channel));
    grpc::ClientContext context;
    v1::ListJobsResponse response;
    return stub->ListJobs(&context, {}, &response).error_code();
  };
  EXPECT_EQ(list("secret"), grpc::StatusCode::OK);
  EXPECT_EQ(list("wrong!"), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(list(""), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(WholeServerTest, AnswersHealthChecks) {
  // grpc.health.v1.HealthCheckResponse{status: SERVING}
  EXPECT_EQ(*CallRaw(channel_, "/grpc.health.v1.Health/Check", ""), std::string("\x08\x01"));
}

TEST_F(WholeServerTest, ListsItsServicesByReflection) {
  grpc::GenericStub stub(channel_);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  void* tag = nullptr;
  bool ok = false;
  const auto call = stub.PrepareCall(
      &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  call->StartCall(nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  const grpc::Slice slice(std::string("\x3a\x01*"));  // ServerReflectionRequest{list_services: "*"}
  call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::ByteBuffer response;
  call->Read(&response, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::Slice all;
  ASSERT_TRUE(response.DumpToSingleSlice(&all).ok());
  const std::string text(reinterpret_cast<const char*>(all.begin()), all.size());
  for (const char* service : {"amc.v1.JobService", "amc.v1.WorkerService", "amc.v1.ArtifactService",
                              "amc.v1.EnvironmentService", "grpc.health.v1.Health"}) {
    EXPECT_THAT(text, HasSubstr(service));
  }
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  queue.Next(&tag, &ok);
}

TEST_F(WholeServerTest, RefusesADatabaseThatIsNone) {
  ServerOptions options = options_;
  options.address = "unix:" + folder_.path() + "/socket2";
  options.data_folder = folder_.path() + "/damaged";
  ASSERT_TRUE(MakeDirectories(options.data_folder).ok());
  ASSERT_TRUE(WriteFileAtomically(options.data_folder + "/amc.db", std::string(8192, 'x')).ok());
  const absl::Status status = Server::Start(options).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("amc.db"));
}

TEST_F(WholeServerTest, RefusesAMessageThatIsTooLarge) {
  v1::StepRequest request;
  request.set_environment(std::string(9 << 20, 'x'));
  v1::StepResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(environments_->Step(&context, request, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(WholeServerTest, KeepsArtifactsAndRefusesBytesThatAreNotTheirs) {
  const std::string bytes(3'000'000, 'a');
  const std::string digest = Upload(bytes, v1::ARTIFACT_KIND_MODEL);
  EXPECT_EQ(digest, Sha256Hex(bytes));
  EXPECT_EQ(Upload(bytes, v1::ARTIFACT_KIND_MODEL), digest);
  const auto download = [&](const std::string& what, int64_t offset, std::string* out) {
    v1::DownloadArtifactRequest request;
    request.set_digest(what);
    request.set_offset(offset);
    grpc::ClientContext context;
    const auto reader = artifacts_->DownloadArtifact(&context, request);
    v1::DownloadArtifactResponse response;
    out->clear();
    while (reader->Read(&response)) out->append(response.chunk());
    return reader->Finish().error_code();
  };
  std::string got;
  EXPECT_EQ(download(digest, 0, &got), grpc::StatusCode::OK);
  EXPECT_EQ(got, bytes);
  EXPECT_EQ(download(digest, 2'999'990, &got), grpc::StatusCode::OK);
  EXPECT_EQ(got, "aaaaaaaaaa");
  EXPECT_EQ(download(digest, 3'000'001, &got), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(download(Sha256Hex("nobody"), 0, &got), grpc::StatusCode::NOT_FOUND);

  const auto upload = [&](const v1::Artifact& header, const std::string& body) {
    grpc::ClientContext context;
    v1::Artifact stored;
    const auto writer = artifacts_->UploadArtifact(&context, &stored);
    v1::UploadArtifactRequest request;
    *request.mutable_header() = header;
    writer->Write(request);
    request.set_chunk(body);
    writer->Write(request);
    writer->WritesDone();
    return writer->Finish().error_code();
  };
  v1::Artifact header;
  header.set_digest(Sha256Hex("hello"));
  header.set_size(5);
  header.set_kind(v1::ARTIFACT_KIND_DATA);
  EXPECT_EQ(upload(header, "hallo"), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(upload(header, "hell"), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(upload(header, "hello!"), grpc::StatusCode::INVALID_ARGUMENT);
  v1::GetArtifactRequest get;
  get.set_digest(header.digest());
  v1::Artifact stored;
  grpc::ClientContext context;
  EXPECT_EQ(artifacts_->GetArtifact(&context, get, &stored).error_code(),
            grpc::StatusCode::NOT_FOUND);
  header.clear_kind();
  EXPECT_EQ(upload(header, "hello"), grpc::StatusCode::INVALID_ARGUMENT);
  header.set_kind(v1::ARTIFACT_KIND_DATA);
  header.set_digest("../../etc/passwd");
  EXPECT_EQ(upload(header, "hello"), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(WholeServerTest, WalksAnEnvironmentAsInProcess) {
  v1::CreateEnvironmentRequest create;
  create.set_model(Upload(TestModel(), v1::ARTIFACT_KIND_MODEL));
  create.mutable_budget()->set_ratio(0.5);
  v1::CreateEnvironmentResponse made;
  {
    grpc::ClientContext context;
    const grpc::Status status = environments_->CreateEnvironment(&context, create, &made);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  EXPECT_EQ(made.features_size(), Observation::kSize);
  const auto ours = *AmcEnv::Create(*ImportOnnx(TestModel()), {.budget = {{.ratio = 0.5}}});
  EXPECT_EQ(made.budget_limit(), ours->budget());
  ASSERT_EQ(made.groups_size(), static_cast<int>(ours->num_steps()));

  v1::ResetRequest reset;
  reset.set_environment(made.environment());
  v1::ResetResponse first;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(environments_->Reset(&context, reset, &first).ok());
  }
  EXPECT_THAT(first.observation(), ElementsAreArray(ours->Reset().features));
  grpc::ClientContext stream_context;
  const auto stream = environments_->StepStream(&stream_context);
  v1::StepResponse response;
  double action = 0.9;
  while (!ours->done()) {
    v1::StepRequest step;
    step.set_environment(made.environment());
    step.add_actions(action);
    ASSERT_TRUE(stream->Write(step));
    ASSERT_TRUE(stream->Read(&response));
    const StepResult expected = *ours->Step(action);
    ASSERT_EQ(response.outcomes_size(), 1);
    EXPECT_EQ(response.outcomes(0).kept(), expected.kept);
    EXPECT_EQ(response.outcomes(0).executed(), expected.executed);
    EXPECT_EQ(response.outcomes(0).done(), expected.done);
    EXPECT_THAT(response.outcomes(0).observation(),
                ElementsAreArray(expected.observation.features));
    action = action > 0.3 ? action - 0.1 : 0.95;
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(response.policy().decisions_size(), made.groups_size());
  EXPECT_LE(response.cost().macs(), made.budget_limit());

  const auto step = [&](const std::string& environment, double ratio) {
    v1::StepRequest request;
    request.set_environment(environment);
    request.add_actions(ratio);
    grpc::ClientContext context;
    return environments_->Step(&context, request, &response).error_code();
  };
  EXPECT_EQ(step(made.environment(), 0.5), grpc::StatusCode::FAILED_PRECONDITION);  // past the end
  {
    grpc::ClientContext context;
    ASSERT_TRUE(environments_->Reset(&context, reset, &first).ok());
  }
  EXPECT_EQ(step(made.environment(), 0), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(step(made.environment(), 0.5), grpc::StatusCode::OK);
  EXPECT_EQ(step("nobody", 0.5), grpc::StatusCode::NOT_FOUND);
  v1::CloseEnvironmentRequest close;
  close.set_environment(made.environment());
  v1::CloseEnvironmentResponse closed;
  {
    grpc::ClientContext context;
    EXPECT_TRUE(environments_->CloseEnvironment(&context, close, &closed).ok());
  }
  EXPECT_EQ(step(made.environment(), 0.5), grpc::StatusCode::NOT_FOUND);
}

TEST_F(WholeServerTest, LimitsOpenEnvironmentsAndClosesIdleOnes) {
  server_.reset();
  options_.max_environments = 2;
  options_.environment_idle = absl::Milliseconds(300);
  StartServer();
  v1::CreateEnvironmentRequest create;
  create.set_model(Upload(TestModel(), v1::ARTIFACT_KIND_MODEL));
  create.mutable_budget()->set_ratio(0.5);
  const auto open = [&] {
    v1::CreateEnvironmentResponse made;
    grpc::ClientContext context;
    return environments_->CreateEnvironment(&context, create, &made).error_code();
  };
  EXPECT_EQ(open(), grpc::StatusCode::OK);
  EXPECT_EQ(open(), grpc::StatusCode::OK);
  EXPECT_EQ(open(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  absl::SleepFor(absl::Milliseconds(900));
  EXPECT_EQ(open(), grpc::StatusCode::OK);
  create.mutable_budget()->set_ratio(1e-6);
  EXPECT_EQ(open(), grpc::StatusCode::OUT_OF_RANGE);
}

TEST(WeakBaselineTest, DrawsTheLineBetweenChanceAndHonestNetworks) {
  EXPECT_NEAR(WeakBaselineBound(0.1, 5000), 0.235, 1e-9);
  EXPECT_NEAR(WeakBaselineBound(0.5, 100000), 0.575, 1e-9);
  EXPECT_NEAR(WeakBaselineBound(0.1, 16), 0.1 + 3 * 0.075, 1e-9);  // few images: noise decides
}

}  // namespace
}  // namespace amc
