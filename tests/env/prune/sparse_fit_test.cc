// Fits restricted to a support against libtorch's own least squares, row by row.
#include <vector>

#include "base/interrupt.h"
#include "env/exec/torch_api.h"
#include "env/prune/torch_sparse_fit.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

constexpr double kNoRidge = 1e-10;

// groups x rows x features: correlated, with a large mean.
torch::Tensor CorrelatedRows(int64_t groups, int64_t rows, int64_t features) {
  torch::manual_seed(rows + features);
  return at::bmm(torch::randn({groups, rows, features}),
                 torch::randn({groups, features, features})) +
         3 * torch::randn({groups, 1, features});
}

FeatureMoments MomentsOf(const torch::Tensor& x) {
  MomentAccumulator sums(/*diagonal_only=*/false);
  EXPECT_TRUE(sums.Add(x).ok());
  return sums.Finish().value();
}

// Mean square of what the new weights miss of the original's output.
double Missed(const torch::Tensor& x, const torch::Tensor& weight, const SparseFit& fit) {
  const torch::Tensor exact = x.to(at::kDouble);
  torch::Tensor difference = at::bmm(exact, (fit.weight - weight.to(at::kDouble)).transpose(1, 2));
  if (fit.intercept.defined()) difference = difference + fit.intercept.unsqueeze(1);
  return difference.square().mean().item<double>();
}

class SparseFitTest : public ::testing::TestWithParam<bool> {};

TEST_P(SparseFitTest, EveryRowIsItsOwnLeastSquares) {
  const bool has_intercept = GetParam();
  constexpr int64_t kGroups = 2, kRows = 5, kFeatures = 12, kSamples = 900;
  const torch::Tensor x = CorrelatedRows(kGroups, kSamples, kFeatures);
  const torch::Tensor weight = torch::randn({kGroups, kRows, kFeatures});
  torch::Tensor support = torch::rand({kGroups, kRows, kFeatures}).lt(0.5).to(at::kByte);
  support[0][0].zero_();   // an output that is lost
  support[0][1].fill_(1);  // one that loses nothing
  const absl::StatusOr<SparseFit> fit =
      FitSparse(MomentsOf(x), weight, support, kNoRidge, has_intercept);
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_EQ(fit->intercept.defined(), has_intercept);
  for (int64_t g = 0; g < kGroups; ++g) {
    torch::Tensor features = x[g].to(at::kDouble);
    for (int64_t row = 0; row < kRows; ++row) {
      const torch::Tensor kept = support[g][row].nonzero().flatten();
      torch::Tensor left = features.index_select(1, kept);
      if (has_intercept) left = torch::cat({left, torch::ones({kSamples, 1}, at::kDouble)}, 1);
      const torch::Tensor target = features.mv(weight[g][row].to(at::kDouble));
      torch::Tensor expected = torch::zeros({kFeatures}, at::kDouble);
      if (left.size(1) > 0) {
        const torch::Tensor solution =
            std::get<0>(at::linalg_lstsq(left, target.unsqueeze(1), {}, "gelsd")).flatten();
        expected.index_copy_(0, kept, solution.narrow(0, 0, kept.numel()));
        if (has_intercept) {
          EXPECT_NEAR(fit->intercept[g][row].item<double>(), solution[-1].item<double>(), 2e-2);
        }
      }
      EXPECT_TRUE(torch::allclose(fit->weight[g][row], expected, 1e-3, 1e-3))
          << g << ", " << row << "\n"
          << fit->weight[g][row] << expected;
    }
  }
  EXPECT_EQ(fit->weight.masked_select(support.eq(0)).abs().max().item<double>(), 0);
  EXPECT_TRUE(torch::equal(fit->weight[0][1], weight[0][1].to(at::kDouble)));
}

