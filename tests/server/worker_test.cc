// The real worker against a real server, on a network small enough to measure in milliseconds.
#include "server/worker/worker.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/npy.h"
#include "base/sha256.h"
#include "env/cost/cost_model.h"
#include "env/exec/evaluate.h"
#include "env/graph/onnx_import.h"
#include "gmock/gmock.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "server/convert.h"
#include "server/job_settings.h"
#include "server/job_spec.h"
#include "server/rpc/channel.h"
#include "server/rpc/waiting.h"
#include "server/worker/artifact_cache.h"
#include "server/worker/connection.h"
#include "server/worker/finish.h"
#include "server/worker/task_executor.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class WorkerTest : public ServerTest {
 protected:
  WorkerOptions MakeOptions(const std::string& name) {
    WorkerOptions options;
    options.server.address = server_->address();
    options.cache_folder = folder_.path() + "/cache-" + name;
    return options;
  }
  // A search that really measures; the network's weights are random, so its baseline is weak.
  v1::JobSpec RealSpec(int64_t episodes) {
    v1::JobSpec spec = Spec(episodes);
    spec.set_allow_weak_baseline(true);
    spec.mutable_search()->set_metric(v1::QUALITY_METRIC_NEGATIVE_KL);
    spec.mutable_evaluation()->set_samples_per_layer(500);
    return spec;
  }
  std::string Download(const std::string& digest) {
    v1::DownloadArtifactRequest request;
    request.set_digest(digest);
    grpc::ClientContext context;
    const auto reader = artifacts_->DownloadArtifact(&context, request);
    std::string bytes;
    v1::DownloadArtifactResponse response;
    while (reader->Read(&response)) bytes += response.chunk();
    EXPECT_TRUE(reader->Finish().ok());
    return bytes;
  }
};

// Runs a worker in a thread until it goes out of scope.
class RunningWorker {
 public:
  explicit RunningWorker(const WorkerOptions& options) : worker_(*Worker::Create(options)) {
    thread_ = std::thread([this] { status_ = worker_->Run(); });
  }
  ~RunningWorker() { static_cast<void>(Drain()); }
  absl::Status Drain() {
    worker_->Drain();
    return Join();
  }
  absl::Status Join() {
    if (thread_.joinable()) thread_.join();
    return status_;
  }

 private:
  std::unique_ptr<Worker> worker_;
  absl::Status status_;
  std::thread thread_;
};

TEST_F(WorkerTest, CompressesANetworkEndToEndTwiceTheSame) {
  RunningWorker worker(MakeOptions("a"));
  const v1::JobSpec spec = RealSpec(4);
  const v1::Job job = WaitForEnd(Submit(spec, "one")->id());
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  EXPECT_EQ(job.baseline().kl(), 0);
  EXPECT_EQ(job.baseline().images(), 32);

  const v1::JobResult& result = job.result();
  const std::string bytes = Download(result.model());
  EXPECT_EQ(Sha256Hex(bytes), result.model());
  EXPECT_EQ(static_cast<int64_t>(bytes.size()), result.compressed_bytes());
  EXPECT_EQ(static_cast<int64_t>(TestModel().size()), result.original_bytes());
  const Graph compressed = *ImportOnnx(bytes);
  EXPECT_EQ(ToProto(*CountCost(compressed)).SerializeAsString(),
            result.compressed().cost().SerializeAsString());
  EXPECT_LE(result.compressed().cost().macs(), job.budget_limit());
  EXPECT_EQ(result.original().cost().macs(), job.original_cost().macs());
  EXPECT_EQ(result.original().images(), 32);
  EXPECT_GT(result.original_latency_ms(), 0);
  EXPECT_GT(result.compressed_latency_ms(), 0);
  EXPECT_EQ(compressed.metadata.at("amc.spec"), SpecHash(job.spec()));
  EXPECT_THAT(compressed.metadata.at("amc.policy"), HasSubstr(result.steps(0).group()));

  const v1::Job again = WaitForEnd(Submit(spec, "two")->id());
  EXPECT_EQ(CanonicalHistory(again.id()), CanonicalHistory(job.id()));
  EXPECT_EQ(again.result().model(), result.model());
}

