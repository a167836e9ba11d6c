#include "env/backend/xnnpack_product.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "env/exec/torch_api.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kernel = XnnpackProduct::Kernel;

// Small integers, whose sums are exact in whatever order.
std::vector<float> RandomIntegers(int64_t count, double density, Rng& rng) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) {
    const auto value = static_cast<float>(rng.Below(15)) - 7;
    values.push_back(rng.Uniform() < density ? value : 0.0f);
  }
  return values;
}

std::vector<float> BruteForce(const DenseMatrix& matrix, const std::vector<float>& inputs,
                              int64_t vectors) {
  std::vector<float> result(static_cast<size_t>(matrix.rows * vectors));
  for (int64_t r = 0; r < matrix.rows; ++r) {
    for (int64_t c = 0; c < matrix.columns; ++c) {
      for (int64_t v = 0; v < vectors; ++v) {
        result[r * vectors + v] += matrix.at(r, c) * inputs[c * vectors + v];
      }
    }
  }
  return result;
}

std::vector<float> Transposed(absl::Span<const float> values, int64_t rows, int64_t columns) {
  std::vector<float> result(values.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) result[c * rows + r] = values[r * columns + c];
  }
  return result;
}

TEST(XnnpackProductTest, SparseAndDenseKernelsEqualBruteForce) {
  Rng rng(1);
  for (const double density : {0.0, 0.02, 0.2, 0.7, 1.0}) {
    for (int round = 0; round < 20; ++round) {
      DenseMatrix matrix{static_cast<int64_t>(1 + rng.Below(40)),
                         static_cast<int64_t>(1 + rng.Below(40))};
      const auto vectors = static_cast<int64_t>(1 + rng.Below(100));
      matrix.values = RandomIntegers(matrix.rows * matrix.columns, density, rng);
      const std::vector<float> inputs = RandomIntegers(matrix.columns * vectors, 1, rng);
      const std::vector<float> expected = BruteForce(matrix, inputs, vectors);

      auto sparse = XnnpackProduct::Create(matrix, vectors, Kernel::kSparse);
      ASSERT_TRUE(sparse.ok()) << sparse.status();
      ASSERT_EQ(sparse->inputs().size(), inputs.size());
      std::copy(inputs.begin(), inputs.end(), sparse->inputs().begin());
      ASSERT_TRUE(sparse->Run().ok());
      EXPECT_EQ(std::vector<float>(sparse->outputs().begin(), sparse->outputs().end()), expected);

      auto dense = XnnpackProduct::Create(matrix, vectors, Kernel::kDense);
      ASSERT_TRUE(dense.ok()) << dense.status();
      const std::vector<float> rows = Transposed(inputs, matrix.columns, vectors);
      std::copy(rows.begin(), rows.end(), dense->inputs().begin());
      ASSERT_TRUE(dense->Run().ok());
      EXPECT_EQ(Transposed(dense->outputs(), vectors, matrix.rows), expected);
    }
  }
}

// libtorch links the same library, and may have set it up before.
TEST(XnnpackProductTest, EqualsAConvolutionOfLibtorchInTheSameProcess) {
  Rng rng(2);
  const DenseMatrix matrix{24, 16, RandomIntegers(24 * 16, 0.3, rng)};
  std::vector<float> inputs = RandomIntegers(16 * 7 * 9, 1, rng);
  const torch::NoGradGuard no_grad;
  const torch::Tensor image = torch::from_blob(inputs.data(), {1, 16, 7, 9});
  const torch::Tensor weights =
      torch::from_blob(const_cast<float*>(matrix.values.data()), {24, 16, 1, 1});
  for (int round = 0; round < 2; ++round) {
    const torch::Tensor expected = torch::conv2d(image, weights).contiguous();
    auto product = XnnpackProduct::Create(matrix, 7 * 9, Kernel::kSparse);
    ASSERT_TRUE(product.ok()) << product.status();
    std::copy(inputs.begin(), inputs.end(), product->inputs().begin());
    ASSERT_TRUE(product->Run().ok());
    const float* const data = expected.data_ptr<float>();
    EXPECT_EQ(std::vector<float>(product->outputs().begin(), product->outputs().end()),
              std::vector<float>(data, data + expected.numel()));
  }
}

TEST(XnnpackProductTest, RunsAgainOnOtherInputsAndAfterAMove) {
  auto created = XnnpackProduct::Create({1, 2, {3, 0}}, 2, Kernel::kSparse);
  ASSERT_TRUE(created.ok()) << created.status();
  XnnpackProduct product = *std::move(created);
  for (const float x : {1.0f, 2.0f}) {
    product.inputs()[0] = x;
    product.inputs()[1] = -x;
    ASSERT_TRUE(product.Run().ok());
    EXPECT_THAT(product.outputs(), ElementsAre(3 * x, -3 * x));
  }
}

TEST(XnnpackProductTest, RefusesWhatIsNoProduct) {
  const auto message = [](const DenseMatrix& matrix, int64_t vectors) {
    const auto product = XnnpackProduct::Create(matrix, vectors, Kernel::kSparse);
    EXPECT_EQ(product.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(product.status().message());
  };
  EXPECT_THAT(message({2, 2, {1, 2, 3}}, 1), HasSubstr("2 x 2 with 3 values"));
  EXPECT_THAT(message({0, 2, {}}, 1), HasSubstr("0 x 2"));
  EXPECT_THAT(message({1, 1, {1}}, 0), HasSubstr("0 vectors"));
  EXPECT_THAT(message({1, 1, {1}}, int64_t{1} << 40), HasSubstr("1099511627776 vectors"));
  EXPECT_THAT(message({int64_t{1} << 62, 4, {}}, 1), HasSubstr("with 0 values"));
}

}  // namespace
}  // namespace amc
