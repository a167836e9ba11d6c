#include "env/local_evaluator.h"

#include <cmath>
#include <limits>

#include "env/cost/cost_model.h"
#include "env/prune/recalibration.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"
#include "tests/env/prune/random_pack.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::amc::testing::RandomPack;

// Half of one group, the others whole.
Policy CutOne(const LocalEvaluator& evaluator, size_t group) {
  std::vector<int64_t> kept;
  for (const PruneGroup& each : evaluator.grouping().groups) kept.push_back(each.channels);
  kept[group] /= 2;
  return MakePolicy(evaluator.grouping(), kept);
}

bool SameMeasurement(const Measurement& a, const Measurement& b) {
  return a.top1 == b.top1 && a.top5 == b.top5 && a.loss == b.loss && a.kl == b.kl &&
         a.images == b.images && a.cost == b.cost && a.work == b.work;
}

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
  const absl::StatusOr<std::vector<Measurement>> measured = evaluator->Evaluate({Candidate{}});
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
      {MakePolicy(evaluator->grouping(), kept)}, Reconstruction::kStrong, &pruned);
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
  EXPECT_EQ((*evaluator->Evaluate({Candidate{}}))[0].images, 50);
}

TEST_F(LocalEvaluatorTest, ACandidateMayAskForFewerImages) {
  const auto evaluator = Make();
  const Policy policy = CutOne(*evaluator, 0);
  Graph pruned;
  const Measurement few = *evaluator->EvaluateOne({policy, 50}, Reconstruction::kFast, &pruned);
  EXPECT_EQ(few.images, 50);
  options_.reward_images = 50;
  const auto on_few = Make();
  EXPECT_TRUE(SameMeasurement(few, *on_few->EvaluateOne({policy}, Reconstruction::kFast)));
  EXPECT_TRUE(SameMeasurement(few, *on_few->EvaluateOne({policy, 90}, Reconstruction::kFast)));
  EXPECT_EQ(on_few->EvaluateOne({policy, 90}, Reconstruction::kFast)->images, 50);
  const absl::Status negative =
      evaluator->EvaluateOne({policy, -1}, Reconstruction::kFast).status();
  EXPECT_EQ(negative.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(negative.message()), ::testing::HasSubstr("-1 images"));
}

// Layers of the fixture's network, in MACs per image: the first with `a` outputs, the second with
// `b`, the head.
int64_t First(int64_t a) { return a * 3 * 9 * 64; }
int64_t Second(int64_t a, int64_t b) { return b * a * 9 * 64; }
int64_t Head(int64_t b) { return 2 * b; }

TEST_F(LocalEvaluatorTest, WorkIsImagesTimesTheLayersThatTheyPassed) {
  const auto evaluator = Make();
  EXPECT_EQ(evaluator->baseline().work, 120 * (First(12) + Second(12, 8) + Head(8)));
  const auto work = [&](size_t group, int64_t images, Reconstruction reconstruction) {
    return evaluator->EvaluateOne({CutOne(*evaluator, group), images}, reconstruction)->work;
  };
  // Half of the first group: from the beginning.
  const int64_t rest = Second(6, 8);
  const int64_t all = First(6) + rest + Head(8);
  EXPECT_EQ(work(0, 50, Reconstruction::kNone), 50 * all);
  EXPECT_EQ(work(0, 0, Reconstruction::kNone), 120 * all);
  // 32 images recalibrate; what follows the last batch norm they need not pass.
  EXPECT_EQ(work(0, 50, Reconstruction::kFast), 32 * (First(6) + rest) + 50 * all);
  // 60 images are a sample of these, and the original's part of it is not a candidate's.
  EXPECT_EQ(work(0, 50, Reconstruction::kSampled), 60 * (First(6) + rest) + 50 * all);
  // 60 walk through both networks, the pruned one up to the head, whose inputs are all that its
  // refit needs; 60 give fresh statistics; 24 judge them, twice.
  const int64_t original = First(12) + Second(12, 8) + Head(8);
  EXPECT_EQ(work(0, 50, Reconstruction::kStrong),
            60 * (original + First(6) + rest) + 60 * (First(6) + rest) + 2 * 24 * all + 50 * all);
  // Half of the second group: from the second layer on.
  EXPECT_EQ(work(1, 50, Reconstruction::kNone), 50 * (Second(12, 4) + Head(4)));
  EXPECT_EQ(work(1, 50, Reconstruction::kFast),
            32 * Second(12, 4) + 50 * (Second(12, 4) + Head(4)));
  EXPECT_EQ(work(1, 50, Reconstruction::kSampled),
            60 * Second(12, 4) + 50 * (Second(12, 4) + Head(4)));
}

