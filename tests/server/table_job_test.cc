// Jobs that make a latency table, with workers whose times are a known function.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "amc/v1/latency.grpc.pb.h"
#include "base/mutex.h"
#include "env/cost/latency_model.h"
#include "env/cost/policy.h"
#include "env/graph/onnx_import.h"
#include "env/measure/build_table.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/convert.h"
#include "server/rpc/latency_convert.h"
#include "server/rpc/status_convert.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr double kReferenceUs = 1234.5;
constexpr double kFactor = 1.3;  // whole networks take so many times the sum of their layers

// What a layer takes on the made-up machine.
double TimeOf(int64_t in, int64_t out) { return 1 + 0.01 * static_cast<double>(in * out); }

LatencySetting Setting(const std::string& device, const std::string& version, int64_t batch = 1) {
  return {
      .device = device, .runtime = "libtorch", .version = version, .threads = 1, .batch = batch};
}

// A machine, and what it was asked for. Thread-safe.
class Machine {
 public:
  explicit Machine(LatencySetting setting)
      : setting_(std::move(setting)),
        graph_(*ImportOnnx(TestModel())),
        grouping_(*BuildGroups(graph_)) {}

  v1::RegisterWorkerRequest Identity(const std::string& uuid) const {
    v1::RegisterWorkerRequest identity = FakeIdentity(uuid);
    v1::WorkerCapabilities& capabilities = *identity.mutable_capabilities();
    capabilities.set_processor(setting_.device);
    capabilities.clear_runtimes();
    capabilities.add_runtimes(absl::StrCat(setting_.runtime, " ", setting_.version));
    return identity;
  }

  FakeWorker::Outcome Measure(const v1::Lease& lease) {
    MutexLock lock(&mutex_);
    leases_.push_back(lease);
    v1::TaskResult result;
    if (lease.kind() == v1::TASK_KIND_MEASURE_LAYERS) {
      *result.mutable_layers() = Layers(lease);
    } else {
      *result.mutable_timing() = Networks(lease);
    }
    return result;
  }

  std::vector<v1::Lease> leases() const {
    MutexLock lock(&mutex_);
    return leases_;
  }

  // All points of all layers leases, in the order they came.
  std::vector<LatencyRow> rows() const {
    std::vector<LatencyRow> rows;
    for (const v1::Lease& lease : leases()) {
      const v1::LayerPoints& points = lease.timing().layers();
      for (int i = 0; i < points.in_size(); ++i) {
        rows.push_back({.layer = points.layer(),
                        .in = points.in(i),
                        .out = points.out(i),
                        .median_us = TimeOf(points.in(i), points.out(i)),
                        .spread_us = 0.25});
      }
    }
    return rows;
  }

  const Graph& graph() const { return graph_; }
  const Grouping& grouping() const { return grouping_; }

 private:
  v1::LayerReport Layers(const v1::Lease& lease) const {
    v1::LayerReport report;
    *report.mutable_setting() = ToProto(setting_);
    report.mutable_setting()->set_batch(lease.timing().setting().batch());
    const v1::LayerPoints& points = lease.timing().layers();
    for (int i = 0; i < points.in_size(); ++i) {
      *report.add_rows() = ToProto(LatencyRow{.layer = points.layer(),
                                              .in = points.in(i),
                                              .out = points.out(i),
                                              .median_us = TimeOf(points.in(i), points.out(i)),
                                              .spread_us = 0.25});
    }
    report.set_unstable(1);
    report.set_reference_us(kReferenceUs);
    return report;
  }

  // By the plain function, without a table: on its grid both are the same.
  v1::TimingReport Networks(const v1::Lease& lease) const {
    const LatencyLayers layers = *ListLatencyLayers(graph_, grouping_);
    const auto time = [&](const v1::Policy& policy) {
      const std::vector<int64_t> kept = *KeptCounts(FromProto(policy), grouping_);
      double sum = 0;
      for (const LatencyLayer& layer : layers.layers) {
        sum +=
            TimeOf(layers.extents.Length(layer.in, kept), layers.extents.Length(layer.out, kept));
      }
      v1::NetworkTiming timing;
      timing.set_median_us(kFactor * sum);
      timing.set_repeatability(0.004);
      timing.set_stable(true);
      return timing;
    };
    v1::TimingReport report;
    *report.mutable_original() = time({});
    for (const v1::Policy& policy : lease.timing().policies())
      *report.add_policies() = time(policy);
    return report;
  }

