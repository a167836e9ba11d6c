// Linear algebra in slices against libtorch in one go.
#include "env/prune/torch_slices.h"

#include <limits>

#include "base/interrupt.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

constexpr int64_t kSmall = 40, kLarge = 2600;  // done whole, done in slices

torch::Tensor Random(int64_t rows, int64_t columns) {
  torch::manual_seed(rows + columns);
  return torch::randn({rows, columns}, at::kDouble);
}

// Well conditioned and symmetric.
torch::Tensor Definite(int64_t size) {
  const torch::Tensor x = Random(size, 60);
  return x.matmul(x.t()) / 60 + torch::eye(size, at::kDouble);
}

bool Near(const torch::Tensor& expected, const torch::Tensor& actual) {
  return (expected - actual).abs().max().item<double>() <
         1e-10 * expected.abs().max().item<double>();
}

TEST(SlicesTest, SmallProblemsHaveTheBitsOfOneCall) {
  const torch::Tensor a = Definite(kSmall), b = Random(kSmall, 7);
  const torch::Tensor lower = std::get<0>(at::linalg_cholesky_ex(a));
  EXPECT_TRUE(torch::equal(SlicedProduct(a, b).value(), a.matmul(b)));
  EXPECT_TRUE(torch::equal(SlicedCholesky(a).value(), lower));
  EXPECT_TRUE(torch::equal(SlicedCholeskySolve(b, lower).value(), at::cholesky_solve(b, lower)));
  EXPECT_TRUE(torch::equal(SlicedCholeskyInverse(lower).value(), at::cholesky_inverse(lower)));
}

TEST(SlicesTest, LargeProblemsComeOutTheSame) {
  const torch::Tensor a = Definite(kLarge);
  EXPECT_TRUE(torch::equal(SlicedCopy(a).value(), a));
  const torch::Tensor expected = at::linalg_cholesky(a);
  const torch::Tensor lower = SlicedCholesky(a).value();
  ASSERT_TRUE(lower.defined());
  EXPECT_TRUE(Near(expected, lower));
  EXPECT_TRUE(Near(a, SlicedProduct(lower, lower.t()).value()));
  // As a batch of one, from a view.
  EXPECT_TRUE(Near(
      a, SlicedProduct(lower.t().unsqueeze(0).transpose(1, 2), lower.t().unsqueeze(0)).value()[0]));
  const torch::Tensor right = Random(kLarge, 500);
  EXPECT_TRUE(Near(at::cholesky_solve(right, expected), SlicedCholeskySolve(right, lower).value()));
  const torch::Tensor inverse = SlicedCholeskyInverse(lower).value();
  EXPECT_TRUE(Near(inverse, inverse.t()));
  EXPECT_TRUE(Near(at::cholesky_inverse(expected), inverse));
}

TEST(SlicesTest, AMatrixThatIsNotDefiniteHasNoFactor) {
  for (const int64_t size : {kSmall, kLarge}) {
    torch::Tensor a = torch::eye(size, at::kDouble);
    for (const double value : {-1.0, std::numeric_limits<double>::quiet_NaN(),
                               std::numeric_limits<double>::infinity()}) {
      a[size - 1][size - 1] = value;
      EXPECT_FALSE(SlicedCholesky(a).value().defined()) << size << " " << value;
    }
  }
}

TEST(SlicesTest, RowSlicesCoverEveryRowOnce) {
  for (const auto& [rows, columns] : {std::pair{1, 10}, {1000, 7}, {9, 1 << 20}, {3, 1 << 24}}) {
    int64_t next = 0;
    EXPECT_TRUE(ForRowSlices(rows, columns, [&](int64_t first, int64_t count) {
                  EXPECT_EQ(first, next);
                  EXPECT_GT(count, 0);
                  next += count;
                }).ok());
    EXPECT_EQ(next, rows);
  }
}

TEST(SlicesTest, EachCanBeInterruptedHalfWay) {
  const torch::Tensor a = Definite(kLarge);
  const torch::Tensor lower = SlicedCholesky(a).value();
  const auto interrupted = [](auto work) {
    int checks = 0;
    const InterruptScope scope([&] { return ++checks == 3; });
    return absl::IsCancelled(work().status());
  };
  EXPECT_TRUE(interrupted([&] { return SlicedCopy(a); }));
  EXPECT_TRUE(interrupted([&] { return SlicedProduct(a, a); }));
  EXPECT_TRUE(interrupted([&] { return SlicedCholesky(a); }));
  EXPECT_TRUE(interrupted([&] { return SlicedCholeskySolve(a, lower); }));
  EXPECT_TRUE(interrupted([&] { return SlicedCholeskyInverse(lower); }));
}

}  // namespace
}  // namespace amc