TEST_P(SparseFitTest, NeverMissesMoreThanTheMaskedWeights) {
  const bool has_intercept = GetParam();
  const torch::Tensor x = CorrelatedRows(1, 60, 40);  // hardly more rows than features
  const torch::Tensor weight = torch::randn({1, 8, 40});
  for (const double density : {0.05, 0.3, 0.7}) {
    const torch::Tensor support = torch::rand({1, 8, 40}).lt(density).to(at::kByte);
    for (const double ridge : {kNoRidge, 1e-4, 1.0}) {
      const absl::StatusOr<SparseFit> fit =
          FitSparse(MomentsOf(x), weight, support, ridge, has_intercept);
      ASSERT_TRUE(fit.ok()) << fit.status();
      SparseFit masked;
      masked.weight = (weight * support).to(at::kDouble);
      EXPECT_LT(Missed(x, weight, *fit), Missed(x, weight, masked)) << density << ", " << ridge;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Intercept, SparseFitTest, ::testing::Bool());

// Each row of one group, with an intercept, against libtorch's least squares on what it keeps.
void ExpectLeastSquares(const torch::Tensor& x, const torch::Tensor& weight,
                        const torch::Tensor& support, const SparseFit& fit) {
  const torch::Tensor features = x[0].to(at::kDouble);
  const torch::Tensor ones = torch::ones({x.size(1), 1}, at::kDouble);
  for (int64_t row = 0; row < weight.size(1); ++row) {
    const torch::Tensor kept = support[0][row].nonzero().flatten();
    const torch::Tensor left = torch::cat({features.index_select(1, kept), ones}, 1);
    const torch::Tensor target = features.mv(weight[0][row].to(at::kDouble)).unsqueeze(1);
    const torch::Tensor solution = std::get<0>(at::linalg_lstsq(left, target, {}, "gelsd"));
    const auto missed = [&](const torch::Tensor& output) {
      return (output - target.flatten()).square().mean().item<double>();
    };
    const double least = missed(left.matmul(solution).flatten());
    const torch::Tensor output = features.mv(fit.weight[0][row]) + fit.intercept[0][row];
    EXPECT_GT(least, 0.1);
    EXPECT_NEAR(missed(output), least, 1e-5 * least) << kept.numel() << " inputs, row " << row;
  }
}

// Of so many features products are in float32.
TEST(SparseFitTest, WideLayersAreFittedAlike) {
  constexpr int64_t kRows = 3, kFeatures = 640, kSamples = 2500;
  torch::manual_seed(3);
  const torch::Tensor x =
      torch::randn({1, kSamples, kFeatures}) * (torch::rand({1, 1, kFeatures}) * 10 + 0.1) +
      torch::randn({1, kSamples, 1}) + 2;
  const torch::Tensor weight = torch::randn({1, kRows, kFeatures});
  const torch::Tensor support = torch::rand({1, kRows, kFeatures}).lt(0.5).to(at::kByte);
  const absl::StatusOr<SparseFit> fit = FitSparse(MomentsOf(x), weight, support, kNoRidge, true);
  ASSERT_TRUE(fit.ok()) << fit.status();
  ExpectLeastSquares(x, weight, support, *fit);
}

// Rows that need many steps must not spoil those that are done after a few.
TEST(SparseFitTest, RowsOfFewInputsStayAsFittedWhileOthersGoOn) {
  constexpr int64_t kFeatures = 640, kSamples = 760, kMany = 600, kLike = 12;
  const std::vector<int64_t> inputs = {0, 1, 2, 4, 8, 16, kMany};
  const int64_t rows = kLike * static_cast<int64_t>(inputs.size() - 1) + 1;  // one of the last
  for (const uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(seed);
    torch::manual_seed(seed);
    const torch::Tensor x =
        torch::randn({1, kSamples, kFeatures}) * (torch::rand({1, 1, kFeatures}) * 10 + 0.1) +
        torch::randn({1, kSamples, 1}) + 2;
    const torch::Tensor weight = torch::randn({1, rows, kFeatures});
    torch::Tensor support = torch::zeros({1, rows, kFeatures}, at::kByte);
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t count = inputs[static_cast<size_t>(row / kLike)];
      support[0][row].index_fill_(0, torch::randperm(kFeatures).narrow(0, 0, count), 1);
    }
    const absl::StatusOr<SparseFit> fit = FitSparse(MomentsOf(x), weight, support, kNoRidge, true);
    ASSERT_TRUE(fit.ok()) << fit.status();
    EXPECT_GT(fit->iterations, 100);
    ASSERT_TRUE(at::isfinite(fit->weight).all().item<bool>());
    ExpectLeastSquares(x, weight, support, *fit);
  }
}

TEST(SparseFitTest, DeadFeaturesKeepTheirWeights) {
  torch::Tensor x = CorrelatedRows(1, 100, 6);
  x.select(2, 3).zero_();
  const torch::Tensor weight = torch::ones({1, 2, 6});
  torch::Tensor support = torch::ones({1, 2, 6}, at::kByte);
  support.select(2, 0).zero_();
  const absl::StatusOr<SparseFit> fit = FitSparse(MomentsOf(x), weight, support, 1e-4, true);
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_TRUE(torch::allclose(fit->weight.select(2, 3), torch::ones({1, 2}, at::kDouble)));
  FeatureMoments dead;
  dead.samples = 1;
  dead.mean = torch::zeros({1, 6}, at::kDouble);
  dead.covariance = torch::zeros({1, 6, 6}, at::kDouble);
  const absl::StatusOr<SparseFit> masked = FitSparse(dead, weight, support, 1e-4, true);
  ASSERT_TRUE(masked.ok()) << masked.status();
  EXPECT_TRUE(torch::equal(masked->weight, (weight * support).to(at::kDouble)));
}

TEST(SparseFitTest, RefusesWhatIsNotFiniteAndCanBeGivenUp) {
  torch::Tensor x = CorrelatedRows(1, 100, 6);
  const torch::Tensor weight = torch::ones({1, 2, 6});
  const torch::Tensor support = torch::eye(6).narrow(0, 0, 2).unsqueeze(0).to(at::kByte);
  const FeatureMoments fine = MomentsOf(x);
  {
    const InterruptScope scope([] { return true; });
    EXPECT_EQ(FitSparse(fine, weight, support, 1e-4, true).status().code(),
              absl::StatusCode::kCancelled);
  }
  x[0][5][2] = std::numeric_limits<float>::infinity();
  const absl::Status status = FitSparse(MomentsOf(x), weight, support, 1e-4, true).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("6 features"));
}

}  // namespace
}  // namespace amc
