// Jobs whose budget is on latency, and what is dear in their histories.
#include <atomic>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "amc/v1/latency.grpc.pb.h"
#include "env/cost/latency_model.h"
#include "env/cost/policy.h"
#include "env/graph/onnx_import.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/convert.h"
#include "server/rpc/latency_convert.h"
#include "server/rpc/status_convert.h"
#include "tests/env/latency_fixture.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

class LatencyBudgetTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    graph_ = *ImportOnnx(TestModel());
  }

  std::string Import(const LatencyTable& table) {
    const auto stub = v1::LatencyService::NewStub(channel_);
    v1::ImportLatencyTableRequest request;
    *request.mutable_table() = ToProto(table);
    grpc::ClientContext context;
    v1::LatencyTableInfo info;
    const grpc::Status status = stub->ImportLatencyTable(&context, request, &info);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return info.digest();
  }

  v1::JobSpec LatencySpec(const std::string& table) {
    v1::JobSpec spec = Spec();
    spec.mutable_budget()->set_resource(v1::RESOURCE_LATENCY);
    spec.mutable_budget()->set_ratio(0.6);
    spec.mutable_latency()->set_table(table);
    return spec;
  }

  absl::StatusOr<v1::GetParetoResponse> Pareto(const std::string& job, v1::Resource resource,
                                               const std::string& table = "") {
    v1::GetParetoRequest request;
    request.set_job(job);
    request.set_resource(resource);
    request.set_latency_table(table);
    grpc::ClientContext context;
    v1::GetParetoResponse response;
    const grpc::Status status = jobs_->GetPareto(&context, request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return response;
  }

  static std::string FieldOf(const absl::Status& status) {
    const std::vector<FieldViolation> violations = FieldViolations(status);
    return violations.size() == 1 ? violations[0].field : "";
  }

  Graph graph_;
};

TEST_F(LatencyBudgetTest, AJobKeepsItsBudgetByATableThatTheFirstDigitsName) {
  const std::string digest = Import(MadeUpTable(graph_, 0.3));
  FakeWorker worker(channel_, "w1");
  v1::JobSpec spec = LatencySpec(digest.substr(0, 8));
  v1::BudgetBound& bound = *spec.mutable_budget()->add_also();
  bound.set_resource(v1::RESOURCE_PARAMS);
  bound.set_ratio(0.8);
  const absl::StatusOr<v1::Job> submitted = Submit(spec, "r1");
  ASSERT_TRUE(submitted.ok()) << submitted.status();
  EXPECT_EQ(submitted->spec().latency().table(), digest);
  EXPECT_EQ(submitted->spec().space().channel_multiple(), 8);
  const v1::Job job = WaitForEnd(submitted->id());
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  ASSERT_EQ(job.result().uses_size(), 2);
  EXPECT_EQ(job.result().uses(0).resource(), v1::RESOURCE_LATENCY);
  EXPECT_EQ(job.result().uses(0).limit(), job.budget_limit());
  for (const v1::ResourceUse& use : job.result().uses()) {
    EXPECT_LE(use.compressed(), use.limit());
    EXPECT_LT(use.limit(), use.original());
  }

  // The job's own table predicts; any other resource, and any other table, will do as well.
  for (const v1::Resource resource : {v1::RESOURCE_UNSPECIFIED, v1::RESOURCE_PARAMS,
                                      v1::RESOURCE_ACTIVATION_BYTES, v1::RESOURCE_MODEL_BYTES}) {
    const absl::StatusOr<v1::GetParetoResponse> front = Pareto(job.id(), resource);
    ASSERT_TRUE(front.ok()) << front.status();
    ASSERT_GT(front->points_size(), 0);
    for (int i = 1; i < front->points_size(); ++i) {
      EXPECT_GT(front->points(i).cost(), front->points(i - 1).cost());
      EXPECT_GT(front->points(i).episode().reward(), front->points(i - 1).episode().reward());
    }
    // The best of all is the dearest that is worth its cost.
    EXPECT_EQ(front->points(front->points_size() - 1).episode().reward(), job.best_reward());
  }
  EXPECT_EQ(Pareto(job.id(), v1::RESOURCE_UNSPECIFIED)->resource(), v1::RESOURCE_LATENCY);
  const std::string other = Import(MadeUpTable(graph_, 0, /*seed=*/2));
  const auto by_other = Pareto(job.id(), v1::RESOURCE_LATENCY, other.substr(0, 10));
  ASSERT_TRUE(by_other.ok()) << by_other.status();
  EXPECT_NE(by_other->original(), Pareto(job.id(), v1::RESOURCE_LATENCY)->original());
}