TEST_F(WorkerTest, OutcomesSayWhatBecameOfEachReportImage) {
  RunningWorker worker(MakeOptions("a"));
  const v1::Job job = WaitForEnd(Submit(RealSpec(2), "one")->id());
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  const absl::StatusOr<NpyArray> array = ParseNpy(Download(job.result().outcomes()));
  ASSERT_TRUE(array.ok()) << array.status();
  ASSERT_EQ(array->shape, (std::vector<int64_t>{32, 4}));

  // The same of the two files, image by image.
  const std::string path = folder_.path() + "/pack";
  ASSERT_TRUE(WriteFileAtomically(path, TestPack()).ok());
  const auto pack = *DataPack::Open(path);
  std::vector<float> logits;
  std::vector<ImageOutcome> original, compressed;
  EvaluateOptions options;
  options.logits = &logits;
  options.outcomes = &original;
  ASSERT_TRUE(Evaluate(*ImportOnnx(TestModel()), *pack, Split::kReport, options).ok());
  options.logits = nullptr;
  options.reference_logits = logits;
  options.outcomes = &compressed;
  const Graph network = *ImportOnnx(Download(job.result().model()));
  ASSERT_TRUE(Evaluate(network, *pack, Split::kReport, options).ok());
  for (size_t i = 0; i < 32; ++i) {
    const float* const row = &array->values[4 * i];
    EXPECT_EQ(row[0], original[i].top1 ? 1 : 0) << i;
    EXPECT_EQ(row[1], compressed[i].top1 ? 1 : 0) << i;
    EXPECT_NEAR(row[2], compressed[i].kl, 1e-5 * (1 + compressed[i].kl)) << i;
    EXPECT_EQ(row[3], pack->labels(Split::kReport)[i]) << i;
  }
}

TEST_F(WorkerTest, ResultsSayWhetherTheWinnerWasRecalibrated) {
  RunningWorker worker(MakeOptions("a"));
  for (const int64_t images : {128, 0}) {
    v1::JobSpec spec = RealSpec(2);
    spec.mutable_evaluation()->set_recalibration_images(images);
    const v1::Job job = WaitForEnd(Submit(spec, absl::StrCat(images))->id());
    ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
    v1::GetBestRequest request;
    request.set_job(job.id());
    grpc::ClientContext context;
    v1::GetBestResponse best;
    ASSERT_TRUE(jobs_->GetBest(&context, request, &best).ok());
    ASSERT_TRUE(best.result().has_recalibrated());
    EXPECT_EQ(best.result().recalibrated(), job.result().recalibrated());

    // The same again, without a server.
    const Graph graph = *ImportOnnx(TestModel());
    const std::string path = folder_.path() + "/pack";
    ASSERT_TRUE(WriteFileAtomically(path, TestPack()).ok());
    const auto pack = *DataPack::Open(path);
    const auto evaluator = *LocalEvaluator::Create(graph, *pack, ToEvaluatorOptions(job.spec()));
    ASSERT_TRUE(
        evaluator->EvaluateOne({FromProto(best.episode().policy())}, Reconstruction::kStrong).ok());
    EXPECT_EQ(best.result().recalibrated(), evaluator->recalibrated());
    if (images == 0) {
      EXPECT_FALSE(best.result().recalibrated());
    }
  }
}

TEST_F(WorkerTest, GivesTheSameHistoryWithTwoWorkersAndAServerThatRestarts) {
  const v1::JobSpec spec = RealSpec(12);
  std::vector<std::string> undisturbed;
  {
    RunningWorker worker(MakeOptions("a"));
    undisturbed = CanonicalHistory(WaitForEnd(Submit(spec, "one")->id()).id());
    EXPECT_TRUE(worker.Drain().ok());
  }
  ASSERT_EQ(undisturbed.size(), 12U);
  RunningWorker first(MakeOptions("b")), second(MakeOptions("c"));
  const std::string id = Submit(spec, "two")->id();
  WaitForEpisodes(id, 3);
  RestartServer();
  const v1::Job job = WaitForEnd(id);
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  EXPECT_EQ(CanonicalHistory(id), undisturbed);
}

