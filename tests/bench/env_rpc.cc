// How many steps a second EnvironmentService does through unary calls, in streams, and in batches.
//
//   build/release/bin/env_rpc
//
// ResNet-56's groups; server and client in this process, on a unix socket. Goal: 2,000 unary steps.
#include <chrono>
#include <cstdio>

#include "amc/v1/artifact.grpc.pb.h"
#include "amc/v1/environment.grpc.pb.h"
#include "base/file.h"
#include "base/log.h"
#include "env/graph/onnx_export.h"
#include "env/graph/zoo.h"
#include "server/rpc/channel.h"
#include "server/server.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void Main() {
  SetMinLogSeverity(LogSeverity::kWarning);
  const TempDirectory folder = *TempDirectory::Create("amc_env_rpc");
  ServerOptions options;
  options.address = "unix:" + folder.path() + "/socket";
  options.data_folder = folder.path();
  const std::unique_ptr<Server> server = *Server::Start(options);
  ChannelOptions channel_options;
  channel_options.address = server->address();
  const auto channel = *MakeChannel(channel_options);
  const auto artifacts = v1::ArtifactService::NewStub(channel);
  const auto stub = v1::EnvironmentService::NewStub(channel);

  v1::CreateEnvironmentRequest create;
  create.set_model(UploadBytes(*artifacts, *ExportOnnx(*BuildNetwork("resnet56", ZooOptions())),
                               v1::ARTIFACT_KIND_MODEL));
  create.mutable_budget()->set_ratio(0.5);
  v1::CreateEnvironmentResponse made;
  grpc::ClientContext create_context;
  AMC_CHECK(stub->CreateEnvironment(&create_context, create, &made).ok()) << "create";
  int groups = 0;  // that the walk asks about
  for (const v1::EnvironmentGroup& group : made.groups()) groups += group.choices_size() > 1;
  v1::ResetRequest reset;
  reset.set_environment(made.environment());
  const auto begin_episode = [&] {
    v1::ResetResponse response;
    grpc::ClientContext context;
    AMC_CHECK(stub->Reset(&context, reset, &response).ok()) << "reset";
  };
  v1::StepRequest step;
  step.set_environment(made.environment());
  step.add_actions(0.6);
  v1::StepResponse response;

  constexpr int kEpisodes = 200;
  double start = Seconds();
  for (int episode = 0; episode < kEpisodes; ++episode) {
    begin_episode();
    for (int i = 0; i < groups; ++i) {
      grpc::ClientContext context;
      AMC_CHECK(stub->Step(&context, step, &response).ok()) << "step";
    }
  }
  std::printf("unary   %9.0f steps/s\n", kEpisodes * groups / (Seconds() - start));

  start = Seconds();
  grpc::ClientContext stream_context;
  const auto stream = stub->StepStream(&stream_context);
  for (int episode = 0; episode < kEpisodes; ++episode) {
    begin_episode();
    for (int i = 0; i < groups; ++i) {
      AMC_CHECK(stream->Write(step) && stream->Read(&response)) << "stream";
    }
  }
  std::printf("stream  %9.0f steps/s\n", kEpisodes * groups / (Seconds() - start));
  stream->WritesDone();
  AMC_CHECK(stream->Finish().ok()) << "stream";

  for (int i = 1; i < groups; ++i) step.add_actions(0.6);
  start = Seconds();
  for (int episode = 0; episode < kEpisodes; ++episode) {
    begin_episode();
    grpc::ClientContext context;
    AMC_CHECK(stub->Step(&context, step, &response).ok()) << "batch";
  }
  std::printf("batched %9.0f steps/s\n", kEpisodes * groups / (Seconds() - start));
}

}  // namespace
}  // namespace amc

int main() { amc::Main(); }
