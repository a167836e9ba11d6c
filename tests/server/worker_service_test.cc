// WorkerService over a real socket: leases, epochs, lost workers.
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
  EXPECT_EQ(response.heartbeat_ms(), 50);
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

TEST_F(WorkerServiceTest, FailsTheJobWhenTooManyWorkersAreLost) {
  v1::JobSpec spec = Spec();
  spec.set_max_attempts(2);
  const std::string id = Submit(spec, "r")->id();
  const std::string session = *Register(Identity("w"));
  ASSERT_TRUE(Lease(session, "a")->has_lease());
  ASSERT_TRUE(Lease(session, "b", 5000)->has_lease());
  const v1::Job job = WaitForEnd(id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job.failure(), v1::FAILURE_REASON_LOST_WORKERS);
  EXPECT_THAT(job.message(), HasSubstr("on worker w"));
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
}

}  // namespace
}  // namespace amc
