// JobService over a real socket, with workers that need no torch.
#include <map>
#include <mutex>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/status_convert.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class JobServiceTest : public ServerTest {
 protected:
  absl::StatusOr<v1::Job> Cancel(const std::string& id) {
    v1::CancelJobRequest request;
    request.set_id(id);
    grpc::ClientContext context;
    v1::Job job;
    const grpc::Status status = jobs_->CancelJob(&context, request, &job);
    if (!status.ok()) return FromGrpcStatus(status);
    return job;
  }
  absl::StatusOr<v1::Job> Resume(const std::string& id, int64_t more_episodes = 0) {
    v1::ResumeJobRequest request;
    request.set_id(id);
    request.set_more_episodes(more_episodes);
    grpc::ClientContext context;
    v1::Job job;
    const grpc::Status status = jobs_->ResumeJob(&context, request, &job);
    if (!status.ok()) return FromGrpcStatus(status);
    return job;
  }
  absl::Status Delete(const std::string& id) {
    v1::DeleteJobRequest request;
    request.set_id(id);
    grpc::ClientContext context;
    v1::DeleteJobResponse response;
    return FromGrpcStatus(jobs_->DeleteJob(&context, request, &response));
  }
  // Every stored event after `after`, until the job ends.
  std::vector<v1::JobEvent> Watch(const std::string& id, int64_t after,
                                  absl::Status* status = nullptr) {
    v1::WatchJobRequest request;
    request.set_id(id);
    request.set_after_sequence(after);
    grpc::ClientContext context;
    const auto reader = jobs_->WatchJob(&context, request);
    std::vector<v1::JobEvent> events;
    v1::JobEvent event;
    while (reader->Read(&event)) {
      if (event.kind() != v1::EVENT_KIND_PROGRESS) events.push_back(event);
    }
    const absl::Status end = FromGrpcStatus(reader->Finish());
    if (status != nullptr) *status = end;
    return events;
  }
};

TEST_F(JobServiceTest, RunsAJobToItsResult) {
  FakeWorker worker(channel_, "w1");
  const absl::StatusOr<v1::Job> submitted = Submit(Spec(), "r1");
  ASSERT_TRUE(submitted.ok()) << submitted.status();
  EXPECT_EQ(submitted->state(), v1::JOB_STATE_QUEUED);
  EXPECT_GT(submitted->evaluation_work(), 0);
  EXPECT_GT(submitted->original_cost().macs(), 0);
  EXPECT_EQ(submitted->budget_limit(), submitted->original_cost().macs() / 2);
  const v1::Job job = WaitForEnd(submitted->id());
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  EXPECT_EQ(job.episodes_done(), 6);
  EXPECT_EQ(job.numerics_id(), "cpu:fake:1:threads1:batch64:fp32");
  EXPECT_EQ(job.baseline().top1(), 0.9);
  EXPECT_GE(job.end_time_ms(), job.start_time_ms());
  EXPECT_EQ(job.result().episode(), job.best_episode());
  EXPECT_GT(job.result().steps_size(), 0);
  EXPECT_EQ(worker.completed(), 8);  // baseline, six episodes, finish

  v1::GetBestRequest request;
  request.set_job(job.id());
  v1::GetBestResponse best;
  grpc::ClientContext context;
  ASSERT_TRUE(jobs_->GetBest(&context, request, &best).ok());
  EXPECT_EQ(best.episode().number(), job.best_episode());
  EXPECT_EQ(best.episode().reward(), job.best_reward());
  EXPECT_EQ(best.episode().worker(), "w1");
  EXPECT_LE(best.episode().cost().macs(), job.budget_limit());
  EXPECT_EQ(best.result().model(), job.result().model());
}

TEST_F(JobServiceTest, SubmitsOncePerRequestId) {
  const v1::JobSpec spec = Spec();
  const absl::StatusOr<v1::Job> first = Submit(spec, "same");
  const absl::StatusOr<v1::Job> second = Submit(spec, "same");
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->id(), second->id());
  v1::JobSpec other = spec;
  other.mutable_search()->set_seed(5);
  EXPECT_EQ(Submit(other, "same").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_NE(Submit(spec, "another")->id(), first->id());
  EXPECT_THAT(FieldViolations(Submit(spec, "").status()),
              ElementsAre(FieldViolation{"request_id", "has 0 characters, not 1 to 128"}));
}

