// WorkerService over a real socket: leases, epochs, lost workers.
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/channel.h"
#include "server/rpc/status_convert.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class WorkerServiceTest : public ServerTest {
 protected:
  void SetUp() override {
    options_.lease_term = absl::Milliseconds(500);
    ServerTest::SetUp();
  }

  static v1::RegisterWorkerRequest Identity(const std::string& uuid,
                                            const std::string& platform = "fake:1") {
    v1::RegisterWorkerRequest request;
    request.set_uuid(uuid);
    request.mutable_capabilities()->set_version(std::string(Version()));
    request.mutable_capabilities()->add_devices(v1::DEVICE_CPU);
    request.mutable_capabilities()->set_threads(1);
    request.mutable_capabilities()->set_platform_id(platform);
    return request;
  }
  absl::StatusOr<std::string> Register(const v1::RegisterWorkerRequest& request) {
    v1::RegisterWorkerResponse response;
    grpc::ClientContext context;
    const grpc::Status status = workers_->RegisterWorker(&context, request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return response.session();
  }
  absl::StatusOr<v1::LeaseTaskResponse> Lease(const std::string& session,
                                              const std::string& request_id,
                                              int64_t wait_ms = 2000) {
    v1::LeaseTaskRequest request;
    request.set_session(session);
    request.set_request_id(request_id);
    request.set_wait_ms(wait_ms);
    v1::LeaseTaskResponse response;
    grpc::ClientContext context;
    const grpc::Status status = workers_->LeaseTask(&context, request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return response;
  }
  static v1::LeaseRef Ref(const v1::Lease& lease) {
    v1::LeaseRef ref;
    ref.set_job(lease.job());
    ref.set_task(lease.task());
    ref.set_epoch(lease.epoch());
    return ref;
  }
  absl::Status Complete(const std::string& session, const v1::Lease& lease, double top1 = 0.9,
                        const std::string& numerics = "") {
    v1::CompleteTaskRequest request;
    request.set_session(session);
    *request.mutable_lease() = Ref(lease);
    request.mutable_result()->mutable_measurement()->set_top1(top1);
    request.mutable_result()->mutable_measurement()->set_images(32);
    request.mutable_result()->set_numerics_id(numerics.empty() ? lease.numerics_id() : numerics);
    v1::CompleteTaskResponse response;
    grpc::ClientContext context;
    return FromGrpcStatus(workers_->CompleteTask(&context, request, &response));
  }
  // Registers a worker and has it take a task; its session.
  std::string LeaseAs(const std::string& uuid) {
    std::string session = *Register(Identity(uuid));
    EXPECT_TRUE(Lease(session, uuid, 5000)->has_lease());
    return session;
  }
  absl::Status Crash(const std::string& session, const std::string& message,
                     bool from_outside = false) {
    v1::ReportCrashRequest request;
    request.set_session(session);
    request.set_message(message);
    request.set_from_outside(from_outside);
    v1::ReportCrashResponse response;
    grpc::ClientContext context;
    return FromGrpcStatus(workers_->ReportCrash(&context, request, &response));
  }
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const std::string& session,
                                                  const std::vector<v1::LeaseRef>& leases) {
    v1::HeartbeatRequest request;
    request.set_session(session);
    for (const v1::LeaseRef& ref : leases) *request.add_leases()->mutable_lease() = ref;
    v1::HeartbeatResponse response;
    grpc::ClientContext context;
    const grpc::Status status = workers_->Heartbeat(&context, request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return response;
  }
};

TEST_F(WorkerServiceTest, RefusesAnotherVersionAndNamesBoth) {
  v1::RegisterWorkerRequest request = Identity("w");
  request.mutable_capabilities()->set_version("9.9.9");
  const absl::Status status = Register(request).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("9.9.9"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(Version())));
}

TEST_F(WorkerServiceTest, KnowsOneSessionPerWorker) {
  const std::string first = *Register(Identity("w"));
  const std::string second = *Register(Identity("w"));
  EXPECT_TRUE(absl::IsUnauthenticated(Lease(first, "a", 0).status()));
  EXPECT_TRUE(absl::IsUnauthenticated(Heartbeat("made up", {}).status()));
  EXPECT_TRUE(Lease(second, "a", 0).ok());
}