  const LatencySetting setting_;
  const Graph graph_;
  const Grouping grouping_;
  mutable Mutex mutex_;
  std::vector<v1::Lease> leases_ ABSL_GUARDED_BY(mutex_);
};

class TableJobTest : public ServerTest {
 protected:
  v1::JobSpec TableSpec() {
    v1::JobSpec spec;
    spec.set_model(Upload(TestModel(), v1::ARTIFACT_KIND_MODEL));
    spec.mutable_build()->set_points(4);
    return spec;
  }

  std::unique_ptr<FakeWorker> Work(Machine& machine, const std::string& uuid) {
    return std::make_unique<FakeWorker>(
        channel_, machine.Identity(uuid),
        [&machine](const v1::Lease& lease) { return machine.Measure(lease); });
  }

  LatencyTable Fetch(const std::string& digest) {
    const auto stub = v1::LatencyService::NewStub(channel_);
    v1::GetLatencyTableRequest request;
    request.set_digest(digest);
    v1::LatencyTable table;
    grpc::ClientContext context;
    const grpc::Status status = stub->GetLatencyTable(&context, request, &table);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return FromProto(table);
  }

  template <typename Request>
  absl::StatusOr<v1::Job> Change(grpc::Status (v1::JobService::Stub::*method)(grpc::ClientContext*,
                                                                              const Request&,
                                                                              v1::Job*),
                                 Request request, const std::string& id) {
    request.set_id(id);
    grpc::ClientContext context;
    v1::Job job;
    const grpc::Status status = ((*jobs_).*method)(&context, request, &job);
    if (!status.ok()) return FromGrpcStatus(status);
    return job;
  }
  absl::StatusOr<v1::Job> Cancel(const std::string& id) {
    return Change(&v1::JobService::Stub::CancelJob, v1::CancelJobRequest(), id);
  }
  absl::StatusOr<v1::Job> Resume(const std::string& id, int64_t more_episodes = 0) {
    v1::ResumeJobRequest request;
    request.set_more_episodes(more_episodes);
    return Change(&v1::JobService::Stub::ResumeJob, request, id);
  }

  void Delete(const std::string& id) {
    v1::DeleteJobRequest request;
    request.set_id(id);
    grpc::ClientContext context;
    v1::DeleteJobResponse response;
    EXPECT_TRUE(jobs_->DeleteJob(&context, request, &response).ok());
  }

