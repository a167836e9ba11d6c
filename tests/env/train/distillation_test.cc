// Tuning towards the original's answers: one step by hand, and what many lead to.
#include "env/train/distillation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "base/interrupt.h"
#include "base/rng.h"
#include "env/exec/evaluate.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"
#include "tests/env/prune/random_pack.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::amc::testing::RandomPack;
using ::testing::HasSubstr;

// Pixels of a 1 x 1 x 2 image to three logits.
Graph Linear(const std::vector<float>& weight, const std::vector<float>& bias) {
  GraphBuilder b;
  const TensorId x = b.Op("Flatten", {b.Input({kDynamic, 1, 1, 2})});
  const TensorId w = b.graph.AddTensor(MakeFloats("weight", {3, 2}, weight));
  const TensorId c = b.graph.AddTensor(MakeFloats("bias", {3}, bias));
  b.Output(b.Op("Gemm", {x, w, c}, {{"transB", int64_t{1}}}));
  return b.graph;
}

// Images of two pixels, three classes.
class PairPack : public RandomPack {
 public:
  explicit PairPack(int64_t images) : RandomPack(images, 1, 1, 3), rng_values_(Draw(images)) {}
  int64_t width() const override { return 2; }
  std::vector<float> Images(Split, int64_t first, int64_t count) const override {
    return {rng_values_.begin() + 2 * first, rng_values_.begin() + 2 * (first + count)};
  }

 private:
  static std::vector<float> Draw(int64_t images) {
    Rng rng(5);
    std::vector<float> values;
    for (int64_t i = 0; i < 2 * images; ++i) values.push_back(static_cast<float>(rng.Normal()));
    return values;
  }
  const std::vector<float> rng_values_;
};

std::vector<double> Softmax(const std::vector<float>& weight, const std::vector<float>& bias,
                            const std::vector<float>& x) {
  std::vector<double> p;
  double sum = 0;
  for (size_t c = 0; c < 3; ++c) {
    p.push_back(std::exp(weight[2 * c] * x[0] + weight[2 * c + 1] * x[1] + bias[c]));
    sum += p.back();
  }
  for (double& value : p) value /= sum;
  return p;
}

const std::vector<float> kWeight = {1, 2, -1, 0.5F, 0, -2}, kBias = {0.5F, 0, -0.5F};
const std::vector<float> kOther = {0, 1, 1, 0.5F, 0.25F, 0}, kOtherBias = {0, 0.25F, 0};

TEST(DistillerTest, OneStepFollowsTheGradientOfTheDivergence) {
  // With as many images as one step takes, their order does not matter. KL's gradient by the logits
  // is q - p; Nesterov's first step is (1 + momentum) times the gradient.
  constexpr int64_t kLearnt = 4;
  const PairPack pack(kLearnt + 1);  // and one is held out
  const Graph original = Linear(kWeight, kBias), changed = Linear(kOther, kOtherBias);
  Distiller distiller(original, pack, {.steps = 1, .learning_rate = 0.1, .batch_size = kLearnt});
  const absl::StatusOr<Graph> tuned = distiller.Tune(changed);
  ASSERT_TRUE(tuned.ok()) << tuned.status();
  std::vector<double> weight(kOther.begin(), kOther.end());
  std::vector<double> bias(kOtherBias.begin(), kOtherBias.end());
  for (int64_t i = 0; i < kLearnt; ++i) {
    const std::vector<float> x = pack.Images(Split::kReconstruction, i, 1);
    const std::vector<double> p = Softmax(kWeight, kBias, x), q = Softmax(kOther, kOtherBias, x);
    for (size_t c = 0; c < 3; ++c) {
      const double step = 0.1 * 1.9 * (q[c] - p[c]) / kLearnt;
      for (size_t k = 0; k < 2; ++k) weight[2 * c + k] -= step * x[k];
      bias[c] -= step;
    }
  }
  const Node& layer = tuned->nodes.back();
  const std::vector<float> tuned_weight = *Values<float>(*tuned, layer.inputs[1]);
  const std::vector<float> tuned_bias = *Values<float>(*tuned, layer.inputs[2]);
  for (size_t i = 0; i < weight.size(); ++i) EXPECT_NEAR(tuned_weight[i], weight[i], 1e-6);
  for (size_t c = 0; c < bias.size(); ++c) EXPECT_NEAR(tuned_bias[c], bias[c], 1e-6);
}

