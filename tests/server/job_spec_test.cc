#include "server/job_spec.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/job_settings.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::UnorderedElementsAre;

v1::JobSpec Minimal() {
  v1::JobSpec spec;
  spec.set_model(std::string(64, 'a'));
  spec.set_data(std::string(64, 'b'));
  spec.mutable_budget()->set_ratio(0.5);
  return spec;
}

std::vector<std::string> BadFields(const v1::JobSpec& spec) {
  const absl::StatusOr<v1::JobSpec> resolved = ResolveJobSpec(spec);
  EXPECT_TRUE(absl::IsInvalidArgument(resolved.status())) << resolved.status();
  std::vector<std::string> fields;
  for (const FieldViolation& violation : FieldViolations(resolved.status())) {
    fields.push_back(violation.field);
  }
  return fields;
}

TEST(JobSpecTest, WritesOutTheDefaultsThatTheProtoStates) {
  const v1::JobSpec spec = *ResolveJobSpec(Minimal());
  EXPECT_EQ(spec.budget().resource(), v1::RESOURCE_MACS);
  EXPECT_TRUE(spec.budget().land());
  EXPECT_EQ(spec.search().agent(), "hybrid");
  EXPECT_TRUE(spec.search().has_seed());
  EXPECT_EQ(spec.search().episodes(), 200);
  EXPECT_EQ(spec.search().parallel_episodes(), 2);
  EXPECT_EQ(spec.search().metric(), v1::QUALITY_METRIC_NEGATIVE_SOFT_KL);
  EXPECT_EQ(spec.search().reward(), v1::REWARD_KIND_QUALITY);
  EXPECT_EQ(spec.search().ddpg().hidden(), 300);
  EXPECT_EQ(spec.search().ddpg().actor_learning_rate(), 1e-4);
  EXPECT_EQ(spec.search().ddpg().critic_learning_rate(), 1e-3);
  EXPECT_EQ(spec.search().ddpg().soft_update(), 0.01);
  EXPECT_EQ(spec.search().ddpg().discount(), 1);
  EXPECT_EQ(spec.search().ddpg().batch(), 64);
  EXPECT_EQ(spec.search().ddpg().warmup_episodes(), 100);
  EXPECT_EQ(spec.search().ddpg().noise(), 0.5);
  EXPECT_EQ(spec.search().ddpg().noise_decay(), 0.95);
  EXPECT_EQ(spec.search().ddpg().replay_transitions(), 2000);
  EXPECT_EQ(spec.search().ddpg().baseline_decay(), 0.5);
  EXPECT_EQ(spec.search().probes().images(), 500);
  EXPECT_EQ(spec.search().probes().ratios(), 4);
  EXPECT_EQ(spec.search().evolution().start(), "uniform");
  EXPECT_EQ(spec.search().evolution().screening_images(), 500);
  EXPECT_EQ(spec.search().netadapt().step(), 0.05);
  EXPECT_EQ(spec.search().netadapt().decay(), 0.96);
  EXPECT_EQ(spec.space().min_preserve_ratio(), 0.2);
  EXPECT_EQ(spec.space().channel_multiple(), 1);
  EXPECT_EQ(spec.evaluation().criterion(), v1::CRITERION_GREEDY);
  EXPECT_EQ(spec.evaluation().reconstruction(), v1::RECONSTRUCTION_SAMPLED);
  EXPECT_EQ(spec.evaluation().reconstruction_images(), 4000);
  EXPECT_EQ(spec.evaluation().samples_per_layer(), 40000);
  EXPECT_EQ(spec.evaluation().recalibration_images(), 128);
  EXPECT_EQ(spec.evaluation().ridge(), 1e-4);
  EXPECT_EQ(spec.evaluation().device(), v1::DEVICE_CPU);
  EXPECT_EQ(spec.evaluation().precision(), v1::PRECISION_FP32);
  EXPECT_EQ(spec.evaluation().batch_size(), 64);
  EXPECT_EQ(spec.evaluation().threads(), 1);
  EXPECT_TRUE(spec.evaluation().has_finetune_steps());
  EXPECT_EQ(spec.evaluation().finetune_learning_rate(), 0.01);
  EXPECT_EQ(spec.max_attempts(), 3);
  EXPECT_TRUE(spec.has_allow_weak_baseline());

  v1::JobSpec weighed = Minimal();
  weighed.mutable_search()->set_reward(v1::REWARD_KIND_ERROR_LOG_MACS);
  EXPECT_EQ(ResolveJobSpec(weighed)->search().metric(), v1::QUALITY_METRIC_TOP1);
}