TEST_F(LatencyBudgetTest, ARewardOnLatencyNeedsNoBudget) {
  v1::JobSpec spec = Spec();
  spec.clear_budget();
  spec.mutable_search()->set_reward(v1::REWARD_KIND_ERROR_LOG_LATENCY);
  EXPECT_EQ(FieldOf(Submit(spec, "r1").status()), "spec.latency.table");
  const LatencyTable table = MadeUpTable(graph_, 0.3);
  spec.mutable_latency()->set_table(Import(table));
  FakeWorker worker(channel_, "w1");
  const absl::StatusOr<v1::Job> submitted = Submit(spec, "r2");
  ASSERT_TRUE(submitted.ok()) << submitted.status();
  const v1::Job job = WaitForEnd(submitted->id());
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  const Grouping grouping = *BuildGroups(graph_);
  const LatencyModel latency = *LatencyModel::Create(graph_, grouping, table, spec.model());
  for (const v1::Episode& episode : Episodes(job.id())) {
    const auto time =
        static_cast<double>(latency.Evaluate(*KeptCounts(FromProto(episode.policy()), grouping)));
    EXPECT_DOUBLE_EQ(episode.reward(), -(1 - episode.measurement().top1()) * std::log(time));
  }
  // What the reward weighs is what is dear.
  EXPECT_EQ(Pareto(job.id(), v1::RESOURCE_UNSPECIFIED)->resource(), v1::RESOURCE_LATENCY);
}

TEST_F(LatencyBudgetTest, AJobLearnsByItsOwnReward) {
  FakeWorker worker(channel_, "w1");
  const v1::Job first = WaitForEnd(Submit(Spec(), "r1")->id());
  ASSERT_EQ(first.state(), v1::JOB_STATE_SUCCEEDED) << first.message();
  v1::JobSpec spec = LatencySpec(Import(MadeUpTable(graph_, 0.3)));
  spec.mutable_search()->set_reward(v1::REWARD_KIND_ERROR_LOG_LATENCY);
  spec.mutable_search()->set_agent("ddpg");
  spec.mutable_search()->add_learn_from(first.id());
  const v1::Job job = WaitForEnd(Submit(spec, "r2")->id());
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
}

TEST_F(LatencyBudgetTest, SaysWhatIsWrongWithATable) {
  const absl::Status unknown = Submit(LatencySpec(std::string(64, 'a')), "r1").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound) << unknown;
  EXPECT_EQ(FieldOf(unknown), "spec.latency.table");

  LatencyTable table = MadeUpTable(graph_, 0);
  const std::string layer = table.rows.front().layer;
  std::erase_if(table.rows, [&](const LatencyRow& row) { return row.layer == layer; });
  const absl::Status lacking = Submit(LatencySpec(Import(table)), "r2").status();
  EXPECT_EQ(FieldOf(lacking), "spec.latency.table") << lacking;
  EXPECT_THAT(std::string(lacking.message()), HasSubstr(layer));

  v1::JobSpec unreachable = LatencySpec(Import(MadeUpTable(graph_, 0)));
  unreachable.mutable_budget()->set_absolute(1);
  const absl::Status refused = Submit(unreachable, "r3").status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange) << refused;
  EXPECT_EQ(FieldOf(refused), "spec.budget");
  EXPECT_THAT(std::string(refused.message()), HasSubstr("latency: a budget of 1"));
}