// As if they had been asked for at once: 2 is a divisor of 6, so that the generations are the same.
TEST_F(JobServiceTest, GoesOnWithMoreEpisodes) {
  FakeWorker worker(channel_, "w1");
  const v1::Job whole = WaitForEnd(Submit(Spec(10), "whole")->id());
  const v1::Job first = WaitForEnd(Submit(Spec(6), "extended")->id());
  ASSERT_EQ(first.state(), v1::JOB_STATE_SUCCEEDED) << first.message();
  EXPECT_EQ(Resume(first.id()).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Resume(first.id(), -1).status().code(), absl::StatusCode::kInvalidArgument);
  const absl::StatusOr<v1::Job> resumed = Resume(first.id(), 4);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_FALSE(resumed->has_result());
  const v1::Job extended = WaitForEnd(first.id());
  ASSERT_EQ(extended.state(), v1::JOB_STATE_SUCCEEDED) << extended.message();
  EXPECT_EQ(extended.spec().search().episodes(), 10);
  EXPECT_EQ(extended.evaluations_spent(), 10);
  EXPECT_EQ(extended.episodes_done(), 10);
  EXPECT_EQ(extended.best_episode(), whole.best_episode());
  EXPECT_EQ(extended.best_reward(), whole.best_reward());
  EXPECT_EQ(extended.result().episode(), whole.result().episode());
}

TEST_F(JobServiceTest, RefusesBadSpecsWithFieldPaths) {
  const v1::JobSpec good = Spec();
  const auto field = [&](const v1::JobSpec& spec, absl::StatusCode code) -> std::string {
    const absl::Status status = Submit(spec, "r").status();
    EXPECT_EQ(status.code(), code) << status;
    const std::vector<FieldViolation> violations = FieldViolations(status);
    return violations.empty() ? "" : violations[0].field;
  };
  v1::JobSpec spec = good;
  spec.set_model(std::string(64, '0'));
  EXPECT_EQ(field(spec, absl::StatusCode::kNotFound), "spec.model");
  spec = good;
  spec.set_data(std::string(64, '0'));
  EXPECT_EQ(field(spec, absl::StatusCode::kNotFound), "spec.data");
  spec = good;
  spec.set_data(good.model());
  EXPECT_EQ(field(spec, absl::StatusCode::kInvalidArgument), "spec.data");
  spec = good;
  spec.set_model(good.data());
  EXPECT_EQ(field(spec, absl::StatusCode::kInvalidArgument), "spec.model");
  spec = good;
  spec.mutable_budget()->set_ratio(1e-6);
  EXPECT_EQ(field(spec, absl::StatusCode::kOutOfRange), "spec.budget");
  spec = good;
  spec.mutable_space()->add_frozen("no such group");
  EXPECT_EQ(field(spec, absl::StatusCode::kInvalidArgument), "spec.space");
  spec = good;
  spec.mutable_search()->set_agent("ddpg-paper");
  spec.mutable_search()->mutable_ddpg()->set_hidden(-3);
  EXPECT_EQ(field(spec, absl::StatusCode::kInvalidArgument), "spec.search");
}

