// Networks and Adam against libtorch's autograd and optimiser.
#include "agent/mlp.h"

#include <torch/torch.h>

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace amc {
namespace {

constexpr int64_t kInputs = 5, kHidden = 16, kRows = 7;

std::vector<float> RandomFloats(size_t n, Rng& rng) {
  std::vector<float> values(n);
  for (float& value : values) value = static_cast<float>(rng.Normal());
  return values;
}

at::Tensor ToTensor(absl::Span<const float> values, at::IntArrayRef shape) {
  return torch::from_blob(const_cast<float*>(values.data()), shape, torch::kFloat).clone();
}

// The same network by autograd, its six parameters cut out of one flat leaf.
struct Reference {
  torch::Tensor flat, x, y;
  Reference(const Mlp& mlp, absl::Span<const float> input, bool sigmoid) {
    flat = ToTensor(mlp.parameters(), {static_cast<int64_t>(mlp.parameters().size())})
               .requires_grad_(true);
    x = ToTensor(input, {kRows, kInputs}).requires_grad_(true);
    int64_t at = 0;
    const auto take = [&](at::IntArrayRef shape) {
      const int64_t size = c10::multiply_integers(shape);
      at += size;
      return flat.slice(0, at - size, at).view(shape);
    };
    const auto layer = [&](const torch::Tensor& in, int64_t inputs, int64_t outputs) {
      const torch::Tensor weight = take({inputs, outputs});
      return in.mm(weight) + take({outputs});
    };
    y = layer(torch::relu(layer(torch::relu(layer(x, kInputs, kHidden)), kHidden, kHidden)),
              kHidden, 1);
    if (sigmoid) y = torch::sigmoid(y);
  }
};

void ExpectNear(absl::Span<const float> ours, const torch::Tensor& theirs, double tolerance) {
  const torch::Tensor flat = theirs.contiguous().view({-1});
  ASSERT_EQ(static_cast<int64_t>(ours.size()), flat.numel());
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_NEAR(ours[i], flat[static_cast<int64_t>(i)].item<float>(), tolerance) << "at " << i;
  }
}

TEST(MlpTest, OutputsAndGradientsEqualAutograd) {
  for (const bool sigmoid : {false, true}) {
    Rng rng(1);
    Mlp mlp(kInputs, kHidden, sigmoid ? Mlp::Output::kSigmoid : Mlp::Output::kLinear, rng);
    for (float& p : mlp.parameters()) p += static_cast<float>(0.1 * rng.Normal());
    const std::vector<float> x = RandomFloats(kRows * kInputs, rng);
    const std::vector<float> output_gradient = RandomFloats(kRows, rng);
    Reference reference(mlp, x, sigmoid);
    ExpectNear(mlp.Forward(x), reference.y, 1e-5);
    reference.y.backward(ToTensor(output_gradient, {kRows, 1}));
    ExpectNear(mlp.Backward(output_gradient), reference.flat.grad(), 1e-5);
    ExpectNear(mlp.InputGradient(output_gradient), reference.x.grad(), 1e-5);
  }
}

TEST(MlpTest, InitialWeightsAreBoundedByFanInAndTheLastOnesSmall) {
  Rng rng(2);
  const Mlp mlp(kInputs, kHidden, Mlp::Output::kLinear, rng);
  const auto range = [&](int64_t begin, int64_t end) {
    float largest = 0;
    for (int64_t i = begin; i < end; ++i)
      largest = std::max(largest, std::abs(mlp.parameters()[i]));
    return largest;
  };
  const int64_t first = (kInputs + 1) * kHidden, second = first + (kHidden + 1) * kHidden;
  EXPECT_LE(range(0, first), 1 / std::sqrt(5.0f));
  EXPECT_GT(range(0, first), 0.9f / std::sqrt(5.0f));
  EXPECT_LE(range(first, second), 0.25f);
  EXPECT_GT(range(first, second), 0.225f);
  EXPECT_LE(range(second, static_cast<int64_t>(mlp.parameters().size())), 0.003f);
  EXPECT_GT(range(second, static_cast<int64_t>(mlp.parameters().size())), 0.002f);
}

TEST(AdamTest, FollowsLibtorchsOptimiser) {
  Rng rng(3);
  std::vector<float> ours = RandomFloats(100, rng);
  torch::Tensor theirs = ToTensor(ours, {100}).requires_grad_(true);
  Adam adam(100, 1e-2);
  torch::optim::Adam reference({theirs}, torch::optim::AdamOptions(1e-2));
  for (int step = 0; step < 50; ++step) {
    const std::vector<float> gradient = RandomFloats(100, rng);
    adam.Step(gradient, ours);
    theirs.mutable_grad() = ToTensor(gradient, {100});
    reference.step();
  }
  ExpectNear(ours, theirs.detach(), 1e-5);
}

TEST(AdamTest, ARestoredOptimiserGoesOnAlike) {
  Rng rng(4);
  std::vector<float> ours = RandomFloats(10, rng), copy = ours;
  Adam adam(10, 1e-2);
  adam.Step(RandomFloats(10, rng), ours);
  copy = ours;
  Adam restored(10, 1e-2);
  restored.Restore(adam.steps(), adam.first(), adam.second());
  const std::vector<float> gradient = RandomFloats(10, rng);
  adam.Step(gradient, ours);
  restored.Step(gradient, copy);
  EXPECT_EQ(ours, copy);
}

TEST(SoftUpdateTest, MovesByTau) {
  std::vector<float> target{0, 1};
  SoftUpdate({10, 1}, 0.01, target);
  EXPECT_FLOAT_EQ(target[0], 0.1f);
  EXPECT_FLOAT_EQ(target[1], 1);
}

}  // namespace
}  // namespace amc