// Times policies as `time_of` says, in microseconds; the original takes 1000.
FakeWorker::Evaluate Timing(std::function<double(const v1::Policy&, int64_t round)> time_of) {
  return [time_of = std::move(time_of)](const v1::Lease& lease) -> FakeWorker::Outcome {
    if (lease.kind() != v1::TASK_KIND_TIME) return FakeWorker::Measure(lease);
    v1::TaskResult result;
    v1::TimingReport& report = *result.mutable_timing();
    report.mutable_original()->set_median_us(1000);
    for (const v1::Policy& policy : lease.timing().policies()) {
      report.add_policies()->set_median_us(time_of(policy, lease.episode()));
    }
    return result;
  };
}

TEST_F(LatencyBudgetTest, TheWinnerIsTheBestThatKeepsTheBudgetWhenMeasured) {
  std::atomic<int> asked = 0;
  // The best is too slow, the others hold: 60% of the original's 1000 us are allowed.
  FakeWorker worker(channel_, "w1", Timing([&asked](const v1::Policy&, int64_t) {
                      return asked++ == 0 ? 601.0 : 590.0;
                    }));
  v1::JobSpec spec = LatencySpec(Import(MadeUpTable(graph_, 0)));
  spec.mutable_latency()->set_finalists(3);
  const v1::Job job = WaitForEnd(Submit(spec, "r1")->id());
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  const v1::LatencyCheck& check = job.result().latency();
  ASSERT_EQ(check.finalists_size(), 3);
  EXPECT_EQ(check.finalists(0).episode(), job.best_episode());
  EXPECT_FALSE(check.finalists(0).holds());
  EXPECT_EQ(job.result().episode(), check.finalists(1).episode());
  EXPECT_NE(job.result().episode(), job.best_episode());
  EXPECT_EQ(check.measured_us(), 590);
  v1::GetBestRequest request;
  request.set_job(job.id());
  v1::GetBestResponse best;
  grpc::ClientContext context;
  ASSERT_TRUE(jobs_->GetBest(&context, request, &best).ok());
  EXPECT_EQ(best.episode().number(), job.result().episode());
  EXPECT_EQ(best.episode().steps_size(), job.result().steps_size());
  EXPECT_EQ(check.measured_original_us(), 1000);
  EXPECT_DOUBLE_EQ(check.limit_us(), 600);
  EXPECT_GT(check.predicted_us(), 0);
  EXPECT_EQ(check.setting().runtime(), "libtorch");
  EXPECT_EQ(check.unmeasured(), "");
  const std::vector<v1::Episode> history = Episodes(job.id());
  EXPECT_GT(job.result().steps_size(), 0);
  for (int i = 1; i < 3; ++i) {
    EXPECT_GE(history[static_cast<size_t>(check.finalists(i - 1).episode())].reward(),
              history[static_cast<size_t>(check.finalists(i).episode())].reward());
  }
}

// Everything takes a quarter longer than predicted, until candidates are cut to what that allows.
TEST_F(LatencyBudgetTest, WhereNoneKeepsItTheBestAreCutAndMeasuredAgain) {
  const LatencyTable table = MadeUpTable(graph_, 0);
  const Grouping grouping = *BuildGroups(graph_);
  const LatencyModel model = *LatencyModel::Create(graph_, grouping, table, "");
  std::vector<int64_t> whole;
  for (const PruneGroup& group : grouping.groups) whole.push_back(group.channels);
  const auto original = static_cast<double>(model.Evaluate(whole));
  const auto time_of = [&](const v1::Policy& policy, int64_t) {
    std::vector<int64_t> kept;
    for (const v1::Decision& decision : policy.decisions()) kept.push_back(decision.kept());
    return 1.25 * 1000 * static_cast<double>(model.Evaluate(kept)) / original;
  };
  v1::JobSpec spec = LatencySpec(Import(table));
  v1::Job job;
  {
    FakeWorker worker(channel_, "w1", Timing(time_of));
    job = WaitForEnd(Submit(spec, "r1")->id());
  }
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  const v1::LatencyCheck& check = job.result().latency();
  EXPECT_LE(check.measured_us(), check.limit_us());
  EXPECT_GT(check.measured_us(), 0.9 * check.limit_us());  // used up all the same
  EXPECT_GT(check.finalists_size(), 4);
  // The winner is in the history, as a candidate of its own.
  const std::vector<v1::Episode> history = Episodes(job.id());
  ASSERT_GT(static_cast<int64_t>(history.size()), job.spec().search().episodes());
  EXPECT_EQ(history[static_cast<size_t>(job.result().episode())].note(),
            "cut for round 2: the best measured too slow");
  EXPECT_EQ(job.episodes_done(), static_cast<int64_t>(history.size()));
}