TEST_F(LocalEvaluatorTest, FineTuningForwardsOnceAndBackwardTwice) {
  options_.finetune_steps = 3;
  const auto evaluator = Make();
  Graph tuned;
  const Measurement measured =
      *evaluator->EvaluateOne({CutOne(*evaluator, 1), 50}, Reconstruction::kNone, &tuned);
  const int64_t all = First(12) + Second(12, 4) + Head(4);
  EXPECT_EQ(measured.work, 3 * 3 * 64 * all + 50 * all);  // no layer is the original's any more
  EXPECT_EQ(measured.cost.macs, all);
  // Nothing to learn for a network that lost nothing.
  const Measurement whole = *evaluator->EvaluateOne({Policy{}, 50}, Reconstruction::kNone);
  EXPECT_EQ(whole.kl, 0);
  EXPECT_EQ(whole.work, 50 * (Second(12, 8) + Head(8)));  // from the latest cut
}

TEST_F(LocalEvaluatorTest, AStrongReconstructionIsTunedOnlyWhereThatHelps) {
  Graph& graph = builder_.graph;
  Tensor& head = graph.tensor(graph.nodes.back().inputs[1]);
  std::vector<float> weight = *Values<float>(graph, graph.nodes.back().inputs[1]);
  for (float& value : weight) value *= 20;  // or nothing that is lost would show
  head = MakeFloats(head.name, head.shape, weight);
  graph = Recalibrate(graph, {&pack_, 0, 120}, {})->graph;  // as if trained
  const Policy policy = MakePolicy(Make()->grouping(), std::vector<int64_t>{2, 1});
  const auto measure = [&](double rate, Graph* network) {
    options_.finetune_steps = rate == 0 ? 0 : 40;
    options_.finetune_learning_rate = rate;
    return *Make()->EvaluateOne({policy}, Reconstruction::kStrong, network);
  };
  Graph untuned, ruined, tuned;
  const Measurement before = measure(0, &untuned);
  const Measurement after_ruin = measure(1e3, &ruined);  // steps that lead anywhere
  EXPECT_EQ(after_ruin.kl, before.kl);
  EXPECT_EQ(CommonPrefix(untuned, ruined), untuned.nodes.size());
  EXPECT_GT(after_ruin.work, before.work);  // it was tried
  EXPECT_LT(measure(0.01, &tuned).kl, before.kl);
  EXPECT_EQ(CommonPrefix(untuned, tuned), 0u);
}

TEST_F(LocalEvaluatorTest, WholeSplitsOfManyImagesArePassedFromTheBeginning) {
  constexpr int64_t kMany = LocalEvaluator::kMostPrefixImages + 1;
  const RandomPack many(kMany, 3, 8, 2);
  const auto evaluator = *LocalEvaluator::Create(builder_.graph, many, options_);
  const Policy policy = CutOne(*evaluator, 1);
  EXPECT_EQ(evaluator->EvaluateOne({policy}, Reconstruction::kNone)->work,
            kMany * (First(12) + Second(12, 4) + Head(4)));
  EXPECT_EQ(evaluator->EvaluateOne({policy, kMany - 1}, Reconstruction::kNone)->work,
            (kMany - 1) * (Second(12, 4) + Head(4)));
}