TEST_F(JobServiceTest, ReplaysEventsAndFollows) {
  std::atomic<bool> go = false;
  FakeWorker worker(channel_, "w1", [&](const v1::Lease& lease) {
    while (lease.episode() >= 2 && !go) absl::SleepFor(absl::Milliseconds(1));
    return FakeWorker::Measure(lease);
  });
  const v1::Job job = *Submit(Spec(), "r1");
  WaitForEpisodes(job.id(), 2);
  std::vector<v1::JobEvent> followed;
  std::thread watcher([&] { followed = Watch(job.id(), 0); });
  absl::SleepFor(absl::Milliseconds(100));
  go = true;
  watcher.join();
  ASSERT_FALSE(followed.empty());
  std::multiset<v1::EventKind> kinds;
  for (size_t i = 0; i < followed.size(); ++i) {
    EXPECT_EQ(followed[i].sequence(), static_cast<int64_t>(i) + 1);
    kinds.insert(followed[i].kind());
  }
  EXPECT_EQ(kinds.count(v1::EVENT_KIND_EPISODE), 6U);
  EXPECT_EQ(kinds.count(v1::EVENT_KIND_BASELINE), 1U);
  EXPECT_EQ(kinds.count(v1::EVENT_KIND_RESULT), 1U);
  EXPECT_EQ(followed.back().state(), v1::JOB_STATE_SUCCEEDED);
  const std::vector<v1::JobEvent> replayed = Watch(job.id(), 0);
  EXPECT_THAT(replayed, SizeIs(followed.size()));
  const auto half = static_cast<int64_t>(followed.size() / 2);
  const std::vector<v1::JobEvent> rest = Watch(job.id(), half);
  ASSERT_FALSE(rest.empty());
  EXPECT_EQ(rest.front().sequence(), half + 1);
  absl::Status unknown;
  Watch("nobody", 0, &unknown);
  EXPECT_TRUE(absl::IsNotFound(unknown)) << unknown;
}

TEST_F(JobServiceTest, CancelsAndResumesWithTheSameHistory) {
  const v1::JobSpec spec = Spec(8);
  std::vector<std::string> undisturbed;
  {
    FakeWorker worker(channel_, "w0");
    const v1::Job job = WaitForEnd(Submit(spec, "undisturbed")->id());
    ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
    undisturbed = CanonicalHistory(job.id());
    EXPECT_TRUE(absl::IsFailedPrecondition(Cancel(job.id()).status()));
    EXPECT_TRUE(absl::IsFailedPrecondition(Resume(job.id()).status()));
  }
  const v1::Job job = *Submit(spec, "disturbed");
  EXPECT_EQ(Resume(job.id())->id(), job.id());  // it runs: nothing happens
  std::atomic<bool> hang = true;
  FakeWorker worker(channel_, "w1", [&](const v1::Lease& lease) {
    while (lease.episode() >= 3 && hang) absl::SleepFor(absl::Milliseconds(1));
    return FakeWorker::Measure(lease);
  });
  WaitForEpisodes(job.id(), 2);
  absl::SleepFor(absl::Milliseconds(50));
  const absl::StatusOr<v1::Job> cancelled = Cancel(job.id());
  ASSERT_TRUE(cancelled.ok()) << cancelled.status();
  EXPECT_EQ(cancelled->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(cancelled->episodes_done(), 2);
  EXPECT_EQ(Cancel(job.id())->state(), v1::JOB_STATE_CANCELLED);  // idempotent
  hang = false;
  const absl::StatusOr<v1::Job> resumed = Resume(job.id());
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  const v1::Job end = WaitForEnd(job.id());
  ASSERT_EQ(end.state(), v1::JOB_STATE_SUCCEEDED) << end.message();
  EXPECT_EQ(CanonicalHistory(job.id()), undisturbed);
}

TEST_F(JobServiceTest, CancelsAJobThatWaitsInTheQueueOrForAWorker) {
  const v1::JobSpec spec = Spec();
  std::vector<std::string> ids;
  ids.reserve(4);
  for (int i = 0; i < 4; ++i) ids.push_back(Submit(spec, absl::StrCat("r", i))->id());
  for (const std::string& id : ids) {
    EXPECT_EQ(Cancel(id)->state(), v1::JOB_STATE_CANCELLED);
  }
  EXPECT_TRUE(absl::IsNotFound(Cancel("nobody").status()));
}

TEST_F(JobServiceTest, DeletesEndedJobsOnly) {
  const v1::Job job = *Submit(Spec(), "r1");
  EXPECT_TRUE(absl::IsFailedPrecondition(Delete(job.id())));
  ASSERT_TRUE(Cancel(job.id()).ok());
  EXPECT_TRUE(Delete(job.id()).ok());
  EXPECT_TRUE(absl::IsNotFound(Delete(job.id())));
}

TEST_F(JobServiceTest, FailsOnAPermanentErrorWithItsReasonAndResumes) {
  std::atomic<bool> broken = true;
  FakeWorker worker(channel_, "w1", [&](const v1::Lease& lease) -> FakeWorker::Outcome {
    if (lease.episode() != 3 || !broken) return FakeWorker::Measure(lease);
    v1::TaskError error;
    error.set_kind(v1::TASK_ERROR_KIND_PERMANENT);
    error.set_message("layer conv3: singular");
    return error;
  });
  const v1::Job job = WaitForEnd(Submit(Spec(), "r1")->id());
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job.failure(), v1::FAILURE_REASON_EVALUATION);
  EXPECT_THAT(job.message(), HasSubstr("episode 3"));
  EXPECT_THAT(job.message(), HasSubstr("layer conv3: singular"));
  EXPECT_EQ(job.episodes_done(), 2);
  broken = false;
  ASSERT_TRUE(Resume(job.id()).ok());
  const v1::Job end = WaitForEnd(job.id());
  EXPECT_EQ(end.state(), v1::JOB_STATE_SUCCEEDED) << end.message();
  EXPECT_EQ(end.failure(), v1::FAILURE_REASON_UNSPECIFIED);
}