TEST(JobSpecTest, KeepsWhatTheClientSetAndResolvesToItself) {
  v1::JobSpec spec = Minimal();
  spec.mutable_budget()->set_land(false);
  spec.mutable_search()->set_seed(7);
  spec.mutable_search()->set_agent("uniform");
  spec.mutable_evaluation()->set_recalibration_images(0);
  const v1::JobSpec once = *ResolveJobSpec(spec);
  EXPECT_FALSE(once.budget().land());
  EXPECT_EQ(once.search().seed(), 7);
  EXPECT_EQ(once.search().agent(), "uniform");
  EXPECT_EQ(once.evaluation().recalibration_images(), 0);
  EXPECT_EQ(ResolveJobSpec(once)->SerializeAsString(), once.SerializeAsString());
}

TEST(JobSpecTest, NamesEveryBadFieldByItsPath) {
  v1::JobSpec spec = Minimal();
  spec.set_model("not a digest");
  spec.mutable_budget()->set_ratio(1.5);
  spec.mutable_search()->set_agent("sarsa");
  spec.mutable_search()->set_episodes(0);
  spec.mutable_space()->set_min_preserve_ratio(-1);
  spec.mutable_evaluation()->set_batch_size(0);
  spec.mutable_evaluation()->set_criterion(static_cast<v1::Criterion>(99));
  spec.set_max_attempts(0);
  EXPECT_THAT(BadFields(spec),
              UnorderedElementsAre("spec.model", "spec.budget.ratio", "spec.search.agent",
                                   "spec.search.episodes", "spec.space.min_preserve_ratio",
                                   "spec.evaluation.batch_size", "spec.evaluation.criterion",
                                   "spec.max_attempts"));
}

TEST(JobSpecTest, RefusesNumbersThatAreNone) {
  v1::JobSpec spec = Minimal();
  spec.mutable_budget()->set_ratio(std::nan(""));
  spec.mutable_space()->set_min_preserve_ratio(std::nan(""));
  spec.mutable_evaluation()->set_ridge(INFINITY);
  EXPECT_THAT(BadFields(spec),
              UnorderedElementsAre("spec.budget.ratio", "spec.space.min_preserve_ratio",
                                   "spec.evaluation.ridge"));
}

// The pruner would refuse it too, but only at the first candidate.
TEST(JobSpecTest, WantsARidgeAboveZero) {
  v1::JobSpec spec = Minimal();
  spec.mutable_evaluation()->set_ridge(0);
  EXPECT_THAT(BadFields(spec), UnorderedElementsAre("spec.evaluation.ridge"));
  spec.mutable_evaluation()->set_ridge(1e-12);
  EXPECT_TRUE(ResolveJobSpec(spec).ok());
}

TEST(JobSpecTest, WantsAWeighingRewardWithoutABudget) {
  v1::JobSpec spec = Minimal();
  spec.clear_budget();
  EXPECT_THAT(BadFields(spec), UnorderedElementsAre("spec.budget"));
  spec.mutable_search()->set_reward(v1::REWARD_KIND_ERROR_LOG_MACS);
  const absl::StatusOr<v1::JobSpec> resolved = ResolveJobSpec(spec);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_FALSE(resolved->has_budget());
  EXPECT_TRUE(ToEnvOptions(SettingsOf(*resolved)).budget.empty());
  spec.mutable_budget();  // there, but without a target
  EXPECT_THAT(BadFields(spec), UnorderedElementsAre("spec.budget"));
}