TEST_F(WorkerTest, ReadsArtifactsInPlaceWhereItCan) {
  WorkerOptions options = MakeOptions("a");
  options.artifacts_folder = options_.data_folder + "/artifacts";
  RunningWorker worker(options);
  const v1::JobSpec spec = RealSpec(1);
  EXPECT_EQ(WaitForEnd(Submit(spec, "one")->id()).state(), v1::JOB_STATE_SUCCEEDED);
  const auto cache = *ArtifactStore::Open(options.cache_folder);
  EXPECT_FALSE(cache->Contains(spec.model()));
  EXPECT_FALSE(cache->Contains(spec.data()));
}

TEST_F(WorkerTest, DownloadsAgainWhatWasDamagedInItsCache) {
  const WorkerOptions options = MakeOptions("a");
  const v1::JobSpec spec = RealSpec(1);
  {
    RunningWorker worker(options);
    ASSERT_EQ(WaitForEnd(Submit(spec, "one")->id()).state(), v1::JOB_STATE_SUCCEEDED);
  }
  const auto cache = *ArtifactStore::Open(options.cache_folder);
  ASSERT_TRUE(WriteFileAtomically(*cache->Path(spec.model()), "damaged").ok());
  RunningWorker worker(options);
  EXPECT_EQ(WaitForEnd(Submit(spec, "two")->id()).state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(*cache->Get(spec.model()), TestModel());
}

TEST_F(WorkerTest, DrainsAndSaysGoodbye) {
  RunningWorker worker(MakeOptions("a"));
  absl::SleepFor(absl::Milliseconds(100));
  const absl::Time start = absl::Now();
  EXPECT_TRUE(worker.Drain().ok());
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));  // although its poll would wait for 20
  v1::ListWorkersResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(workers_->ListWorkers(&context, {}, &response).ok());
  ASSERT_EQ(response.workers_size(), 1);
  EXPECT_EQ(response.workers(0).state(), v1::WORKER_STATE_GONE);
}

TEST_F(WorkerTest, LeavesWhenItIsAskedTo) {
  RunningWorker worker(MakeOptions("a"));
  v1::DrainWorkersRequest request;
  request.set_all(true);
  v1::DrainWorkersResponse response;
  while (response.uuids().empty()) {  // until it has registered
    grpc::ClientContext context;
    ASSERT_TRUE(workers_->DrainWorkers(&context, request, &response).ok());
    absl::SleepFor(absl::Milliseconds(5));
  }
  const absl::Time start = absl::Now();
  EXPECT_TRUE(worker.Join().ok());
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));  // although its poll would wait for 20
}

TEST_F(WorkerTest, TellsItsSupervisorOfEverySession) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  WorkerOptions options = MakeOptions("a");
  options.session_fd = pipe_ends[1];
  RunningWorker worker(options);
  const auto read_line = [&] {
    std::string line;
    for (char c = 0; read(pipe_ends[0], &c, 1) == 1 && c != '\n';) line.push_back(c);
    return line;
  };
  const std::string first = read_line();
  v1::HeartbeatRequest request;
  request.set_session(first);
  v1::HeartbeatResponse response;
  {
    grpc::ClientContext context;
    EXPECT_TRUE(workers_->Heartbeat(&context, request, &response).ok());
  }
  RestartServer();
  EXPECT_NE(read_line(), first);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