TEST_F(LatencyBudgetTest, FailsWhereNothingIsFastEnough) {
  FakeWorker worker(channel_, "w1", Timing([](const v1::Policy&, int64_t) { return 900.0; }));
  const v1::Job job = WaitForEnd(Submit(LatencySpec(Import(MadeUpTable(graph_, 0))), "r1")->id());
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job.failure(), v1::FAILURE_REASON_LATENCY);
  EXPECT_THAT(job.message(), HasSubstr("no candidate keeps the latency budget when it is measured: "
                                       "the nearest took 0.9 ms, and 0.6 ms are allowed"));
}

TEST_F(LatencyBudgetTest, ResumingAJobThatMissedMeasuresAnew) {
  std::atomic<double> us = 900;
  FakeWorker worker(channel_, "w1",
                    Timing([&us](const v1::Policy&, int64_t) { return us.load(); }));
  const std::string id = Submit(LatencySpec(Import(MadeUpTable(graph_, 0))), "r1")->id();
  ASSERT_EQ(WaitForEnd(id).state(), v1::JOB_STATE_FAILED);
  us = 500;  // the machine was busy
  v1::ResumeJobRequest request;
  request.set_id(id);
  grpc::ClientContext context;
  v1::Job resumed;
  ASSERT_TRUE(jobs_->ResumeJob(&context, request, &resumed).ok());
  const v1::Job job = WaitForEnd(id);
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  EXPECT_EQ(job.result().latency().measured_us(), 500);
}

// A runtime that does not take the network costs no search, unless it has to be measured.
TEST_F(LatencyBudgetTest, WhatCannotBeTimedStaysAPrediction) {
  FakeWorker worker(channel_, "w1", [](const v1::Lease& lease) -> FakeWorker::Outcome {
    if (lease.kind() != v1::TASK_KIND_TIME) return FakeWorker::Measure(lease);
    v1::TaskResult result;
    result.set_infeasible("input takes 8 images at a time, not 1");
    return result;
  });
  v1::JobSpec spec = LatencySpec(Import(MadeUpTable(graph_, 0)));
  const v1::Job job = WaitForEnd(Submit(spec, "r1")->id());
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  EXPECT_EQ(job.result().latency().unmeasured(), "input takes 8 images at a time, not 1");
  EXPECT_EQ(job.result().episode(), job.best_episode());
  spec.mutable_latency()->set_must_measure(true);
  const v1::Job strict = WaitForEnd(Submit(spec, "r2")->id());
  EXPECT_EQ(strict.failure(), v1::FAILURE_REASON_LATENCY);
  EXPECT_THAT(strict.message(), HasSubstr("the finalists cannot be measured: input takes 8"));
  spec.mutable_latency()->set_finalists(0);
  EXPECT_EQ(FieldOf(Submit(spec, "r3").status()), "spec.latency.must_measure");
}