TEST(JobSpecTest, ARewardOnLatencyNeedsATableWithABudgetOrWithout) {
  v1::JobSpec spec = Minimal();
  spec.mutable_search()->set_reward(v1::REWARD_KIND_ERROR_LOG_LATENCY);
  EXPECT_THAT(BadFields(spec), UnorderedElementsAre("spec.latency.table"));
  spec.mutable_budget()->set_resource(v1::RESOURCE_LATENCY);
  EXPECT_THAT(BadFields(spec), UnorderedElementsAre("spec.latency.table"));
  spec.clear_budget();
  EXPECT_THAT(BadFields(spec), UnorderedElementsAre("spec.latency.table"));
  spec.mutable_latency()->set_table(std::string(64, 'a'));
  const absl::StatusOr<v1::JobSpec> resolved = ResolveJobSpec(spec);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->search().metric(), v1::QUALITY_METRIC_TOP1);
  EXPECT_EQ(ToSearchOptions(*resolved, 0).reward.kind, RewardKind::kErrorLogLatency);
  for (const v1::RewardKind kind :
       {v1::REWARD_KIND_ERROR_LOG_ACTIVATION_BYTES, v1::REWARD_KIND_ERROR_LOG_MODEL_BYTES}) {
    spec = Minimal();
    spec.clear_budget();
    spec.mutable_search()->set_reward(kind);
    EXPECT_TRUE(ResolveJobSpec(spec).ok());
  }
}

TEST(JobSpecTest, FinalistsAreForJobsOnLatency) {
  v1::JobSpec spec = Minimal();
  spec.mutable_latency()->set_table(std::string(64, 'a'));  // for `amc best --pareto` alone
  EXPECT_TRUE(ResolveJobSpec(spec).ok());
  EXPECT_EQ(ResolveJobSpec(ResolveJobSpec(spec).value())->SerializeAsString(),
            ResolveJobSpec(spec)->SerializeAsString());
  spec.mutable_latency()->set_finalists(2);
  EXPECT_THAT(BadFields(spec), UnorderedElementsAre("spec.latency.finalists"));
  spec.mutable_latency()->clear_finalists();
  spec.mutable_latency()->set_must_measure(true);
  EXPECT_THAT(BadFields(spec), UnorderedElementsAre("spec.latency.must_measure"));
  spec.mutable_budget()->set_resource(v1::RESOURCE_LATENCY);
  EXPECT_EQ(ResolveJobSpec(spec)->latency().finalists(), 4);
}

TEST(JobSpecTest, LeavesMultiplesOpenWhereTheJobIsOnLatency) {
  v1::JobSpec by_bound = Minimal(), by_reward = Minimal();
  by_bound.mutable_latency()->set_table(std::string(64, 'a'));
  *by_reward.mutable_latency() = by_bound.latency();
  EXPECT_EQ(ResolveJobSpec(by_bound)->space().channel_multiple(), 1);  // a table alone
  v1::BudgetBound& bound = *by_bound.mutable_budget()->add_also();
  bound.set_resource(v1::RESOURCE_LATENCY);
  bound.set_ratio(0.5);
  by_reward.mutable_search()->set_reward(v1::REWARD_KIND_ERROR_LOG_LATENCY);
  for (v1::JobSpec* spec : {&by_bound, &by_reward}) {
    EXPECT_FALSE(ResolveJobSpec(*spec)->space().has_channel_multiple());
    spec->mutable_space()->set_channel_multiple(4);
    EXPECT_EQ(ResolveJobSpec(*spec)->space().channel_multiple(), 4);
    spec->mutable_space()->set_channel_multiple(0);
    EXPECT_THAT(BadFields(*spec), UnorderedElementsAre("spec.space.channel_multiple"));
  }
}