TEST_F(WorkerServiceTest, WaitsForATaskAndGivesARepeatTheSameLease) {
  const std::string session = *Register(Identity("w"));
  EXPECT_FALSE(Lease(session, "early", 0)->has_lease());
  ASSERT_TRUE(Submit(Spec(), "r").ok());
  const v1::LeaseTaskResponse lease = *Lease(session, "a");
  ASSERT_TRUE(lease.has_lease());
  EXPECT_EQ(lease.lease().kind(), v1::TASK_KIND_BASELINE);
  EXPECT_EQ(lease.lease().epoch(), 1);
  EXPECT_EQ(lease.lease().numerics_id(), "cpu:fake:1:threads1:batch64:fp32");
  const v1::LeaseTaskResponse repeat = *Lease(session, "a");
  EXPECT_EQ(repeat.lease().task(), lease.lease().task());
  EXPECT_EQ(repeat.lease().epoch(), lease.lease().epoch());
  EXPECT_FALSE(Lease(session, "b", 0)->has_lease());
}

TEST_F(WorkerServiceTest, TakesIdenticalRepeatsAndAbortsStaleEpochs) {
  ASSERT_TRUE(Submit(Spec(), "r").ok());
  const std::string lost = *Register(Identity("lost"));
  const v1::Lease first = Lease(lost, "a")->lease();
  const std::string taker = *Register(Identity("taker"));
  // Without heartbeats the lease ends and another worker gets the task at the next epoch.
  const v1::Lease second = Lease(taker, "b", 5000)->lease();
  EXPECT_EQ(second.task(), first.task());
  EXPECT_EQ(second.epoch(), first.epoch() + 1);
  EXPECT_TRUE(absl::IsAborted(Complete(lost, first)));
  EXPECT_TRUE(absl::IsPermissionDenied(Complete(lost, second)));
  EXPECT_TRUE(absl::IsInvalidArgument(Complete(taker, second, 0.9, "cpu:other")));
  EXPECT_TRUE(Complete(taker, second).ok());
  EXPECT_TRUE(Complete(taker, second).ok());                 // the same again
  EXPECT_FALSE(Complete(taker, second, /*top1=*/0.1).ok());  // not the same
  v1::Lease never = second;
  never.set_task(99);
  EXPECT_TRUE(absl::IsAborted(Complete(taker, never)));
}

TEST_F(WorkerServiceTest, RenewsByHeartbeatAndListsWhatIsLost) {
  ASSERT_TRUE(Submit(Spec(), "r").ok());
  const std::string session = *Register(Identity("w"));
  const v1::Lease lease = Lease(session, "a")->lease();
  for (int i = 0; i < 10; ++i) {  // twice the term
    absl::SleepFor(absl::Milliseconds(100));
    EXPECT_THAT(Heartbeat(session, {Ref(lease)})->lost(), IsEmpty());
  }
  v1::LeaseRef stale = Ref(lease);
  stale.set_epoch(7);
  const v1::HeartbeatResponse response = *Heartbeat(session, {stale, Ref(lease)});
  ASSERT_THAT(response.lost(), SizeIs(1));
  EXPECT_EQ(response.lost(0).epoch(), 7);
  EXPECT_EQ(response.heartbeat_ms(), 20);  // more often than an idle worker's 50
  v1::CancelJobRequest cancel;
  cancel.set_id(lease.job());
  v1::Job job;
  grpc::ClientContext context;
  ASSERT_TRUE(jobs_->CancelJob(&context, cancel, &job).ok());
  EXPECT_THAT(Heartbeat(session, {Ref(lease)})->lost(), SizeIs(1));
}

TEST_F(WorkerServiceTest, GivesLeasesBackAtGoodbye) {
  ASSERT_TRUE(Submit(Spec(), "r").ok());
  const std::string first = *Register(Identity("first"));
  const v1::Lease lease = Lease(first, "a")->lease();
  v1::UnregisterWorkerRequest request;
  request.set_session(first);
  v1::UnregisterWorkerResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(workers_->UnregisterWorker(&context, request, &response).ok());
  const std::string second = *Register(Identity("second"));
  EXPECT_EQ(Lease(second, "b", 100)->lease().epoch(), lease.epoch() + 1);
}

TEST_F(WorkerServiceTest, MatchesNoWorkerOfOtherNumerics) {
  ASSERT_TRUE(Submit(Spec(), "r").ok());
  const std::string session = *Register(Identity("w"));
  ASSERT_TRUE(Complete(session, Lease(session, "a")->lease()).ok());
  const std::string other = *Register(Identity("other", "fake:2"));
  EXPECT_FALSE(Lease(other, "b", 300)->has_lease());
  EXPECT_TRUE(Lease(session, "c", 300)->has_lease());
}

