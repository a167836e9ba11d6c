// What a candidate's key depends on, and what not.
#include "server/candidate_key.h"

#include <functional>
#include <set>

#include "gtest/gtest.h"

namespace amc {
namespace {

constexpr char kNumerics[] = "cpu:avx512:torch1:threads1:batch64:fp32";

v1::JobSpec Spec() {
  v1::JobSpec spec;
  spec.set_name("resnet");
  spec.set_model(std::string(64, 'a'));
  spec.set_data(std::string(64, 'd'));
  spec.mutable_budget()->set_ratio(0.5);
  spec.mutable_search()->set_agent("random");
  spec.mutable_search()->set_seed(1);
  spec.mutable_search()->set_episodes(100);
  v1::EvaluationSpec& evaluation = *spec.mutable_evaluation();
  evaluation.set_criterion(v1::CRITERION_GREEDY);
  evaluation.set_reconstruction(v1::RECONSTRUCTION_FAST);
  evaluation.set_reconstruction_images(2000);
  evaluation.set_samples_per_layer(20000);
  evaluation.set_recalibration_images(128);
  evaluation.set_ridge(1e-4);
  evaluation.set_reward_images(0);
  evaluation.set_report_images(0);
  evaluation.set_device(v1::DEVICE_CPU);
  evaluation.set_precision(v1::PRECISION_FP32);
  evaluation.set_batch_size(64);
  evaluation.set_threads(1);
  spec.set_reuse(true);
  return spec;
}

void Keep(v1::Policy& policy, const std::string& target, int64_t kept,
          v1::Granularity granularity = v1::GRANULARITY_CHANNEL) {
  v1::Decision& decision = *policy.add_decisions();
  decision.set_target(target);
  decision.set_granularity(granularity);
  decision.set_kept(kept);
}

v1::Policy SamplePolicy() {
  v1::Policy policy;
  Keep(policy, "conv1", 8);
  Keep(policy, "conv2", 16);
  return policy;
}

std::string Key(const v1::JobSpec& spec) {
  return CandidateKey(spec, kNumerics, SamplePolicy(), 0);
}
std::string Key(const v1::Policy& policy) { return CandidateKey(Spec(), kNumerics, policy, 0); }

TEST(CandidateKeyTest, IsTheModelsDigestAndAHash) {
  const std::string key = Key(Spec());
  ASSERT_EQ(key.size(), 64u + 1 + 64);
  EXPECT_EQ(key.substr(0, 65), std::string(64, 'a') + ":");
  EXPECT_EQ(key.find_first_not_of("0123456789abcdef", 65), std::string::npos);
}

// The keys are in databases: if this fails, older measurements are found no more. The hash was
// computed by Python's hashlib over its own serialisation of the same settings.
TEST(CandidateKeyTest, StaysTheSameFromReleaseToRelease) {
  EXPECT_EQ(Key(Spec()).substr(65),
            "10c17571150f8e542e3f3ad692aa73f06bc0360e10d79360cf14a0ca8824d77e");
}

TEST(CandidateKeyTest, IsEmptyWhereNothingIsToBeReused) {
  EXPECT_EQ(CandidateKey(Spec(), "", SamplePolicy(), 0), "");
  v1::JobSpec spec = Spec();
  spec.set_reuse(false);
  EXPECT_EQ(Key(spec), "");
  spec.clear_reuse();  // resolved specs say it
  EXPECT_EQ(Key(spec), "");
}

TEST(CandidateKeyTest, TheOrderOfDecisionsDoesNotMatter) {
  v1::Policy turned;
  Keep(turned, "conv2", 16);
  Keep(turned, "conv1", 8);
  EXPECT_EQ(Key(turned), Key(SamplePolicy()));
}

TEST(CandidateKeyTest, WhatDoesNotTouchTheMeasurementDoesNotMatter) {
  const std::vector<std::function<void(v1::JobSpec&)>> changes = {
      [](v1::JobSpec& spec) { spec.set_name("other"); },
      [](v1::JobSpec& spec) { spec.mutable_budget()->set_absolute(5); },
      [](v1::JobSpec& spec) { spec.clear_search(); },
      [](v1::JobSpec& spec) { spec.mutable_search()->set_seed(2); },
      [](v1::JobSpec& spec) { spec.mutable_search()->set_agent("ddpg-paper"); },
      [](v1::JobSpec& spec) { spec.mutable_search()->set_metric(v1::QUALITY_METRIC_TOP5); },
      [](v1::JobSpec& spec) { spec.mutable_search()->set_reward(v1::REWARD_KIND_ERROR_LOG_MACS); },
      [](v1::JobSpec& spec) { spec.mutable_space()->add_frozen("conv3"); },
      [](v1::JobSpec& spec) { spec.mutable_evaluation()->set_report_images(77); },
      [](v1::JobSpec& spec) { spec.set_max_attempts(9); },
      [](v1::JobSpec& spec) { spec.set_allow_weak_baseline(true); },
      [](v1::JobSpec& spec) { spec.set_priority(50); },
      [](v1::JobSpec& spec) { spec.set_max_workers(3); },
      [](v1::JobSpec& spec) { spec.mutable_requirements()->set_memory_bytes(1); },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    v1::JobSpec spec = Spec();
    changes[i](spec);
    EXPECT_EQ(Key(spec), Key(Spec())) << i;
  }
}

TEST(CandidateKeyTest, WhateverTouchesItMatters) {
  std::set<std::string> keys = {Key(Spec())};
  const auto is_new = [&keys](const std::string& key) {
    return !key.empty() && keys.insert(key).second;
  };
  const std::vector<std::function<void(v1::JobSpec&)>> changes = {
      [](v1::JobSpec& spec) { spec.set_model(std::string(64, 'b')); },
      [](v1::JobSpec& spec) { spec.set_data(std::string(64, 'e')); },
      [](v1::JobSpec& spec) { spec.mutable_evaluation()->set_criterion(v1::CRITERION_L1); },
      [](v1::JobSpec& spec) {
        spec.mutable_evaluation()->set_reconstruction(v1::RECONSTRUCTION_NONE);
      },
      [](v1::JobSpec& spec) { spec.mutable_evaluation()->set_reconstruction_images(2001); },
      [](v1::JobSpec& spec) { spec.mutable_evaluation()->set_samples_per_layer(20001); },
      [](v1::JobSpec& spec) { spec.mutable_evaluation()->set_recalibration_images(129); },
      [](v1::JobSpec& spec) { spec.mutable_evaluation()->set_ridge(1e-3); },
      [](v1::JobSpec& spec) { spec.mutable_evaluation()->set_reward_images(1); },
      [](v1::JobSpec& spec) { spec.mutable_evaluation()->set_device(v1::DEVICE_CUDA); },
      [](v1::JobSpec& spec) { spec.mutable_evaluation()->set_precision(v1::PRECISION_BF16); },
      [](v1::JobSpec& spec) { spec.mutable_evaluation()->set_batch_size(63); },
      [](v1::JobSpec& spec) { spec.mutable_evaluation()->set_threads(2); },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    v1::JobSpec spec = Spec();
    changes[i](spec);
    EXPECT_TRUE(is_new(Key(spec))) << i;
  }
  EXPECT_TRUE(
      is_new(CandidateKey(Spec(), "cpu:avx2:torch1:threads1:batch64:fp32", SamplePolicy(), 0)));
}

// A measurement on fewer images is that of a job which has no more.
TEST(CandidateKeyTest, ImagesOfOneCandidateReplaceTheSpecs) {
  v1::JobSpec fewer = Spec();
  fewer.mutable_evaluation()->set_reward_images(77);
  const std::string key = CandidateKey(Spec(), kNumerics, SamplePolicy(), 77);
  EXPECT_NE(key, Key(Spec()));
  EXPECT_EQ(key, Key(fewer));
  EXPECT_EQ(CandidateKey(fewer, kNumerics, SamplePolicy(), 900), Key(fewer));
}

TEST(CandidateKeyTest, EveryDecisionMatters) {
  std::set<std::string> keys;
  const auto is_new = [&keys](const v1::Policy& policy) { return keys.insert(Key(policy)).second; };
  EXPECT_TRUE(is_new(SamplePolicy()));
  EXPECT_TRUE(is_new(v1::Policy()));
  v1::Policy policy;
  Keep(policy, "conv1", 8);
  EXPECT_TRUE(is_new(policy));
  Keep(policy, "conv2", 15);
  EXPECT_TRUE(is_new(policy));
  policy.mutable_decisions(1)->set_kept(16);
  EXPECT_FALSE(is_new(policy));  // the sample again
  Keep(policy, "conv3", 1);
  EXPECT_TRUE(is_new(policy));
  policy = SamplePolicy();
  policy.mutable_decisions(0)->set_kept(16);
  policy.mutable_decisions(1)->set_kept(8);  // swapped
  EXPECT_TRUE(is_new(policy));
  policy = SamplePolicy();
  policy.mutable_decisions(0)->set_granularity(v1::GRANULARITY_UNSPECIFIED);
  EXPECT_TRUE(is_new(policy));
  // Names and numbers that run into each other.
  v1::Policy one, other;
  Keep(one, "conv1", 18);
  Keep(other, "conv11", 8);
  EXPECT_TRUE(is_new(one));
  EXPECT_TRUE(is_new(other));
  v1::Policy joined;
  Keep(joined, "conv15:1 8", 16);
  EXPECT_TRUE(is_new(joined));
}

}  // namespace
}  // namespace amc