TEST_F(WorkerTest, StopsWithinASecondOfACancellation) {
  options_.heartbeat = absl::Seconds(1);  // as it is in earnest
  RestartServer();
  RunningWorker worker(MakeOptions("a"));
  v1::JobSpec spec = RealSpec(1000);
  // Long evaluations: many images, over and over.
  spec.mutable_evaluation()->set_reconstruction(v1::RECONSTRUCTION_STRONG);
  spec.mutable_evaluation()->set_samples_per_layer(1'000'000);
  const std::string id = Submit(spec, "long")->id();
  while (GetJob(id).state() < v1::JOB_STATE_SEARCHING) absl::SleepFor(absl::Milliseconds(5));
  const auto leased = [&] {
    v1::ListWorkersResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(workers_->ListWorkers(&context, {}, &response).ok());
    return response.workers(0).has_progress();
  };
  while (!leased()) absl::SleepFor(absl::Milliseconds(5));
  v1::CancelJobRequest cancel;
  cancel.set_id(id);
  v1::Job job;
  grpc::ClientContext context;
  ASSERT_TRUE(jobs_->CancelJob(&context, cancel, &job).ok());
  // The worker is free for another job: it gets and finishes one.
  v1::JobSpec next = RealSpec(1);
  EXPECT_EQ(WaitForEnd(Submit(next, "next")->id()).state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(WorkerTest, SaysThatItWaitsWhileTheServerHasNoRoomForTheResult) {
  options_.disk_quota_bytes = static_cast<int64_t>(TestModel().size() + TestPack().size() + 10);
  RestartServer();
  testing::internal::CaptureStderr();
  std::string id, waiting;
  {
    RunningWorker worker(MakeOptions("a"));
    id = Submit(RealSpec(1), "one")->id();
    v1::WatchJobRequest request;
    request.set_id(id);
    grpc::ClientContext context;
    const auto reader = jobs_->WatchJob(&context, request);
    v1::JobEvent event;
    while (!absl::StartsWith(event.message(), kWaitingToStore) && reader->Read(&event)) {
    }
    context.TryCancel();
    reader->Finish();
    EXPECT_THAT(event.message(), AllOf(HasSubstr("waiting to store: "), HasSubstr("quota")));
    EXPECT_EQ(event.kind(), v1::EVENT_KIND_PROGRESS);
    EXPECT_EQ(event.total(), 0);
    absl::SleepFor(absl::Seconds(1));  // and further tries
    options_.disk_quota_bytes = 0;
    RestartServer();
    EXPECT_EQ(WaitForEnd(id).state(), v1::JOB_STATE_SUCCEEDED);
  }
  const std::string log = testing::internal::GetCapturedStderr(), line = "the server has no room";
  const size_t at = log.find(line);
  ASSERT_NE(at, std::string::npos) << log;
  EXPECT_EQ(log.find(line, at + 1), std::string::npos) << log;
}

TEST_F(WorkerTest, KeepsItsCacheWithinTheLimitButForWhatWasUsedLately) {
  const v1::JobSpec spec = RealSpec(1);
  WorkerOptions options = MakeOptions("a");
  options.cache_limit_bytes = 1;  // no room for anything
  const std::string old = *(*ArtifactStore::Open(options.cache_folder))->Put("of last week");
  const std::string path = *(*ArtifactStore::Open(options.cache_folder))->Path(old);
  const timespec times[2] = {{.tv_sec = 1000, .tv_nsec = 0}, {.tv_sec = 1000, .tv_nsec = 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  RunningWorker worker(options);
  EXPECT_EQ(WaitForEnd(Submit(spec, "one")->id()).state(), v1::JOB_STATE_SUCCEEDED);
  const auto cache = *ArtifactStore::Open(options.cache_folder);
  EXPECT_FALSE(cache->Contains(old));
  EXPECT_TRUE(cache->Contains(spec.model()));  // another process may be about to open it
}

TEST_F(WorkerTest, GivesUpOnAServerThatStaysAway) {
  WorkerOptions options = MakeOptions("a");
  options.server.address = "unix:" + folder_.path() + "/nobody";
  options.give_up_after = absl::Milliseconds(500);
  RunningWorker worker(options);
  const absl::Status status = worker.Join();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(options.server.address));
}

TEST(TaskErrorTest, TellsTheWorkersTroubleFromTheTasks) {
  const auto kind = [](const absl::Status& status) {
    return TaskExecutor::ToTaskError(status).kind();
  };
  EXPECT_EQ(kind(absl::InvalidArgumentError("")), v1::TASK_ERROR_KIND_PERMANENT);
  EXPECT_EQ(kind(absl::UnimplementedError("")), v1::TASK_ERROR_KIND_PERMANENT);
  EXPECT_EQ(kind(absl::ResourceExhaustedError("")), v1::TASK_ERROR_KIND_RETRYABLE);
  EXPECT_EQ(kind(absl::UnavailableError("")), v1::TASK_ERROR_KIND_RETRYABLE);
}

TEST(PolicyJsonTest, IsAPolicyFile) {
  const Policy policy{{{.target = "conv\"1\"", .kept = 3}, {.target = "b", .kept = 4}}};
  EXPECT_EQ(PolicyJson(policy), R"({"keep": {"conv\"1\"": 3, "b": 4}})");
}

TEST(ArtifactCacheTest, SitsOutAnAbsentServerAsLongAsItIsToldTo) {
  const TempDirectory folder = *TempDirectory::Create("amc-artifact-cache");
  ChannelOptions nobody;
  nobody.address = "unix:" + folder.path() + "/nobody";
  const auto stub = v1::ArtifactService::NewStub(*MakeChannel(nobody));
  const auto path = [&](absl::Duration patience, bool cancelled) {
    const auto cache = *ArtifactCache::Open(
        {.folder = folder.path() + "/cache", .shared_folder = "", .patience = patience},
        stub.get());
    const absl::Time start = absl::Now();
    const absl::Status status =
        cache
            ->Path(
                std::string(64, 'a'), [](int64_t, int64_t) {}, [=] { return cancelled; })
            .status();
    EXPECT_EQ(status.code(),
              cancelled ? absl::StatusCode::kCancelled : absl::StatusCode::kUnavailable)
        << status;
    return absl::Now() - start;
  };
  EXPECT_GE(path(absl::Milliseconds(300), false), absl::Milliseconds(300));
  path(absl::InfiniteDuration(), true);  // returns
}

// Has an artifact of 64 bytes, but answers every call only in part and then falls silent.
class StallingArtifactService : public v1::ArtifactService::Service {
 public:
  grpc::Status GetArtifact(grpc::ServerContext* context, const v1::GetArtifactRequest* request,
                           v1::Artifact* response) override {
    if (stalls_at_once) Stall(*context);
    response->set_digest(request->digest());
    response->set_size(64);
    return grpc::Status::OK;
  }
  grpc::Status DownloadArtifact(grpc::ServerContext* context,
                                const v1::DownloadArtifactRequest* /*request*/,
                                grpc::ServerWriter<v1::DownloadArtifactResponse>* writer) override {
    v1::DownloadArtifactResponse response;
    response.set_chunk("the first bytes");
    writer->Write(response);
    return Stall(*context);
  }
  grpc::Status UploadArtifact(grpc::ServerContext* context,
                              grpc::ServerReader<v1::UploadArtifactRequest>* reader,
                              v1::Artifact* /*response*/) override {
    v1::UploadArtifactRequest message;
    reader->Read(&message);
    return Stall(*context);
  }

  std::atomic<bool> stalls_at_once = false;

 private:
  static grpc::Status Stall(const grpc::ServerContext& context) {
    const absl::Time end = absl::Now() + absl::Seconds(10);
    while (!context.IsCancelled() && absl::Now() < end) absl::SleepFor(absl::Milliseconds(20));
    return {grpc::StatusCode::INTERNAL, "stalled for ten seconds"};
  }
};

class StalledTransferTest : public testing::Test {
 protected:
  StalledTransferTest() {
    ChannelOptions options;
    options.address = "unix:" + folder_.path() + "/socket";
    grpc::ServerBuilder builder;
    builder.AddListeningPort(options.address, grpc::InsecureServerCredentials());
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    stub_ = v1::ArtifactService::NewStub(*MakeChannel(options));
    cache_ = *ArtifactCache::Open({.folder = folder_.path() + "/cache", .shared_folder = ""},
                                  stub_.get());
  }
  // Cancels what `transfer` does after half a second: that has to end within another one.
  void ExpectEndsOnceCancelled(
      const std::function<absl::Status(const ArtifactCache::Cancelled&)>& transfer) {
    const absl::Time cancel = absl::Now() + absl::Milliseconds(500);
    const absl::Status status = transfer([cancel] { return absl::Now() >= cancel; });
    EXPECT_TRUE(absl::IsCancelled(status)) << status;
    EXPECT_GE(absl::Now(), cancel);
    EXPECT_LT(absl::Now(), cancel + absl::Seconds(1));
  }
  absl::Status Download(const ArtifactCache::Cancelled& cancelled) {
    return cache_
        ->Path(
            std::string(64, 'a'), [](int64_t, int64_t) {}, cancelled)
        .status();
  }

  TempDirectory folder_ = *TempDirectory::Create("amc-stalled-transfer");
  StallingArtifactService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::ArtifactService::Stub> stub_;
  std::unique_ptr<ArtifactCache> cache_;
};

TEST_F(StalledTransferTest, QuestionsEndWhenTheyAreCancelled) {
  service_.stalls_at_once = true;
  ExpectEndsOnceCancelled([this](const auto& cancelled) { return Download(cancelled); });
}

TEST_F(StalledTransferTest, DownloadsEndWhenTheyAreCancelled) {
  ExpectEndsOnceCancelled([this](const auto& cancelled) { return Download(cancelled); });
}

TEST_F(StalledTransferTest, UploadsEndWhenTheyAreCancelled) {
  const std::string bytes(64 << 20, 'x');  // far more than fits on the way
  ExpectEndsOnceCancelled([&](const auto& cancelled) {
    return cache_
        ->Upload(
            bytes, v1::ARTIFACT_KIND_MODEL, "big", [](const std::string&) {}, cancelled)
        .status();
  });
}

TEST_F(StalledTransferTest, WhatWasNotVerifiedToTheEndIsNotTakenForDamaged) {
  const std::string digest = *(*ArtifactStore::Open(folder_.path() + "/cache"))->Put("whole");
  const absl::Status status = cache_
                                  ->Path(
                                      digest, [](int64_t, int64_t) {}, [] { return true; })
                                  .status();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_TRUE(cache_
                  ->Path(
                      digest, [](int64_t, int64_t) {}, [] { return false; })
                  .ok());
}

// Takes everybody in and swallows heartbeats.
class SwallowingWorkerService : public v1::WorkerService::Service {
 public:
  grpc::Status RegisterWorker(grpc::ServerContext* /*context*/,
                              const v1::RegisterWorkerRequest* /*request*/,
                              v1::RegisterWorkerResponse* response) override {
    response->set_session("s");
    response->set_heartbeat_ms(heartbeat_ms);
    return grpc::Status::OK;
  }
  grpc::Status LeaseTask(grpc::ServerContext* /*context*/, const v1::LeaseTaskRequest* /*request*/,
                         v1::LeaseTaskResponse* /*response*/) override {
    return grpc::Status::OK;
  }
  grpc::Status Heartbeat(grpc::ServerContext* context, const v1::HeartbeatRequest* /*request*/,
                         v1::HeartbeatResponse* /*response*/) override {
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(10));
    return grpc::Status::OK;
  }

  std::atomic<int64_t> heartbeat_ms = 0;
};

TEST(ConnectionTest, WaitsForAHeartbeatAsLongAsTheServersIntervalAllows) {
  const TempDirectory folder = *TempDirectory::Create("amc-connection");
  ChannelOptions options;
  options.address = "unix:" + folder.path() + "/socket";
  SwallowingWorkerService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options.address, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  const auto waited = [&](int64_t heartbeat_ms) {
    service.heartbeat_ms = heartbeat_ms;
    Connection connection(v1::WorkerService::NewStub(*MakeChannel(options)), {}, -1);
    EXPECT_TRUE(connection.Lease("request", absl::ZeroDuration()).ok());
    const absl::Time start = absl::Now();
    EXPECT_TRUE(absl::IsDeadlineExceeded(connection.Heartbeat(nullptr).status()));
    return absl::ToDoubleSeconds(absl::Now() - start);
  };
  EXPECT_NEAR(waited(100), 1.0, 0.4);
  EXPECT_NEAR(waited(600), 1.8, 0.4);
  EXPECT_NEAR(waited(5000), 4.0, 0.4);
}

}  // namespace
}  // namespace amc