TEST_F(WorkerServiceTest, HoldsNoTaskToAccountForWorkersThatWereLost) {
  v1::JobSpec spec = Spec();
  spec.set_max_attempts(1);
  const std::string id = Submit(spec, "r")->id();
  const std::string session = *Register(Identity("w"));
  v1::Lease lease;
  for (int64_t epoch = 1; epoch <= 3; ++epoch) {
    lease = Lease(session, absl::StrCat(epoch), 10'000)->lease();
    EXPECT_EQ(lease.epoch(), epoch);
  }
  EXPECT_TRUE(Complete(session, lease).ok());
}

TEST_F(WorkerServiceTest, QuarantinesACandidateThatCrashesItsWorkers) {
  v1::JobSpec spec = Spec();
  spec.set_max_attempts(2);
  const std::string id = Submit(spec, "r")->id();
  ASSERT_TRUE(Crash(LeaseAs("a"), "killed by signal 15", /*from_outside=*/true).ok());
  ASSERT_TRUE(Crash(LeaseAs("b"), "killed by signal 11").ok());
  EXPECT_EQ(GetJob(id).state(), v1::JOB_STATE_BASELINE);
  const std::string last = LeaseAs("c");
  ASSERT_TRUE(Crash(last, "killed by signal 11 (Segmentation fault)").ok());
  v1::Job job = WaitForEnd(id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job.failure(), v1::FAILURE_REASON_QUARANTINED);
  EXPECT_THAT(job.message(), HasSubstr("on worker c"));
  EXPECT_THAT(job.message(), HasSubstr("Segmentation fault"));
  EXPECT_TRUE(absl::IsUnauthenticated(Crash(last, "again")));
  EXPECT_EQ(job.episodes_done(), 0);

  // A resumed job gets all its attempts anew.
  v1::ResumeJobRequest resume;
  resume.set_id(id);
  grpc::ClientContext context;
  ASSERT_TRUE(jobs_->ResumeJob(&context, resume, &job).ok());
  ASSERT_TRUE(Crash(LeaseAs("d"), "killed by signal 11").ok());
  FakeWorker worker(channel_, "healthy");
  EXPECT_EQ(WaitForEnd(id).state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(WorkerServiceTest, AsksWorkersToLeaveAndGivesThemNothingMore) {
  const std::string busy = *Register(Identity("busy"));
  ASSERT_TRUE(Submit(Spec(), "r").ok());
  const v1::Lease lease = Lease(busy, "a")->lease();
  const std::string idle = *Register(Identity("idle"));
  absl::StatusOr<v1::LeaseTaskResponse> waited;
  std::thread poll([&] { waited = Lease(idle, "b", 20'000); });
  absl::SleepFor(absl::Milliseconds(100));

  v1::DrainWorkersRequest request;
  v1::DrainWorkersResponse response;
  const auto drain = [&] {
    grpc::ClientContext context;
    return workers_->DrainWorkers(&context, request, &response);
  };
  EXPECT_EQ(drain().error_code(), grpc::StatusCode::INVALID_ARGUMENT);  // nobody is named
  request.add_uuids("busy");
  request.add_uuids("nobody");
  EXPECT_EQ(drain().error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_FALSE(Heartbeat(busy, {Ref(lease)})->drain());
  request.clear_uuids();
  request.set_all(true);
  ASSERT_TRUE(drain().ok());
  EXPECT_THAT(response.uuids(), ElementsAre("busy", "idle"));
  poll.join();  // did not wait for its 20 s
  EXPECT_FALSE(waited->has_lease());
  EXPECT_TRUE(Lease(idle, "c", 20'000)->drain());
  EXPECT_TRUE(Heartbeat(busy, {Ref(lease)})->drain());
  EXPECT_TRUE(Complete(busy, lease).ok());  // what it has, it finishes
  EXPECT_FALSE(Lease(busy, "d", 500)->has_lease());
  // It stays so when the connection was lost meanwhile.
  EXPECT_TRUE(Lease(*Register(Identity("busy")), "e", 500)->drain());
}

TEST_F(WorkerServiceTest, RemembersADrainOfAWorkerThatWasSilent) {
  const std::string session = *Register(Identity("w"));
  v1::DrainWorkersRequest request;
  request.add_uuids("w");
  v1::DrainWorkersResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(workers_->DrainWorkers(&context, request, &response).ok());
  absl::SleepFor(absl::Seconds(1));  // twice the term: it is lost
  EXPECT_TRUE(Heartbeat(session, {})->drain());
  EXPECT_TRUE(Lease(session, "a", 20'000)->drain());
}

TEST_F(WorkerServiceTest, CountsARepeatedCompletionOnce) {
  ASSERT_TRUE(Submit(Spec(), "r").ok());
  const std::string session = *Register(Identity("w"));
  const v1::Lease lease = Lease(session, "a")->lease();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Complete(session, lease).ok());
  v1::ServerStatus status;
  grpc::ClientContext context;
  ASSERT_TRUE(admin_->GetServerStatus(&context, {}, &status).ok());
  EXPECT_EQ(status.completions(), 1);
}

TEST_F(WorkerServiceTest, GivesTasksOnlyToWorkersWithWhatTheJobRequires) {
  v1::JobSpec spec = Spec();
  spec.mutable_requirements()->set_memory_bytes(1000);
  spec.mutable_requirements()->set_runtime("libtorch");
  ASSERT_TRUE(Submit(spec, "r").ok());
  v1::RegisterWorkerRequest identity = Identity("small");
  identity.mutable_capabilities()->set_memory_bytes(999);
  identity.mutable_capabilities()->add_runtimes("libtorch 1.13.1");
  EXPECT_FALSE(Lease(*Register(identity), "a", 200)->has_lease());
  identity.set_uuid("large");
  identity.mutable_capabilities()->set_memory_bytes(1000);
  EXPECT_TRUE(Lease(*Register(identity), "a", 2000)->has_lease());
}

TEST_F(WorkerServiceTest, TakesUpALeaseThatOutlivedTheServer) {
  ASSERT_TRUE(Submit(Spec(), "r").ok());
  const std::string session = *Register(Identity("w"));
  const v1::Lease lease = Lease(session, "a")->lease();
  RestartServer();
  EXPECT_TRUE(absl::IsUnauthenticated(Heartbeat(session, {Ref(lease)}).status()));
  const std::string again = *Register(Identity("w"));
  EXPECT_THAT(Heartbeat(again, {Ref(lease)})->lost(), IsEmpty());
  EXPECT_TRUE(Complete(again, lease).ok());
}

TEST_F(WorkerServiceTest, ListsWorkersWithTheirState) {
  ASSERT_TRUE(Submit(Spec(), "r").ok());
  const std::string busy = *Register(Identity("busy"));
  const v1::Lease lease = Lease(busy, "a")->lease();
  ASSERT_TRUE(Register(Identity("silent")).ok());
  for (int i = 0; i < 10; ++i) {
    absl::SleepFor(absl::Milliseconds(100));
    ASSERT_TRUE(Heartbeat(busy, {Ref(lease)}).ok());
  }
  v1::ListWorkersResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(workers_->ListWorkers(&context, {}, &response).ok());
  ASSERT_THAT(response.workers(), SizeIs(2));
  for (const v1::Worker& worker : response.workers()) {
    if (worker.uuid() == "busy") {
      EXPECT_EQ(worker.state(), v1::WORKER_STATE_BUSY);
      EXPECT_EQ(worker.lease().task(), lease.task());
    } else {
      EXPECT_EQ(worker.state(), v1::WORKER_STATE_LOST);
    }
  }
  v1::ListWorkersRequest present;
  present.set_present(true);
  grpc::ClientContext second;
  ASSERT_TRUE(workers_->ListWorkers(&second, present, &response).ok());
  ASSERT_THAT(response.workers(), SizeIs(1));
  EXPECT_EQ(response.workers(0).uuid(), "busy");
  EXPECT_EQ(response.workers(0).progress().lease().task(), lease.task());
}

TEST_F(WorkerServiceTest, PagesThroughThoseWhoAreThere) {
  for (const char* uuid : {"a", "b", "c", "d", "e"}) ASSERT_TRUE(Register(Identity(uuid)).ok());
  v1::ListWorkersRequest request;
  request.set_present(true);
  request.set_page_size(2);
  std::string seen;
  do {
    v1::ListWorkersResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(workers_->ListWorkers(&context, request, &response).ok());
    for (const v1::Worker& worker : response.workers()) seen += worker.uuid();
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(seen, "abcde");
}

}  // namespace
}  // namespace amc