  // The fields that a submission is refused for.
  std::vector<std::string> BadFields(const v1::JobSpec& spec) {
    const absl::Status status = Submit(spec, absl::StrCat("bad", ++requests_)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    std::vector<std::string> fields;
    for (const FieldViolation& violation : FieldViolations(status)) {
      fields.push_back(violation.field);
    }
    return fields;
  }
  int requests_ = 0;
};

TEST_F(TableJobTest, MakesATableOfEveryPointAndAFitOfWholeNetworks) {
  Machine machine(Setting("CPU A", "1.13.1"));
  const auto worker = Work(machine, "w1");
  const absl::StatusOr<v1::Job> submitted = Submit(TableSpec(), "r1");
  ASSERT_TRUE(submitted.ok()) << submitted.status();
  const v1::Job job = WaitForEnd(submitted->id());
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  const v1::BuiltTable& built = job.result().table();
  const LatencyTable table = Fetch(built.table().digest());
  EXPECT_EQ(table.setting, Setting("CPU A", "1.13.1"));
  EXPECT_EQ(table.tolerance, job.spec().build().tolerance());
  // The grid is the one that this machine would have measured by itself.
  const std::vector<TablePoint> points =
      *PlanTable(machine.graph(), machine.grouping(), LatencyTable(), 4, 8);
  ASSERT_EQ(table.rows.size(), points.size());
  for (const LatencyRow& row : table.rows) EXPECT_EQ(row.median_us, TimeOf(row.in, row.out));
  EXPECT_EQ(built.table().rows(), static_cast<int64_t>(points.size()));
  EXPECT_EQ(built.measured(), static_cast<int64_t>(points.size()));
  const std::vector<v1::Lease> leases = machine.leases();
  EXPECT_EQ(built.unstable(), static_cast<int64_t>(leases.size()) - 1);  // one per part
  // Interpolation of in * out is exact, so the fit finds the factor.
  ASSERT_EQ(table.fits.size(), 1U);
  EXPECT_EQ(table.fits[0].model, job.spec().model());
  EXPECT_EQ(table.fits[0].networks, 8);
  EXPECT_NEAR(table.fits[0].layers, kFactor, 0.1);  // a ridge draws it to 1
  EXPECT_LT(table.fits[0].p95_error, 0.02);
  EXPECT_NEAR(table.fits[0].repeatability, 0.004, 1e-9);
  EXPECT_THAT(Episodes(job.id()), IsEmpty());
  // It is a table like any other: a search can have its budget by it.
  v1::JobSpec search = Spec();
  search.mutable_latency()->set_table(built.table().digest());
  search.mutable_budget()->set_resource(v1::RESOURCE_LATENCY);
  EXPECT_TRUE(Submit(search, "r2").ok());
}

TEST_F(TableJobTest, MeasuresOneKindAfterTheOtherInParts) {
  Machine machine(Setting("CPU A", "1.13.1"));
  const auto one = Work(machine, "w1"), two = Work(machine, "w2");
  v1::JobSpec spec = TableSpec();
  spec.mutable_build()->set_points(14);
  spec.mutable_build()->set_channel_multiple(1);
  spec.mutable_build()->set_seed(7);
  const v1::Job job = WaitForEnd(Submit(spec, "r1")->id());
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  const std::vector<v1::Lease> leases = machine.leases();
  int64_t first = 0;
  std::set<std::string> kinds;
  for (size_t i = 0; i + 1 < leases.size(); ++i) {
    ASSERT_EQ(leases[i].kind(), v1::TASK_KIND_MEASURE_LAYERS);
    const v1::TimingOrder& order = leases[i].timing();
    EXPECT_EQ(order.layers().first(), first);
    EXPECT_EQ(order.layers().total(), job.result().table().measured());
    EXPECT_LT(order.layers().in_size(), 64 + 16);
    EXPECT_EQ(order.seed(), 7U);
    // All parts of a job are on the scale of its first measurement.
    EXPECT_EQ(order.reference_us(), i == 0 ? 0 : kReferenceUs);
    EXPECT_EQ(order.setting().device(), i == 0 ? "" : "CPU A");
    EXPECT_EQ(order.setting().version(), i == 0 ? "" : "1.13.1");
    first += order.layers().in_size();
    kinds.insert(order.layers().layer());
  }
  EXPECT_LT(kinds.size(), leases.size() - 1);  // some kinds have more than one part
  EXPECT_EQ(leases.back().kind(), v1::TASK_KIND_TIME);
  EXPECT_EQ(leases.back().timing().reference_us(), kReferenceUs);
  EXPECT_EQ(leases.back().timing().setting().device(), "CPU A");
}

TEST_F(TableJobTest, TheFirstWorkerDecidesTheSetting) {
  Machine a(Setting("CPU A", "1.13.1")), b(Setting("CPU B", "2.1.0"));
  const auto one = Work(a, "w1"), two = Work(b, "w2");
  const v1::Job job = WaitForEnd(Submit(TableSpec(), "r1")->id());
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  const bool was_a = job.result().table().table().setting().device() == "CPU A";
  EXPECT_THAT((was_a ? b : a).leases(), IsEmpty());
}

TEST_F(TableJobTest, WaitsForTheProcessorThatTheSpecNames) {
  Machine a(Setting("CPU A", "1.13.1")), b(Setting("CPU B", "2.1.0"));
  const auto one = Work(a, "w1");
  v1::JobSpec spec = TableSpec();
  spec.mutable_build()->set_device("CPU B");
  const std::string id = Submit(spec, "r1")->id();
  v1::WatchJobRequest request;
  request.set_id(id);
  grpc::ClientContext context;
  const auto reader = jobs_->WatchJob(&context, request);
  v1::JobEvent event;
  while (reader->Read(&event) && event.kind() != v1::EVENT_KIND_PROGRESS) continue;
  EXPECT_THAT(event.message(), HasSubstr("waiting for a worker: "));
  EXPECT_THAT(event.message(), HasSubstr("libtorch on CPU B, 1 thread"));
  context.TryCancel();
  const auto two = Work(b, "w2");
  EXPECT_EQ(WaitForEnd(id).state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(a.leases(), IsEmpty());
}

TEST_F(TableJobTest, ARestartedServerGoesOnWhereItWas) {
  Machine machine(Setting("CPU A", "1.13.1"));
  std::string id;
  {
    // Measures two parts and goes silent in the third.
    FakeWorker worker(channel_, machine.Identity("w1"), [&](const v1::Lease& lease) {
      return machine.leases().size() < 2 ? machine.Measure(lease) : FakeWorker::Outcome();
    });
    id = Submit(TableSpec(), "r1")->id();
    while (worker.completed() < 2) absl::SleepFor(absl::Milliseconds(2));
  }
  EXPECT_EQ(GetJob(id).state(), v1::JOB_STATE_MEASURING);
  RestartServer();
  const auto worker = Work(machine, "w1");
  const v1::Job job = WaitForEnd(id);
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  // No point was measured twice.
  std::set<std::string> measured;
  for (const LatencyRow& row : machine.rows()) {
    EXPECT_TRUE(measured.insert(absl::StrCat(row.layer, " ", row.in, " ", row.out)).second);
  }
  EXPECT_EQ(static_cast<int64_t>(measured.size()), job.result().table().measured());
  EXPECT_EQ(Fetch(job.result().table().table().digest()).rows.size(), measured.size());
}

TEST_F(TableJobTest, CanBeCancelledAndResumedButTakesNoEpisodes) {
  Machine machine(Setting("CPU A", "1.13.1"));
  const std::string id = Submit(TableSpec(), "r1")->id();
  {
    FakeWorker worker(channel_, machine.Identity("w1"), [&](const v1::Lease& lease) {
      return machine.leases().empty() ? machine.Measure(lease) : FakeWorker::Outcome();
    });
    while (worker.completed() < 1) absl::SleepFor(absl::Milliseconds(2));
    EXPECT_EQ(Cancel(id)->state(), v1::JOB_STATE_CANCELLED);
  }
  const absl::Status longer = Resume(id, 5).status();
  EXPECT_EQ(longer.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(longer.message()), HasSubstr("more_episodes"));
  ASSERT_TRUE(Resume(id).ok());
  const auto worker = Work(machine, "w2");
  const v1::Job job = WaitForEnd(id);
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  EXPECT_EQ(static_cast<int64_t>(machine.rows().size()), job.result().table().measured());
  Delete(id);
  // The table stays.
  EXPECT_FALSE(Fetch(job.result().table().table().digest()).rows.empty());
}

TEST_F(TableJobTest, ExtendsATableByWhatItLacks) {
  Machine machine(Setting("CPU A", "1.13.1")), other(Setting("CPU B", "1.13.1"));
  const auto one = Work(machine, "w1");
  const v1::Job first = WaitForEnd(Submit(TableSpec(), "r1")->id());
  ASSERT_EQ(first.state(), v1::JOB_STATE_SUCCEEDED) << first.message();
  const auto two = Work(other, "w2");
  v1::JobSpec spec = TableSpec();
  spec.mutable_build()->set_extend(first.result().table().table().digest().substr(0, 12));
  spec.mutable_build()->set_seed(1);  // other networks
  const size_t before = machine.leases().size();
  const v1::Job same = WaitForEnd(Submit(spec, "r2")->id());
  ASSERT_EQ(same.state(), v1::JOB_STATE_SUCCEEDED) << same.message();
  EXPECT_EQ(same.result().table().measured(), 0);
  EXPECT_EQ(machine.leases().size(), before + 1);  // the networks alone, on the table's machine
  EXPECT_THAT(other.leases(), IsEmpty());
  EXPECT_EQ(Fetch(same.result().table().table().digest()).rows,
            Fetch(first.result().table().table().digest()).rows);

  spec.mutable_build()->set_device("CPU B");
  EXPECT_THAT(BadFields(spec), UnorderedElementsAre("spec.build.extend"));
  spec.mutable_build()->clear_device();
  spec.mutable_build()->set_batch(2);
  EXPECT_THAT(BadFields(spec), UnorderedElementsAre("spec.build.extend"));
}

TEST_F(TableJobTest, ATableIsKeptWhileAJobExtendsIt) {
  Machine machine(Setting("CPU A", "1.13.1"));
  v1::JobSpec spec = TableSpec();
  {
    const auto worker = Work(machine, "w1");
    const v1::Job first = WaitForEnd(Submit(spec, "r1")->id());
    spec.mutable_build()->set_extend(first.result().table().table().digest());
  }
  const std::string id = Submit(spec, "r2")->id();
  const auto stub = v1::LatencyService::NewStub(channel_);
  v1::DeleteLatencyTableRequest request;
  request.set_digest(spec.build().extend());
  v1::DeleteLatencyTableResponse response;
  grpc::ClientContext refused, allowed;
  EXPECT_EQ(stub->DeleteLatencyTable(&refused, request, &response).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(Cancel(id).ok());
  Delete(id);
  EXPECT_TRUE(stub->DeleteLatencyTable(&allowed, request, &response).ok());
  EXPECT_EQ(Submit(spec, "r3").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(TableJobTest, AWorkerThatRefusesALayerEndsTheJobWithItsWords) {
  Machine machine(Setting("CPU A", "1.13.1"));
  FakeWorker worker(channel_, machine.Identity("w1"), [](const v1::Lease&) {
    v1::TaskError error;
    error.set_kind(v1::TASK_ERROR_KIND_PERMANENT);
    error.set_message("layer conv 3x3: dilations are not supported");
    return error;
  });
  const v1::Job job = WaitForEnd(Submit(TableSpec(), "r1")->id());
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job.failure(), v1::FAILURE_REASON_EVALUATION);
  EXPECT_THAT(job.message(), HasSubstr("layer conv 3x3: dilations are not supported"));
}

TEST_F(TableJobTest, RefusesWhatASearchHas) {
  const v1::JobSpec search = Spec();
  v1::JobSpec spec = TableSpec();
  spec.set_data(search.data());
  *spec.mutable_budget() = search.budget();
  *spec.mutable_search() = search.search();
  spec.mutable_space();
  spec.mutable_evaluation();
  spec.mutable_latency();
  spec.mutable_requirements();
  spec.set_max_workers(1);
  spec.set_reuse(true);
  spec.set_allow_weak_baseline(false);
  EXPECT_THAT(BadFields(spec),
              UnorderedElementsAre("spec.data", "spec.budget", "spec.search", "spec.space",
                                   "spec.evaluation", "spec.latency", "spec.requirements",
                                   "spec.max_workers", "spec.reuse", "spec.allow_weak_baseline"));
}

TEST_F(TableJobTest, NamesEveryBadField) {
  v1::JobSpec spec = TableSpec();
  v1::LatencyBuild& build = *spec.mutable_build();
  build.set_runtime("tensorrt");
  build.set_threads(0);
  build.set_batch(-1);
  build.set_tolerance(0.6);
  build.set_points(1);
  build.set_networks(2);
  build.set_unseen(0);
  build.set_channel_multiple(0);
  build.set_device("CPU\n");
  build.set_extend("12345");
  EXPECT_THAT(
      BadFields(spec),
      UnorderedElementsAre("spec.build.runtime", "spec.build.threads", "spec.build.batch",
                           "spec.build.tolerance", "spec.build.points", "spec.build.networks",
                           "spec.build.unseen", "spec.build.channel_multiple", "spec.build.device",
                           "spec.build.extend"));
  spec.mutable_build()->Clear();
  spec.set_model("resnet.onnx");
  EXPECT_THAT(BadFields(spec), UnorderedElementsAre("spec.model"));
  spec.set_model(std::string(64, 'a'));
  EXPECT_EQ(Submit(spec, "gone").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace amc
