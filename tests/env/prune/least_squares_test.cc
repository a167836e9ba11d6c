// The solves against libtorch's own least squares on the explicit rows.
#include "env/exec/torch_api.h"
#include "env/prune/torch_affine_fit.h"
#include "env/prune/torch_moments.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

constexpr double kNoRidge = 1e-12;

// Rows with correlated features and a large mean: what follows a ReLU.
torch::Tensor CorrelatedRows(int64_t rows, int64_t features) {
  torch::manual_seed(rows + features);
  return torch::randn({rows, features}).matmul(torch::randn({features, features})) +
         5 * torch::randn({features});
}

// argmin |x w^T + b - y|^2 in float64: {w, b}, b zero without intercept.
std::pair<torch::Tensor, torch::Tensor> LeastSquares(const torch::Tensor& x, const torch::Tensor& y,
                                                     bool has_intercept) {
  torch::Tensor left = x.to(at::kDouble);
  if (has_intercept) left = torch::cat({left, torch::ones({x.size(0), 1}, at::kDouble)}, 1);
  const torch::Tensor solution =
      std::get<0>(at::linalg_lstsq(left, y.to(at::kDouble), {}, "gelsd"));
  const int64_t k = x.size(1);
  return {solution.narrow(0, 0, k).t(),
          has_intercept ? solution[k] : torch::zeros({y.size(1)}, at::kDouble)};
}

TEST(MomentsTest, ChunksAddUpToTheWhole) {
  const torch::Tensor x = CorrelatedRows(700, 6) + 1000;  // where raw float32 sums would fail
  MomentAccumulator sums(/*diagonal_only=*/false), diagonal(/*diagonal_only=*/true);
  for (const auto& [first, count] : {std::pair{0, 100}, {100, 1}, {101, 599}}) {
    EXPECT_TRUE(sums.Add(x.narrow(0, first, count).unsqueeze(0)).ok());
    EXPECT_TRUE(diagonal.Add(x.narrow(0, first, count).unsqueeze(0)).ok());
  }
  const FeatureMoments moments = sums.Finish().value();
  const torch::Tensor exact = x.to(at::kDouble);
  const torch::Tensor centred = exact - exact.mean(0);
  const torch::Tensor covariance = centred.t().matmul(centred) / 700;
  EXPECT_EQ(moments.samples, 700);
  EXPECT_TRUE(torch::allclose(moments.mean[0], exact.mean(0), 1e-6));
  EXPECT_TRUE(torch::allclose(moments.covariance[0], covariance, 1e-4, 1e-3));
  EXPECT_TRUE(torch::allclose(moments.variance[0], covariance.diagonal(), 1e-4));
  EXPECT_TRUE(torch::allclose(diagonal.Finish()->variance[0], covariance.diagonal(), 1e-4));
  EXPECT_FALSE(diagonal.Finish()->covariance.defined());
}

class CompensationTest : public ::testing::TestWithParam<bool> {};

TEST_P(CompensationTest, IsTheLeastSquaresFitOfTheWholeOutput) {
  const bool has_intercept = GetParam();
  const torch::Tensor x = CorrelatedRows(400, 8);
  const torch::Tensor weight = torch::randn({3, 8});
  const torch::Tensor kept = torch::tensor({0, 2, 3, 6, 7}, at::kLong);
  const torch::Tensor removed = torch::tensor({1, 4, 5}, at::kLong);
  MomentAccumulator sums(false);
  ASSERT_TRUE(sums.Add(x.unsqueeze(0)).ok());
  const absl::StatusOr<Compensation> compensation =
      CompensateRemoved(sums.Finish().value(), 0, kept, removed, weight.index_select(1, removed),
                        kNoRidge, has_intercept);
  ASSERT_TRUE(compensation.ok()) << compensation.status();
  const auto [expected, intercept] =
      LeastSquares(x.index_select(1, kept), x.matmul(weight.t()), has_intercept);
  const torch::Tensor fitted = weight.index_select(1, kept) + compensation->weight;
  EXPECT_TRUE(torch::allclose(fitted, expected, 1e-3, 1e-3)) << fitted << expected;
  EXPECT_EQ(compensation->intercept.defined(), has_intercept);
  if (has_intercept) {
    EXPECT_TRUE(torch::allclose(compensation->intercept, intercept, 1e-3, 1e-2));
  }
}

