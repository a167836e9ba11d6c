#include "env/local_evaluator.h"

#include <cmath>

#include "env/cost/cost_model.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"
#include "tests/env/prune/random_pack.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::amc::testing::RandomPack;

class LocalEvaluatorTest : public ::testing::Test {
 protected:
  LocalEvaluatorTest() : pack_(120, 3, 8, 2) {
    const TensorId x = builder_.Op(
        "Relu", {builder_.BatchNorm(builder_.Conv(builder_.Input({kDynamic, 3, 8, 8}), 12))});
    builder_.Head(builder_.Op("Relu", {builder_.BatchNorm(builder_.Conv(x, 8))}));
    options_.prune.reconstruction_images = 60;
    options_.prune.recalibration_images = 32;
  }

  std::unique_ptr<LocalEvaluator> Make() {
    auto evaluator = LocalEvaluator::Create(builder_.graph, pack_, options_);
    EXPECT_TRUE(evaluator.ok()) << evaluator.status();
    return *std::move(evaluator);
  }

  GraphBuilder builder_;
  RandomPack pack_;
  LocalEvaluatorOptions options_;
};

TEST_F(LocalEvaluatorTest, KeepingEverythingIsTheBaselineExactly) {
  const auto evaluator = Make();
  const Measurement& baseline = evaluator->baseline();
  EXPECT_EQ(baseline.images, 120);
  const absl::StatusOr<std::vector<Measurement>> measured = evaluator->Evaluate({{Policy{}}});
  ASSERT_TRUE(measured.ok()) << measured.status();
  EXPECT_EQ((*measured)[0].top1, baseline.top1);
  EXPECT_EQ((*measured)[0].loss, baseline.loss);
  EXPECT_EQ((*measured)[0].kl, 0);
  EXPECT_EQ((*measured)[0].cost, baseline.cost);
}

TEST_F(LocalEvaluatorTest, CountsTheCostOfTheShrunkNetworkAndHandsItOut) {
  const auto evaluator = Make();
  std::vector<int64_t> kept;
  for (const PruneGroup& group : evaluator->grouping().groups) kept.push_back(group.channels / 2);
  Graph pruned;
  const absl::StatusOr<Measurement> measured = evaluator->EvaluateOne(
      MakePolicy(evaluator->grouping(), kept), Reconstruction::kStrong, &pruned);
  ASSERT_TRUE(measured.ok()) << measured.status();
  const auto model = CostModel::Create(builder_.graph, evaluator->grouping());
  EXPECT_EQ(measured->cost, model->Evaluate(kept));
  EXPECT_EQ(*CountCost(pruned), measured->cost);
  EXPECT_GT(measured->kl, 0);
  EXPECT_TRUE(std::isfinite(measured->kl));
}

TEST_F(LocalEvaluatorTest, MeasuresOnAsManyRewardImagesAsAsked) {
  options_.reward_images = 50;
  const auto evaluator = Make();
  EXPECT_EQ(evaluator->baseline().images, 50);
  EXPECT_EQ((*evaluator->Evaluate({{Policy{}}}))[0].images, 50);
}

TEST_F(LocalEvaluatorTest, TheFirstBadPolicyEndsTheGeneration) {
  const auto evaluator = Make();
  Policy unknown;
  unknown.decisions = {{.target = "nobody", .kept = 3}};
  const absl::Status status = evaluator->Evaluate({{Policy{}, unknown}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("nobody"));
}

TEST_F(LocalEvaluatorTest, RefusesImagesOfAnotherSize) {
  const RandomPack other(16, 3, 10, 2);
  EXPECT_EQ(LocalEvaluator::Create(builder_.graph, other, options_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace amc