TEST(JobSpecTest, SeveralBoundsAreOnDifferentResources) {
  v1::JobSpec spec = Minimal();
  v1::BudgetBound* const bound = spec.mutable_budget()->add_also();
  EXPECT_THAT(BadFields(spec),
              UnorderedElementsAre("spec.budget.also[0]", "spec.budget.also[0].resource"));
  bound->set_ratio(0.5);
  bound->set_resource(v1::RESOURCE_MACS);
  EXPECT_THAT(BadFields(spec), UnorderedElementsAre("spec.budget.also[0].resource"));
  bound->set_resource(v1::RESOURCE_LATENCY);
  EXPECT_THAT(BadFields(spec), UnorderedElementsAre("spec.latency.table"));
  spec.mutable_latency()->set_table(std::string(64, 'a'));
  const absl::StatusOr<v1::JobSpec> resolved = ResolveJobSpec(spec);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  const EnvOptions env = ToEnvOptions(SettingsOf(*resolved));
  ASSERT_EQ(env.budget.size(), 2U);
  EXPECT_EQ(env.budget[1].resource, Resource::kLatency);
  EXPECT_EQ(env.budget[1].ratio, 0.5);
}

TEST(JobSpecTest, ListsTheAgentsThatThereAre) {
  v1::JobSpec spec = Minimal();
  spec.mutable_search()->set_agent("sarsa");
  EXPECT_THAT(std::string(ResolveJobSpec(spec).status().message()), HasSubstr("ddpg-paper"));
}

TEST(JobSpecTest, HashesWhatTheSpecSaysAndNothingElse) {
  const v1::JobSpec spec = *ResolveJobSpec(Minimal());
  v1::JobSpec other = Minimal();
  other.mutable_search()->set_episodes(200);  // the default, spelled out
  EXPECT_EQ(SpecHash(spec), SpecHash(*ResolveJobSpec(other)));
  other.mutable_search()->set_seed(1);
  EXPECT_NE(SpecHash(spec), SpecHash(*ResolveJobSpec(other)));
}

TEST(JobSpecTest, TurnsIntoTheCoresSettings) {
  v1::JobSpec spec = Minimal();
  spec.mutable_budget()->set_absolute(1234);
  spec.mutable_budget()->set_resource(v1::RESOURCE_PARAMS);
  spec.mutable_space()->set_channel_multiple(8);
  spec.mutable_space()->add_frozen("conv1");
  spec.mutable_space()->set_residual_path(v1::RESIDUAL_PATH_KEEP);
  spec.mutable_search()->set_metric(v1::QUALITY_METRIC_NEGATIVE_KL);
  spec.mutable_search()->mutable_ddpg()->set_hidden(17);
  spec.mutable_evaluation()->set_criterion(v1::CRITERION_L1);
  spec.mutable_evaluation()->set_reconstruction(v1::RECONSTRUCTION_STRONG);
  spec.mutable_evaluation()->set_precision(v1::PRECISION_BF16);
  const v1::JobSpec resolved = *ResolveJobSpec(spec);
  const EnvOptions env = ToEnvOptions(SettingsOf(resolved));
  ASSERT_EQ(env.budget.size(), 1U);
  EXPECT_EQ(env.budget[0].resource, Resource::kParams);
  EXPECT_EQ(env.budget[0].absolute, 1234);
  EXPECT_EQ(env.channel_multiple, 8);
  EXPECT_EQ(env.frozen, std::vector<std::string>{"conv1"});
  EXPECT_TRUE(env.keep_residual);
  const SearchOptions search = ToSearchOptions(resolved, 5000);
  EXPECT_EQ(search.reward.metric, QualityMetric::kNegativeKl);
  EXPECT_EQ(search.agent_options.ddpg.hidden, 17);
  const LocalEvaluatorOptions evaluator = ToEvaluatorOptions(resolved);
  EXPECT_EQ(evaluator.prune.criterion, Criterion::kL1);
  EXPECT_EQ(evaluator.reconstruction, Reconstruction::kStrong);
  EXPECT_EQ(evaluator.prune.exec.precision, Precision::kBfloat16);
  EXPECT_EQ(JobNumericsId("avx2:torch1", "", resolved.evaluation()),
            "cpu:avx2:torch1:threads1:batch64:bf16");
}

}  // namespace
}  // namespace amc
