#include "env/local_evaluator.h"

#include <cmath>
#include <limits>

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

// Two channels that cancel out, the second twice the first: without the first, what is left is
// multiplied by 2^132 and overflows. No reconstruction can help: the layer that reads them scales
// its weights (alpha), so that it keeps them.
Graph CancellingNetwork() {
  GraphBuilder b;
  const TensorId input = b.Input({kDynamic, 3, 8, 8});
  TensorId x = b.Op("Relu", {b.Conv(input, 2, 1, 1, "cancelling")});
  const auto set = [&](TensorId id, const std::vector<float>& values) {
    b.graph.tensor(id) = MakeFloats(b.graph.tensor(id).name, b.graph.tensor(id).shape, values);
  };
  const Node layer = b.graph.nodes[0];
  set(layer.inputs[1], {0.5F, 0.25F, 1, 1, 0.5F, 2});
  set(layer.inputs[2], {1, 2});
  x = b.Op("Flatten", {b.Op("GlobalAveragePool", {x})});
  const float large = std::ldexp(1.0F, 66);
  const TensorId weight = b.Floats({3, 2});
  set(weight, {-2 * large, large, -2 * large, large, -2 * large, large});
  x = b.Op("Gemm", {x, weight, b.Floats({3})}, {{"transB", int64_t{1}}, {"alpha", 0.5F}});
  x = b.Linear(b.Op("Relu", {x}), 3);
  set(b.graph.nodes.back().inputs[1], std::vector<float>(9, large));
  b.Output(b.Linear(b.Op("Relu", {x}), 2));
  return b.graph;
}

TEST_F(LocalEvaluatorTest, ACandidateWhoseLogitsAreNotFiniteIsInfeasible) {
  const Graph graph = CancellingNetwork();
  options_.prune.criterion = Criterion::kL1;
  auto evaluator = LocalEvaluator::Create(graph, pack_, options_);
  ASSERT_TRUE(evaluator.ok()) << evaluator.status();
  EXPECT_EQ((*evaluator)->baseline().infeasible, "");
  std::vector<int64_t> kept;
  for (const PruneGroup& group : (*evaluator)->grouping().groups) {
    kept.push_back(group.channels == 2 ? 1 : group.channels);
  }
  const Policy policy = MakePolicy((*evaluator)->grouping(), kept);
  const auto model = CostModel::Create(graph, (*evaluator)->grouping());
  for (const Reconstruction reconstruction :
       {Reconstruction::kNone, Reconstruction::kFast, Reconstruction::kStrong}) {
    Graph pruned;
    const auto measured = (*evaluator)->EvaluateOne(policy, reconstruction, &pruned);
    ASSERT_TRUE(measured.ok()) << measured.status();
    EXPECT_EQ(measured->infeasible, "the logits of 120 of 120 reward images are not finite");
    EXPECT_EQ(measured->images, 120);
    EXPECT_EQ(measured->cost, model->Evaluate(kept));
    EXPECT_EQ(*CountCost(pruned), measured->cost);
    for (const double metric : {measured->top1, measured->top5, measured->loss, measured->kl}) {
      EXPECT_EQ(metric, 0);
    }
  }
  // The others of its generation are measured all the same.
  const auto generation = (*evaluator)->Evaluate({{policy, Policy{}}});
  ASSERT_TRUE(generation.ok()) << generation.status();
  EXPECT_NE((*generation)[0].infeasible, "");
  EXPECT_EQ((*generation)[1].infeasible, "");
  EXPECT_EQ((*generation)[1].loss, (*evaluator)->baseline().loss);
}

TEST_F(LocalEvaluatorTest, RefusesAnOriginalWhoseLogitsAreNotFinite) {
  const TensorId bias = builder_.graph.nodes.back().inputs[2];
  builder_.graph.tensor(bias) =
      MakeFloats("bias", {2}, std::vector<float>{0, std::numeric_limits<float>::infinity()});
  const absl::Status status = LocalEvaluator::Create(builder_.graph, pack_, options_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()),
            "the original network: the logits of 120 of 120 reward images are not finite");
}

TEST_F(LocalEvaluatorTest, RefusesImagesOfAnotherSize) {
  const RandomPack other(16, 3, 10, 2);
  EXPECT_EQ(LocalEvaluator::Create(builder_.graph, other, options_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace amc