TEST_F(LatencyBudgetTest, SaysWhyAResultIsNotMeasured) {
  LatencyTable table = MadeUpTable(graph_, 0);
  table.setting.device = "Pixel 7";
  FakeWorker worker(channel_, "w1");
  v1::JobSpec spec = LatencySpec(Import(table));
  const v1::Job predicted = WaitForEnd(Submit(spec, "r1")->id());
  ASSERT_EQ(predicted.state(), v1::JOB_STATE_SUCCEEDED) << predicted.message();
  EXPECT_EQ(predicted.result().latency().unmeasured(),
            "no worker measures with libtorch 1.13.1 on Pixel 7, 1 thread, batch 1");
  EXPECT_EQ(predicted.result().latency().measured_us(), 0);
  EXPECT_EQ(predicted.result().episode(), predicted.best_episode());

  spec.mutable_latency()->set_finalists(0);
  const v1::Job asked = WaitForEnd(Submit(spec, "r2")->id());
  EXPECT_EQ(asked.result().latency().unmeasured(), "the job has no finalists measured");

  spec.mutable_latency()->clear_finalists();
  spec.mutable_latency()->set_must_measure(true);
  const std::string waiting = Submit(spec, "r3")->id();
  while (GetJob(waiting).state() != v1::JOB_STATE_FINISHING) absl::SleepFor(absl::Milliseconds(5));
  absl::SleepFor(absl::Milliseconds(200));
  EXPECT_EQ(GetJob(waiting).state(), v1::JOB_STATE_FINISHING);
  grpc::ClientContext context;
  v1::CancelJobRequest cancel;
  cancel.set_id(waiting);
  v1::Job cancelled;
  EXPECT_TRUE(jobs_->CancelJob(&context, cancel, &cancelled).ok());
  EXPECT_EQ(WaitForEnd(waiting).state(), v1::JOB_STATE_CANCELLED);

  spec.mutable_latency()->set_finalists(65);
  EXPECT_EQ(FieldOf(Submit(spec, "r4").status()), "spec.latency.finalists");
}

// A server that dies between the rounds takes the measured ones from its store.
TEST_F(LatencyBudgetTest, ARestartGoesOnWithWhatWasMeasured) {
  std::atomic<int> rounds = 0;
  std::atomic<bool> stuck = true;
  const auto evaluate = [&](const v1::Lease& lease) -> FakeWorker::Outcome {
    if (lease.kind() == v1::TASK_KIND_TIME) {
      ++rounds;
      if (lease.episode() == 1 && stuck) return std::nullopt;
    }
    return Timing([](const v1::Policy&, int64_t round) { return round == 0 ? 605.0 : 500.0; })(
        lease);
  };
  const std::string id = Submit(LatencySpec(Import(MadeUpTable(graph_, 0))), "r1")->id();
  {
    FakeWorker worker(channel_, "w1", evaluate);
    while (rounds < 2) absl::SleepFor(absl::Milliseconds(5));
  }
  stuck = false;
  RestartServer();
  FakeWorker worker(channel_, "w1", evaluate);
  const v1::Job job = WaitForEnd(id);
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  EXPECT_EQ(rounds, 3);  // the first one was not repeated
  EXPECT_EQ(job.result().latency().measured_us(), 500);
}

TEST_F(LatencyBudgetTest, AFrontOfLatencyNeedsATable) {
  FakeWorker worker(channel_, "w1");
  const v1::Job job = WaitForEnd(Submit(Spec(), "r1")->id());
  const absl::Status without = Pareto(job.id(), v1::RESOURCE_LATENCY).status();
  EXPECT_EQ(without.code(), absl::StatusCode::kFailedPrecondition) << without;
  const absl::Status unknown = Pareto(job.id(), v1::RESOURCE_LATENCY, "abcdef").status();
  EXPECT_EQ(FieldOf(unknown), "latency_table") << unknown;
  EXPECT_TRUE(absl::IsNotFound(Pareto("none", v1::RESOURCE_MACS).status()));
  EXPECT_EQ(Pareto(job.id(), v1::RESOURCE_UNSPECIFIED)->resource(), v1::RESOURCE_MACS);
}

TEST_F(LatencyBudgetTest, AnEnvironmentTakesLatencyToo) {
  v1::CreateEnvironmentRequest request;
  request.set_model(Upload(TestModel(), v1::ARTIFACT_KIND_MODEL));
  request.mutable_budget()->set_resource(v1::RESOURCE_LATENCY);
  request.mutable_budget()->set_ratio(0.6);
  const auto create = [&]() -> absl::StatusOr<v1::CreateEnvironmentResponse> {
    grpc::ClientContext context;
    v1::CreateEnvironmentResponse response;
    const grpc::Status status = environments_->CreateEnvironment(&context, request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return response;
  };
  EXPECT_EQ(FieldOf(create().status()), "latency.table");
  request.mutable_latency()->set_table(Import(MadeUpTable(graph_, 0)));
  const auto made = create();
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_GT(made->budget_limit(), 1000);  // nanoseconds
}

}  // namespace
}  // namespace amc