TEST_F(JobServiceTest, RetriesAWorkersOwnTroubleUpToTheLimit) {
  std::atomic<int> failures = 0;
  FakeWorker worker(channel_, "w1", [&](const v1::Lease& lease) -> FakeWorker::Outcome {
    const bool fails = lease.episode() == 1 ? lease.epoch() <= 2 : lease.episode() == 4;
    if (!fails) return FakeWorker::Measure(lease);
    ++failures;
    v1::TaskError error;
    error.set_kind(v1::TASK_ERROR_KIND_RETRYABLE);
    error.set_message("disk full");
    return error;
  });
  const v1::Job job = WaitForEnd(Submit(Spec(), "r1")->id());  // max_attempts 3
  EXPECT_EQ(job.failure(), v1::FAILURE_REASON_EVALUATION);
  EXPECT_EQ(job.episodes_done(), 4);
  EXPECT_EQ(failures, 2 + 3);
}

TEST_F(JobServiceTest, ReportsAnExportThatDiffersAsSuch) {
  FakeWorker worker(channel_, "w1", [&](const v1::Lease& lease) -> FakeWorker::Outcome {
    if (lease.kind() != v1::TASK_KIND_FINISH) return FakeWorker::Measure(lease);
    v1::TaskError error;
    error.set_kind(v1::TASK_ERROR_KIND_EXPORT);
    error.set_message("logits differ");
    return error;
  });
  EXPECT_EQ(WaitForEnd(Submit(Spec(), "r1")->id()).failure(), v1::FAILURE_REASON_EXPORT);
}

