// The real worker against a real server, on a network small enough to measure in milliseconds.
#include "server/worker/worker.h"

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/sha256.h"
#include "env/cost/cost_model.h"
#include "env/graph/onnx_import.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/convert.h"
#include "server/job_spec.h"
#include "server/rpc/channel.h"
#include "server/worker/artifact_cache.h"
#include "server/worker/finish.h"
#include "server/worker/task_executor.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

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
        evaluator->EvaluateOne(FromProto(best.episode().policy()), Reconstruction::kStrong).ok());
    EXPECT_EQ(best.result().recalibrated(), evaluator->pruner().recalibrated());
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
    const auto cache = *ArtifactCache::Open(folder.path() + "/cache", "", stub.get(), patience);
    const absl::Time start = absl::Now();
    const absl::Status status =
        cache
            ->Path(
                std::string(64, 'a'), [](int64_t, int64_t) {}, [=] { return cancelled; })
            .status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    return absl::Now() - start;
  };
  EXPECT_GE(path(absl::Milliseconds(300), false), absl::Milliseconds(300));
  path(absl::InfiniteDuration(), true);  // returns
}

}  // namespace
}  // namespace amc