TEST_P(CompensationTest, AffineFitIsTheLeastSquaresFitOfTargetMinusOffset) {
  const bool has_intercept = GetParam();
  const torch::Tensor x = CorrelatedRows(5000, 7);  // more than one block of rows
  const torch::Tensor y = x.matmul(torch::randn({7, 4})).tanh() + torch::randn({5000, 4}) + 2;
  const torch::Tensor offset = torch::randn({5000, 4});
  const absl::StatusOr<AffineFit> fit =
      FitAffine(x.clone().unsqueeze(0), {y, offset}, torch::randn({1, 4, 7}),
                {.ridge = kNoRidge, .has_intercept = has_intercept});
  ASSERT_TRUE(fit.ok()) << fit.status();
  const auto [expected, intercept] = LeastSquares(x, y - offset, has_intercept);
  EXPECT_TRUE(torch::allclose(fit->weight[0].to(at::kDouble), expected, 1e-3, 1e-4));
  EXPECT_TRUE(torch::allclose(fit->intercept.to(at::kDouble), intercept, 1e-3, 1e-3));
  const torch::Tensor outputs = x.to(at::kDouble).matmul(expected.t());
  EXPECT_TRUE(torch::allclose(fit->mean.to(at::kDouble), outputs.mean(0), 1e-3, 1e-3));
  if (has_intercept) {
    EXPECT_TRUE(torch::allclose(fit->variance.to(at::kDouble), outputs.var(0, false), 1e-3, 1e-3));
  }
}

INSTANTIATE_TEST_SUITE_P(Intercept, CompensationTest, ::testing::Bool());

TEST(AffineFitTest, GroupsAreFittedApart) {
  const torch::Tensor x = CorrelatedRows(300, 6).reshape({300, 2, 3}).transpose(0, 1);
  const torch::Tensor weight = torch::randn({2, 5, 3});
  const torch::Tensor y = at::bmm(x, weight.transpose(1, 2)).transpose(0, 1).reshape({300, 10}) + 1;
  const absl::StatusOr<AffineFit> fit =
      FitAffine(x.contiguous(), {y, {}}, torch::zeros({2, 5, 3}), {.ridge = kNoRidge});
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_TRUE(torch::allclose(fit->weight, weight, 1e-3, 1e-3));
  EXPECT_TRUE(torch::allclose(fit->intercept, torch::ones({10}), 1e-2, 1e-2));
}

TEST(AffineFitTest, WhatReluCutsOffNeedNotBeHit) {
  // The target is linear where it is positive and arbitrary where it is not.
  const torch::Tensor x = CorrelatedRows(2000, 5);
  const torch::Tensor linear = x.matmul(torch::randn({5, 3})) - 1;
  const torch::Tensor y = at::where(linear.gt(0), linear, -20 * torch::rand({2000, 3}));
  const auto loss = [&](const AffineFit& fit) {
    const torch::Tensor got = x.matmul(fit.weight[0].t()) + fit.intercept;
    return (got.relu() - y.relu()).square().mean().item<double>();
  };
  const torch::Tensor prior = torch::zeros({1, 3, 5});
  const absl::StatusOr<AffineFit> plain =
      FitAffine(x.clone().unsqueeze(0), {y, {}}, prior, {.ridge = kNoRidge});
  const absl::StatusOr<AffineFit> through =
      FitAffine(x.clone().unsqueeze(0), {y, {}, 0}, prior, {.ridge = kNoRidge});
  ASSERT_TRUE(plain.ok() && through.ok());
  EXPECT_LT(loss(*through), 0.5 * loss(*plain));
}

TEST(AffineFitTest, KeepsThePriorWhereTheRowsSayNothing) {
  // A feature that is always zero: the ridge leaves its weight alone.
  torch::Tensor x = CorrelatedRows(100, 4);
  x.select(1, 2).zero_();
  const torch::Tensor prior = torch::full({1, 2, 4}, 3.0);
  const absl::StatusOr<AffineFit> fit =
      FitAffine(x.clone().unsqueeze(0), {torch::randn({100, 2}), {}}, prior, FitOptions{});
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_TRUE(torch::allclose(fit->weight[0].select(1, 2), torch::full({2}, 3.0), 1e-4));
}

TEST(RidgeCholeskyTest, SurvivesRankDeficiencyAndRefusesNan) {
  const torch::Tensor row = torch::randn({1, 30}, at::kDouble);
  EXPECT_TRUE(RidgeCholesky(row.t().matmul(row), 1e-4).ok());
  EXPECT_TRUE(RidgeCholesky(torch::zeros({4, 4}, at::kDouble), 1e-4).ok());
  torch::Tensor broken = torch::eye(3, at::kDouble);
  broken[1][1] = std::numeric_limits<double>::quiet_NaN();
  const absl::Status status = RidgeCholesky(broken, 1e-4).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("3 features"));
}

}  // namespace
}  // namespace amc