TEST_F(JobServiceTest, RefusesABaselineNearChance) {
  const FakeWorker::Evaluate weak = [](const v1::Lease& lease) {
    FakeWorker::Outcome outcome = FakeWorker::Measure(lease);
    if (lease.kind() == v1::TASK_KIND_BASELINE) {
      std::get<v1::TaskResult>(*outcome).mutable_measurement()->set_top1(0.3);
    }
    return outcome;
  };
  FakeWorker worker(channel_, "w1", weak);
  v1::JobSpec spec = Spec();
  const v1::Job job = WaitForEnd(Submit(spec, "r1")->id());
  EXPECT_EQ(job.failure(), v1::FAILURE_REASON_WEAK_BASELINE);
  EXPECT_THAT(job.message(), HasSubstr("30.0%"));
  EXPECT_THAT(job.message(), HasSubstr("preprocessing"));
  EXPECT_THAT(job.message(), HasSubstr("mean 0.5 0.5 0.5, over deviation 0.25 0.25 0.25"));
  EXPECT_THAT(job.message(), HasSubstr("ant, bee, cat, dog"));
  spec.set_allow_weak_baseline(true);
  EXPECT_EQ(WaitForEnd(Submit(spec, "r2")->id()).state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(JobServiceTest, PagesThroughEpisodesWithFilterAndOrder) {
  FakeWorker worker(channel_, "w1");
  const v1::Job job = WaitForEnd(Submit(Spec(7), "r1")->id());
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  v1::ListEpisodesRequest request;
  request.set_job(job.id());
  request.set_page_size(3);
  request.set_order(v1::EPISODE_ORDER_REWARD_DESC);
  std::vector<double> rewards;
  int pages = 0;
  do {
    v1::ListEpisodesResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(jobs_->ListEpisodes(&context, request, &response).ok());
    for (const v1::Episode& episode : response.episodes()) {
      rewards.push_back(episode.reward());
      EXPECT_THAT(episode.steps(), IsEmpty());
    }
    request.set_page_token(response.next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_EQ(pages, 3);
  EXPECT_THAT(rewards, SizeIs(7));
  EXPECT_TRUE(std::is_sorted(rewards.rbegin(), rewards.rend()));
  EXPECT_EQ(rewards.front(), job.best_reward());

  request.set_page_token("garbage");
  v1::ListEpisodesResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(jobs_->ListEpisodes(&context, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);

  v1::ListJobsRequest list;
  list.add_states(v1::JOB_STATE_SUCCEEDED);
  v1::ListJobsResponse listed;
  grpc::ClientContext list_context;
  ASSERT_TRUE(jobs_->ListJobs(&list_context, list, &listed).ok());
  ASSERT_THAT(listed.jobs(), SizeIs(1));
  EXPECT_EQ(listed.jobs(0).id(), job.id());
}

TEST_F(JobServiceTest, GivesTheSameHistoryWithOneAndWithThreeWorkers) {
  v1::JobSpec spec = Spec(16);
  spec.mutable_search()->set_parallel_episodes(4);
  spec.mutable_search()->set_agent("ddpg-paper");
  spec.mutable_search()->mutable_ddpg()->set_warmup_episodes(8);
  spec.mutable_search()->mutable_ddpg()->set_hidden(16);
  const auto run = [&](int workers, const std::string& request_id) {
    std::vector<std::unique_ptr<FakeWorker>> team;
    team.reserve(static_cast<size_t>(workers));
    for (int i = 0; i < workers; ++i) {
      team.push_back(std::make_unique<FakeWorker>(channel_, absl::StrCat(request_id, "-", i)));
    }
    const v1::Job job = WaitForEnd(Submit(spec, request_id)->id());
    EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
    return CanonicalHistory(job.id());
  };
  const std::vector<std::string> one = run(1, "one");
  EXPECT_THAT(one, SizeIs(16));
  EXPECT_EQ(run(3, "three"), one);
}

TEST_F(JobServiceTest, GoesOnAfterRestartsWithTheSameHistory) {
  v1::JobSpec spec = Spec(20);
  spec.mutable_search()->set_agent("ddpg-paper");
  spec.mutable_search()->mutable_ddpg()->set_warmup_episodes(6);
  spec.mutable_search()->mutable_ddpg()->set_hidden(16);
  std::vector<std::string> undisturbed;
  {
    FakeWorker worker(channel_, "w0");
    const v1::Job job = WaitForEnd(Submit(spec, "undisturbed")->id());
    ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
    undisturbed = CanonicalHistory(job.id());
  }
  // Workers keep their channel and session over the restarts.
  std::mutex mutex;
  std::map<int64_t, int> measured;
  const FakeWorker::Evaluate evaluate = [&](const v1::Lease& lease) {
    const std::scoped_lock lock(mutex);
    if (lease.kind() == v1::TASK_KIND_EVALUATE) ++measured[lease.episode()];
    return FakeWorker::Measure(lease);
  };
  FakeWorker first(channel_, "w1", evaluate), second(channel_, "w2", evaluate);
  const std::string id = Submit(spec, "disturbed")->id();
  for (const int64_t episodes : {1, 5, 9, 14}) {
    WaitForEpisodes(id, episodes);
    RestartServer();
  }
  const v1::Job job = WaitForEnd(id);
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  EXPECT_EQ(CanonicalHistory(id), undisturbed);
  EXPECT_THAT(measured, SizeIs(20));
}

}  // namespace
}  // namespace amc
