#include "tests/server/server_fixture.h"

#include <chrono>
#include <optional>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "env/exec/data_pack.h"
#include "env/graph/onnx_export.h"
#include "env/graph/zoo.h"
#include "server/rpc/channel.h"
#include "server/rpc/job_state.h"
#include "server/rpc/status_convert.h"

namespace amc {

std::string TestModel() {
  static const std::string bytes = [] {
    ZooOptions options;
    options.height = options.width = 16;
    options.classes = 4;
    return *ExportOnnx(*BuildNetwork("plain20", options));
  }();
  return bytes;
}

std::string TestPack() {
  static const std::string bytes = [] {
    PackContents contents;
    ImageSet& images = contents.images;
    images.channels = 3;
    images.height = images.width = 16;
    images.class_names = {"ant", "bee", "cat", "dog"};
    Rng rng(1);
    constexpr int kImages = 96;
    for (int i = 0; i < kImages; ++i) {
      images.labels.push_back(i % 4);
      for (int p = 0; p < 3 * 16 * 16; ++p) {
        images.pixels.push_back(static_cast<uint8_t>(rng.Below(256)));
      }
    }
    contents.split_sizes[0] = contents.split_sizes[1] = contents.split_sizes[2] = kImages / 3;
    contents.preprocessing.mean = {0.5F, 0.5F, 0.5F};
    contents.preprocessing.deviation = {0.25F, 0.25F, 0.25F};
    contents.source = "noise";
    return *SerializePack(contents);
  }();
  return bytes;
}

std::string UploadBytes(v1::ArtifactService::Stub& stub, const std::string& bytes,
                        v1::ArtifactKind kind) {
  grpc::ClientContext context;
  v1::Artifact stored;
  const auto writer = stub.UploadArtifact(&context, &stored);
  v1::UploadArtifactRequest request;
  request.mutable_header()->set_digest(Sha256Hex(bytes));
  request.mutable_header()->set_size(static_cast<int64_t>(bytes.size()));
  request.mutable_header()->set_kind(kind);
  request.mutable_header()->set_name("test");
  writer->Write(request);
  constexpr size_t kChunk = 100'000;
  for (size_t at = 0; at < bytes.size(); at += kChunk) {
    request.set_chunk(bytes.substr(at, kChunk));
    if (!writer->Write(request)) break;
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  AMC_CHECK(status.ok()) << status.error_message();
  return stored.digest();
}

v1::RegisterWorkerRequest FakeIdentity(const std::string& uuid) {
  v1::RegisterWorkerRequest identity;
  identity.set_uuid(uuid);
  identity.mutable_capabilities()->set_version(std::string(Version()));
  identity.mutable_capabilities()->add_devices(v1::DEVICE_CPU);
  identity.mutable_capabilities()->set_threads(1);
  identity.mutable_capabilities()->set_platform_id("fake:1");
  // As MadeUpTable has it.
  identity.mutable_capabilities()->set_processor("Test CPU, 2 cores");
  identity.mutable_capabilities()->add_runtimes("libtorch 1.13.1");
  return identity;
}

v1::Measurement FakeMeasurement(const v1::Policy& policy) {
  v1::Measurement measurement;
  double kept = 0;
  for (int i = 0; i < policy.decisions_size(); ++i) {
    kept += static_cast<double>(policy.decisions(i).kept()) / (i + 1);
  }
  measurement.set_top1(0.9 - 1 / (2 + kept));
  measurement.set_top5(1);
  measurement.set_loss(1 / (1 + kept));
  measurement.set_kl(2 / (1 + kept));
  measurement.set_soft_kl(3 / (1 + kept));
  measurement.set_images(32);
  return measurement;
}

FakeWorker::Outcome FakeWorker::Measure(const v1::Lease& lease) {
  v1::TaskResult result;
  result.set_numerics_id(lease.numerics_id());
  result.set_seconds(0.001);
  if (lease.kind() == v1::TASK_KIND_TIME) {
    result.mutable_timing()->mutable_original()->set_median_us(1000);
    for (int i = 0; i < lease.timing().policies_size(); ++i) {
      result.mutable_timing()->add_policies()->set_median_us(100);
    }
  } else if (lease.kind() == v1::TASK_KIND_FINISH) {
    *result.mutable_result()->mutable_original() = FakeMeasurement({});
    *result.mutable_result()->mutable_compressed() = FakeMeasurement(lease.policy());
    result.mutable_result()->set_model(Sha256Hex("compressed"));
  } else {
    *result.mutable_measurement() = FakeMeasurement(lease.policy());
    if (lease.images() > 0) result.mutable_measurement()->set_images(lease.images());
    if (lease.kind() == v1::TASK_KIND_BASELINE) result.mutable_measurement()->set_top1(0.9);
  }
  return result;
}

FakeWorker::FakeWorker(std::shared_ptr<grpc::Channel> channel, v1::RegisterWorkerRequest identity,
                       Evaluate evaluate)
    : channel_(std::move(channel)), identity_(std::move(identity)), evaluate_(std::move(evaluate)) {
  thread_ = std::thread([this] { Run(); });
}

FakeWorker::~FakeWorker() {
  stop_ = true;
  thread_.join();
}

void FakeWorker::Run() {
  const auto stub = v1::WorkerService::NewStub(channel_);
  std::string session;
  int64_t asked = 0;
  while (!stop_) {
    if (session.empty()) {
      v1::RegisterWorkerResponse response;
      grpc::ClientContext context;
      if (!stub->RegisterWorker(&context, identity_, &response).ok()) {
        absl::SleepFor(absl::Milliseconds(20));
        continue;
      }
      session = response.session();
    }
    v1::LeaseTaskRequest request;
    request.set_session(session);
    request.set_request_id(absl::StrCat(identity_.uuid(), asked++));
    request.set_wait_ms(100);
    v1::LeaseTaskResponse response;
    grpc::ClientContext context;
    const grpc::Status status = stub->LeaseTask(&context, request, &response);
    if (status.error_code() == grpc::StatusCode::UNAUTHENTICATED) session.clear();
    if (!status.ok()) absl::SleepFor(absl::Milliseconds(20));
    if (!status.ok() || !response.has_lease()) continue;
    const Outcome outcome = evaluate_(response.lease());
    if (!outcome.has_value()) continue;
    v1::CompleteTaskRequest complete;
    complete.mutable_lease()->set_job(response.lease().job());
    complete.mutable_lease()->set_task(response.lease().task());
    complete.mutable_lease()->set_epoch(response.lease().epoch());
    if (const auto* result = std::get_if<v1::TaskResult>(&*outcome)) {
      *complete.mutable_result() = *result;
    } else {
      *complete.mutable_error() = std::get<v1::TaskError>(*outcome);
    }
    complete.set_session(session);
    v1::CompleteTaskResponse completed;
    grpc::ClientContext complete_context;
    if (stub->CompleteTask(&complete_context, complete, &completed).ok()) ++completed_;
  }
}

void ServerTest::SetUp() {
  options_.address = "unix:" + folder_.path() + "/socket";
  options_.data_folder = folder_.path() + "/data";
  options_.heartbeat = absl::Milliseconds(50);
  options_.backoff = absl::Milliseconds(10);
  StartServer();
}

void ServerTest::TearDown() { server_.reset(); }

void ServerTest::StartServer() {
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options_);
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  ChannelOptions channel;
  channel.address = server_->address();
  channel_ = *MakeChannel(channel);
  jobs_ = v1::JobService::NewStub(channel_);
  workers_ = v1::WorkerService::NewStub(channel_);
  artifacts_ = v1::ArtifactService::NewStub(channel_);
  environments_ = v1::EnvironmentService::NewStub(channel_);
  admin_ = v1::AdminService::NewStub(channel_);
}

void ServerTest::RestartServer() {
  server_.reset();
  StartServer();
}

std::string ServerTest::Upload(const std::string& bytes, v1::ArtifactKind kind) {
  return UploadBytes(*artifacts_, bytes, kind);
}

v1::JobSpec ServerTest::Spec(int64_t episodes) {
  v1::JobSpec spec;
  spec.set_model(Upload(TestModel(), v1::ARTIFACT_KIND_MODEL));
  spec.set_data(Upload(TestPack(), v1::ARTIFACT_KIND_DATA));
  spec.mutable_budget()->set_ratio(0.5);
  spec.mutable_search()->set_agent("random");
  spec.mutable_search()->set_episodes(episodes);
  spec.set_reuse(false);
  return spec;
}

absl::StatusOr<v1::Job> ServerTest::Submit(const v1::JobSpec& spec, const std::string& request_id) {
  v1::SubmitJobRequest request;
  request.set_request_id(request_id);
  *request.mutable_spec() = spec;
  grpc::ClientContext context;
  v1::Job job;
  const grpc::Status status = jobs_->SubmitJob(&context, request, &job);
  if (!status.ok()) return FromGrpcStatus(status);
  return job;
}

v1::Job ServerTest::GetJob(const std::string& id) {
  v1::GetJobRequest request;
  request.set_id(id);
  grpc::ClientContext context;
  v1::Job job;
  const grpc::Status status = jobs_->GetJob(&context, request, &job);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return job;
}

v1::Job ServerTest::WaitForEnd(const std::string& id) {
  v1::Job job;
  for (int i = 0; i < 3000; ++i) {
    job = GetJob(id);
    if (HasEnded(job.state())) return job;
    absl::SleepFor(absl::Milliseconds(10));
  }
  ADD_FAILURE() << "job " << id << " did not end: " << job.ShortDebugString();
  return job;
}

v1::Job ServerTest::WaitForEpisodes(const std::string& id, int64_t episodes) {
  v1::Job job;
  for (int i = 0; i < 3000; ++i) {
    job = GetJob(id);
    if (job.episodes_done() >= episodes) return job;
    absl::SleepFor(absl::Milliseconds(2));
  }
  ADD_FAILURE() << "job " << id << " did not get there: " << job.ShortDebugString();
  return job;
}

std::vector<v1::Episode> ServerTest::Episodes(const std::string& id) {
  v1::ListEpisodesRequest request;
  request.set_job(id);
  request.set_page_size(1000);
  request.set_with_steps(true);
  v1::ListEpisodesResponse response;
  grpc::ClientContext context;
  const grpc::Status status = jobs_->ListEpisodes(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return {response.episodes().begin(), response.episodes().end()};
}

std::vector<std::string> ServerTest::CanonicalHistory(const std::string& id) {
  std::vector<std::string> history;
  for (v1::Episode episode : Episodes(id)) {
    episode.clear_job();
    episode.clear_worker();
    episode.clear_attempts();
    episode.clear_seconds();
    episode.clear_commit_time_ms();
    episode.clear_reused();
    history.push_back(episode.SerializeAsString());
  }
  return history;
}

}  // namespace amc