TEST_F(LocalEvaluatorTest, StartingLaterShowsNowhere) {
  std::vector<float> reference;
  EvaluateOptions evaluate;
  evaluate.logits = &reference;
  ASSERT_TRUE(Evaluate(builder_.graph, pack_, Split::kReward, evaluate).ok());
  const auto evaluator = Make();
  std::vector<Measurement> forwards;
  for (const int64_t images : {70, 50}) {
    for (const size_t group : {0, 1}) {
      Graph network;
      const Measurement measured = *evaluator->EvaluateOne({CutOne(*evaluator, group), images},
                                                           Reconstruction::kFast, &network);
      evaluate = {};
      evaluate.max_images = images;
      evaluate.reference_logits = absl::MakeConstSpan(reference).first(2 * images);
      const Quality whole = *Evaluate(network, pack_, Split::kReward, evaluate);
      EXPECT_EQ(measured.kl, whole.kl);
      EXPECT_EQ(measured.loss, whole.loss);
      EXPECT_EQ(measured.top1, whole.top1);
      forwards.push_back(measured);
    }
  }
  // Nor does what was measured before.
  const auto other = Make();
  for (const int64_t images : {50, 70}) {
    for (const size_t group : {1, 0}) {
      const Measurement measured =
          *other->EvaluateOne({CutOne(*other, group), images}, Reconstruction::kFast);
      EXPECT_TRUE(SameMeasurement(measured, forwards[(images == 50 ? 2 : 0) + group]));
    }
  }
}

// Counts the reward images that are read.
class CountingPack : public RandomPack {
 public:
  using RandomPack::RandomPack;
  std::vector<float> Images(Split split, int64_t first, int64_t count) const override {
    if (split == Split::kReward) read_ += count;
    return RandomPack::Images(split, first, count);
  }
  int64_t read() const { return read_; }

 private:
  mutable int64_t read_ = 0;
};

TEST_F(LocalEvaluatorTest, NumbersOfImagesInTurnsDoNotPushEachOtherOut) {
  const CountingPack pack(120, 3, 8, 2);
  const auto make = [&] { return *LocalEvaluator::Create(builder_.graph, pack, options_); };
  const auto evaluator = make();
  const std::vector<int64_t> counts = {70, 50, 90};
  std::vector<std::vector<Measurement>> in_turns(counts.size());
  for (int round = 0; round < 3; ++round) {
    const int64_t before = pack.read();
    for (size_t i = 0; i < counts.size(); ++i) {
      in_turns[i].push_back(
          *evaluator->EvaluateOne({CutOne(*evaluator, 1), counts[i]}, Reconstruction::kFast));
    }
    // What starts at a cut reads no image but those that the original passes once.
    EXPECT_EQ(pack.read() - before, round == 0 ? 70 + 50 + 90 : 0) << round;
  }
  for (size_t i = 0; i < counts.size(); ++i) {
    const auto alone = make();
    for (const Measurement& measured : in_turns[i]) {
      EXPECT_TRUE(SameMeasurement(
          measured, *alone->EvaluateOne({CutOne(*alone, 1), counts[i]}, Reconstruction::kFast)));
    }
  }
}

TEST_F(LocalEvaluatorTest, SparseNetworksAreRecalibratedIfTheyWereFitted) {
  options_.sparsity = SparseSpace{};
  for (const int64_t images : {32, 0}) {
    options_.prune.recalibration_images = images;
    const auto evaluator = Make();
    EXPECT_FALSE(evaluator->recalibrated());
    const Candidate half{CutOne(*evaluator, 0)};
    ASSERT_TRUE(evaluator->EvaluateOne(half, Reconstruction::kStrong).ok());
    EXPECT_EQ(evaluator->recalibrated(), images > 0);
    ASSERT_TRUE(evaluator->EvaluateOne(half, Reconstruction::kNone).ok());
    EXPECT_FALSE(evaluator->recalibrated());
    ASSERT_TRUE(evaluator->EvaluateOne(half, Reconstruction::kFast).ok());
    EXPECT_EQ(evaluator->recalibrated(), images > 0);
    ASSERT_TRUE(evaluator->EvaluateOne({}, Reconstruction::kFast).ok());  // whole
    EXPECT_FALSE(evaluator->recalibrated());
  }
}

TEST_F(LocalEvaluatorTest, TheFirstBadPolicyEndsTheGeneration) {
  const auto evaluator = Make();
  Policy unknown;
  unknown.decisions = {{.target = "nobody", .kept = 3}};
  const absl::Status status = evaluator->Evaluate({Candidate{}, Candidate{unknown}}).status();
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
  for (const Reconstruction reconstruction : {Reconstruction::kNone, Reconstruction::kFast,
                                              Reconstruction::kSampled, Reconstruction::kStrong}) {
    Graph pruned;
    const auto measured = (*evaluator)->EvaluateOne({policy}, reconstruction, &pruned);
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
  const auto generation = (*evaluator)->Evaluate({Candidate{policy}, Candidate{}});
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