TEST(DistillerTest, HeldOutDivergenceIsThatOfImagesThatItDoesNotLearnFrom) {
  const PairPack pack(25);
  const Graph original = Linear(kWeight, kBias);
  Distiller distiller(original, pack, {.steps = 1});
  ASSERT_EQ(distiller.held_out(), 5);
  double kl = 0;
  for (int64_t i = 20; i < 25; ++i) {
    const std::vector<float> x = pack.Images(Split::kReconstruction, i, 1);
    const std::vector<double> p = Softmax(kWeight, kBias, x), q = Softmax(kOther, kOtherBias, x);
    for (size_t c = 0; c < 3; ++c) kl += p[c] * std::log(p[c] / q[c]) / 5;
  }
  EXPECT_NEAR(*distiller.HeldOutKl(Linear(kOther, kOtherBias)), kl, 1e-6);
  EXPECT_EQ(*distiller.HeldOutKl(original), 0);
}

class ConvolutionTest : public ::testing::Test {
 protected:
  ConvolutionTest() : pack_(100, 3, 8, 2) {
    TensorId x = builder_.Input({kDynamic, 3, 8, 8});
    x = builder_.Op("Relu", {builder_.BatchNorm(builder_.Conv(x, 6))});
    builder_.Head(builder_.Op("Relu", {builder_.BatchNorm(builder_.Conv(x, 6))}));
    changed_ = builder_.graph;
    Rng rng(3);
    for (const size_t node : {0, 3, 8}) {
      const TensorId id = changed_.nodes[node].inputs[1];
      std::vector<float> values = *Values<float>(changed_, id);
      for (float& value : values) value += static_cast<float>(0.1 * rng.Normal());
      changed_.tensor(id) = MakeFloats("", changed_.tensor(id).shape, values);
    }
  }

  static bool SameWeights(const Graph& a, const Graph& b) {
    for (size_t t = 0; t < a.tensors.size(); ++t) {
      if (a.tensors[t].is_constant && *a.tensors[t].data != *b.tensors[t].data) return false;
    }
    return true;
  }

  GraphBuilder builder_;
  Graph changed_;
  const RandomPack pack_;
};

TEST_F(ConvolutionTest, StepsBringANetworkNearerToTheOriginal) {
  Distiller distiller(builder_.graph, pack_,
                      {.steps = 40, .learning_rate = 0.02, .batch_size = 16});
  EXPECT_EQ(distiller.images(), 640);
  const double before = *distiller.HeldOutKl(changed_);
  const absl::StatusOr<Graph> tuned = distiller.Tune(changed_);
  ASSERT_TRUE(tuned.ok()) << tuned.status();
  EXPECT_LT(*distiller.HeldOutKl(*tuned), 0.5 * before);
}

TEST_F(ConvolutionTest, IsAFunctionOfItsArguments) {
  const DistillOptions options = {.steps = 7, .batch_size = 16};
  Distiller distiller(builder_.graph, pack_, options);
  const Graph tuned = *distiller.Tune(changed_);
  EXPECT_FALSE(SameWeights(tuned, changed_));
  ASSERT_TRUE(distiller.Tune(tuned).ok());  // another one in between
  EXPECT_TRUE(SameWeights(*distiller.Tune(changed_), tuned));
  EXPECT_TRUE(SameWeights(*Distiller(builder_.graph, pack_, options).Tune(changed_), tuned));
  DistillOptions other = options;
  other.seed = 1;
  EXPECT_FALSE(SameWeights(*Distiller(builder_.graph, pack_, other).Tune(changed_), tuned));
}

