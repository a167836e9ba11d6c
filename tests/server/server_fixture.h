// A server on a socket of its own, a small model and data pack for it, and workers that need no
// torch.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "amc/v1/admin.grpc.pb.h"
#include "amc/v1/artifact.grpc.pb.h"
#include "amc/v1/environment.grpc.pb.h"
#include "amc/v1/job.grpc.pb.h"
#include "amc/v1/worker.grpc.pb.h"
#include "base/file.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "gtest/gtest.h"
#include "server/server.h"

namespace amc {

// Bytes of a small network (VGG-like, 3 x 16 x 16, 4 classes) and of a data pack that fits it.
std::string TestModel();
std::string TestPack();

// Hands bytes to a server; their digest.
std::string UploadBytes(v1::ArtifactService::Stub& stub, const std::string& bytes,
                        v1::ArtifactKind kind);

// What a fake worker registers as.
v1::RegisterWorkerRequest FakeIdentity(const std::string& uuid);

// What a fake worker measures: a deterministic function of the policy.
v1::Measurement FakeMeasurement(const v1::Policy& policy);

// A worker process in a thread. `evaluate` gives each lease's outcome; nullopt: drop the lease
// silently.
class FakeWorker {
 public:
  using Outcome = std::optional<std::variant<v1::TaskResult, v1::TaskError>>;
  using Evaluate = std::function<Outcome(const v1::Lease&)>;

  // Measures like FakeMeasurement, times pruned networks at a tenth of the original, finishes with
  // an empty model.
  static Outcome Measure(const v1::Lease& lease);

  FakeWorker(std::shared_ptr<grpc::Channel> channel, const std::string& uuid,
             Evaluate evaluate = Measure)
      : FakeWorker(std::move(channel), FakeIdentity(uuid), std::move(evaluate)) {}
  FakeWorker(std::shared_ptr<grpc::Channel> channel, v1::RegisterWorkerRequest identity,
             Evaluate evaluate = Measure);
  ~FakeWorker();  // stops; says nothing

  int64_t completed() const { return completed_; }

 private:
  void Run();

  const std::shared_ptr<grpc::Channel> channel_;
  const v1::RegisterWorkerRequest identity_;
  const Evaluate evaluate_;
  std::atomic<bool> stop_ = false;
  std::atomic<int64_t> completed_ = 0;
  std::thread thread_;
};

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  void StartServer();
  // Ends the server and starts another one on the same data and address.
  void RestartServer();

  std::string Upload(const std::string& bytes, v1::ArtifactKind kind);
  // A small search of `episodes` by the random agent at half the MACs, two at a time, that measures
  // every candidate itself.
  v1::JobSpec Spec(int64_t episodes = 6);
  absl::StatusOr<v1::Job> Submit(const v1::JobSpec& spec, const std::string& request_id);
  v1::Job GetJob(const std::string& id);
  std::vector<v1::Episode> Episodes(const std::string& id);
  // Waits until the job has ended, or until it has `episodes` committed.
  v1::Job WaitForEnd(const std::string& id);
  v1::Job WaitForEpisodes(const std::string& id, int64_t episodes);
  // The history as `amc history --canonical` keeps it: episodes without times, workers, attempts.
  std::vector<std::string> CanonicalHistory(const std::string& id);

  TempDirectory folder_ = *TempDirectory::Create("amc_server_test");
  ServerOptions options_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
  std::unique_ptr<v1::WorkerService::Stub> workers_;
  std::unique_ptr<v1::ArtifactService::Stub> artifacts_;
  std::unique_ptr<v1::EnvironmentService::Stub> environments_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

}  // namespace amc