// Notes which images are read.
class ReadingPack : public RandomPack {
 public:
  using RandomPack::RandomPack;
  std::vector<float> Images(Split split, int64_t first, int64_t count) const override {
    for (int64_t i = first; i < first + count; ++i) read_.push_back(i);
    return RandomPack::Images(split, first, count);
  }
  std::vector<int64_t> TakeRead() const { return std::exchange(read_, {}); }

 private:
  mutable std::vector<int64_t> read_;
};

TEST_F(ConvolutionTest, TheOriginalSeesThePartOfTheSplitThatIsDrawnOnce) {
  constexpr int64_t kLearnt = 80;  // of 100
  const ReadingPack pack(100, 3, 8, 2);
  struct Case {
    int64_t steps, batch_size, asked;  // asked: whole batches until all that is drawn was seen
  };
  for (const Case& c : {Case{2, 16, 32},
                        {5, 16, 80},
                        {400, 16, 80},
                        {3, 24, 72},
                        {4, 24, 96},
                        {400, 24, 96},
                        {1, 100, 100},
                        {40, 100, 100}}) {
    Distiller distiller(builder_.graph, pack, {.steps = c.steps, .batch_size = c.batch_size});
    ASSERT_TRUE(distiller.Tune(changed_).ok());
    const std::vector<int64_t> first = pack.TakeRead();
    ASSERT_TRUE(distiller.Tune(changed_).ok());
    const std::vector<int64_t> drawn = pack.TakeRead();  // by the steps alone
    ASSERT_EQ(drawn.size(), static_cast<size_t>(distiller.images()));
    ASSERT_EQ(first.size(), static_cast<size_t>(c.asked) + drawn.size());
    const std::vector<int64_t> asked(first.begin(), first.begin() + c.asked);
    EXPECT_EQ(std::vector<int64_t>(first.begin() + c.asked, first.end()), drawn);
    const std::set<int64_t> distinct(asked.begin(), asked.end());
    EXPECT_EQ(distinct, std::set<int64_t>(drawn.begin(), drawn.end()));
    EXPECT_EQ(static_cast<int64_t>(distinct.size()), std::min(kLearnt, c.asked));
    EXPECT_LT(*distinct.rbegin(), kLearnt);
  }
}

TEST_F(ConvolutionTest, AnInterruptionLeavesNoTrace) {
  const DistillOptions options = {.steps = 2, .batch_size = 16};
  const Graph expected = *Distiller(builder_.graph, pack_, options).Tune(changed_);
  int checks = 0;
  {
    const InterruptScope count([&] { return ++checks, false; });
    ASSERT_TRUE(Distiller(builder_.graph, pack_, options).Tune(changed_).ok());
  }
  EXPECT_GE(checks, 4 * static_cast<int>(builder_.graph.nodes.size()));  // every node of every run
  for (int stop = 1; stop <= checks; stop += 3) {
    Distiller distiller(builder_.graph, pack_, options);
    int asked = 0;
    {
      const InterruptScope scope([&] { return ++asked == stop; });
      EXPECT_EQ(distiller.Tune(changed_).status().code(), absl::StatusCode::kCancelled) << stop;
    }
    EXPECT_TRUE(SameWeights(*distiller.Tune(changed_), expected)) << stop;
  }
}

TEST_F(ConvolutionTest, RefusesWhatMakesNoSense) {
  const auto refused = [&](DistillOptions options, const std::string& message) {
    const absl::Status status = Distiller(builder_.graph, pack_, options).Tune(changed_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  refused({.steps = 0}, "steps is 0");
  refused({.steps = 1, .learning_rate = 0}, "learning rate is 0");
  refused({.steps = 1, .learning_rate = std::numeric_limits<double>::infinity()},
          "learning rate is inf");
  refused({.steps = 1, .batch_size = 0}, "batch size is 0");
  const RandomPack empty(0, 3, 8, 2), few(4, 3, 8, 2);
  EXPECT_EQ(Distiller(builder_.graph, empty, {.steps = 1}).Tune(changed_).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Distiller(builder_.graph, few, {.steps = 1}).HeldOutKl(changed_).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace amc
