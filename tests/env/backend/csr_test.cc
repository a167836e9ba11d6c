#include "env/backend/csr.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <Eigen/SparseCore>
#include <algorithm>
#include <string>
#include <vector>

#include "base/rng.h"
#include "env/backend/csr_kernel.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

DenseMatrix RandomMatrix(Rng& rng, int64_t rows, int64_t columns, double density) {
  DenseMatrix matrix{rows, columns};
  for (int64_t i = 0; i < rows * columns; ++i) {
    matrix.values.push_back(rng.Uniform() < density ? static_cast<float>(rng.Normal()) : 0.0f);
  }
  return matrix;
}

std::vector<float> RandomFloats(Rng& rng, int64_t count) {
  return RandomMatrix(rng, 1, count, 1).values;
}

// The quiz of the lectures, whose own answer is the pointers of CSC.
DenseMatrix QuizMatrix() {
  return {4, 6, {5, 6, 0, 0, 0, 0, 0, 7, 4, 0, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 0, 0, 1, 8}};
}

TEST(CsrTest, HoldsTheQuizMatrix) {
  const CsrMatrix csr = ToCsr(QuizMatrix());
  EXPECT_THAT(csr.crow, ElementsAre(0, 2, 4, 6, 8));
  EXPECT_THAT(csr.col, ElementsAre(0, 1, 1, 2, 2, 3, 4, 5));
  EXPECT_THAT(csr.values, ElementsAre(5, 6, 7, 4, 3, 2, 1, 8));
  EXPECT_EQ(csr.words(), 2 * 8 + 4 + 1);
  EXPECT_EQ(csr.bytes(), 8 * 4 + (8 + 5) * 8);
  EXPECT_EQ(ToDense(csr), QuizMatrix());
}

// scipy.sparse.csr_matrix(...).tobsr((2, 3)).
TEST(CsrTest, HoldsTheQuizMatrixInBlocks) {
  const CsrMatrix bsr = ToCsr(QuizMatrix(), {2, 3});
  EXPECT_THAT(bsr.crow, ElementsAre(0, 1, 3));
  EXPECT_THAT(bsr.col, ElementsAre(0, 0, 1));
  EXPECT_THAT(bsr.values, ElementsAre(5, 6, 0, 0, 7, 4, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 8));
  EXPECT_EQ(ToDense(bsr), QuizMatrix());
}

// As files hold it.
struct Arrays {
  Pair block = {1, 1};
  std::vector<int64_t> crow = {0, 2, 4, 6, 8};
  std::vector<int64_t> col = {0, 1, 1, 2, 2, 3, 4, 5};
  std::vector<float> values = {5, 6, 7, 4, 3, 2, 1, 8};
};

TEST(CsrTest, RefusesWhatIsNoCsr) {
  const auto make = [](const Arrays& arrays) {
    return MakeCsr(4, 6, arrays.block, arrays.crow, arrays.col, arrays.values);
  };
  EXPECT_EQ(ToDense(make({}).value()), QuizMatrix());
  const auto message = [&](auto change) {
    Arrays arrays;
    change(arrays);
    return std::string(make(arrays).status().message());
  };
  EXPECT_THAT(message([](Arrays& m) { m.crow[2] = 1; }),
              HasSubstr("row 1 ends at entry 1, want from 2 to 8"));
  EXPECT_THAT(message([](Arrays& m) { m.crow[1] = -1; }), HasSubstr("row 0 ends at entry -1"));
  EXPECT_THAT(message([](Arrays& m) { m.crow[1] = 9; }), HasSubstr("row 0 ends at entry 9"));
  EXPECT_THAT(message([](Arrays& m) { m.crow[0] = 1; }), HasSubstr("the first 0"));
  EXPECT_THAT(message([](Arrays& m) { m.crow[4] = 7; }), HasSubstr("the last the number of"));
  EXPECT_THAT(message([](Arrays& m) { m.crow.pop_back(); }), HasSubstr("4 pointers, want 5"));
  EXPECT_THAT(message([](Arrays& m) { m.crow.clear(); }), HasSubstr("0 pointers, want 5"));
  EXPECT_THAT(message([](Arrays& m) { m.col[7] = 6; }),
              HasSubstr("row 3, entry 7: column 6, want from 5 to 5"));
  EXPECT_THAT(message([](Arrays& m) { m.col[3] = 1; }),
              HasSubstr("row 1, entry 3: column 1, want from 2 to 5"));
  EXPECT_THAT(message([](Arrays& m) { m.col[0] = -1; }), HasSubstr("row 0, entry 0: column -1"));
  // Zero in 32 bits.
  EXPECT_THAT(message([](Arrays& m) { m.col[0] = int64_t{1} << 32; }),
              HasSubstr("column 4294967296, want from 0 to 5"));
  EXPECT_THAT(message([](Arrays& m) { m.values.pop_back(); }),
              HasSubstr("7 values, want 8 x 1 x 1"));
  EXPECT_THAT(message([](Arrays& m) {
                m.block = {3, 1};
              }),
              HasSubstr("blocks of 3 x 1 do not divide 4 x 6"));
}

// Every width of the kernel: below a register, around each number of registers, blocks that
// overlap; with inputs copied (dense) and not (sparse).
TEST(CsrTest, MultipliesLikeEigen) {
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Sparse = Eigen::SparseMatrix<float, Eigen::RowMajor, int64_t>;
  Rng rng(1);
  std::vector<int64_t> widths;
  for (int64_t v = 0; v < 70; ++v) widths.push_back(v);
  for (int64_t v = 95; v < 300; v += 17) widths.push_back(v);
  for (const int64_t vectors : widths) {
    for (const double density : {0.0, 0.03, 0.3, 1.0}) {
      const int64_t rows = 1 + rng.Below(40);
      const DenseMatrix matrix = RandomMatrix(rng, rows, 1 + rng.Below(50), density);
      const CsrMatrix csr = ToCsr(matrix);
      const std::vector<float> inputs = RandomFloats(rng, matrix.columns * vectors);
      std::vector<float> out(matrix.rows * vectors, -1.0f);
      Multiply(csr, inputs, vectors, absl::MakeSpan(out));

      const std::vector<int64_t> col(csr.col.begin(), csr.col.end());
      const Eigen::Map<const Sparse> sparse(csr.rows, csr.columns, csr.entries(), csr.crow.data(),
                                            col.data(), csr.values.data());
      const RowMajor want =
          sparse * Eigen::Map<const RowMajor>(inputs.data(), csr.columns, vectors);
      for (size_t i = 0; i < out.size(); ++i) {
        ASSERT_NEAR(out[i], want.data()[i], 1e-4) << vectors << " vectors, density " << density;
      }
    }
  }
}

// Multiply chooses one of them.
TEST(CsrTest, KernelsForOtherProcessorsAgree) {
  std::vector<CsrKernel> kernels = {kCsrKernel};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    kernels.push_back(kCsrKernelAvx2);
  }
  if (__builtin_cpu_supports("avx512f")) kernels.push_back(kCsrKernelAvx512);
#endif
  Rng rng(4);
  const CsrMatrix csr = ToCsr(RandomMatrix(rng, 20, 30, 0.3));
  const CsrView view{csr.rows, csr.crow.data(), csr.col.data(), csr.values.data()};
  for (const CsrKernel& kernel : kernels) {
    std::vector<int64_t> widths;
    for (int64_t width = 1; width < kernel.lanes; width *= 2) widths.push_back(width);
    for (int64_t k = 1; k <= kernel.registers; ++k) widths.push_back(k * kernel.lanes);
    for (const int64_t width : widths) {
      const int64_t stride = width + 1;
      const std::vector<float> inputs = RandomFloats(rng, csr.columns * stride);
      std::vector<float> want(csr.rows * stride, 0.0f), out(want);
      MultiplyBlocks(csr, inputs, stride, absl::MakeSpan(want));
      kernel.multiply(view, inputs.data() + 1, stride, out.data() + 1, stride, width);
      for (size_t i = 0; i < out.size(); ++i) {
        ASSERT_NEAR(out[i], i % stride == 0 ? 0 : want[i], 1e-5)
            << kernel.lanes << " lanes, " << width << " vectors";
      }
    }
  }
}

TEST(CsrTest, KernelsOfOtherLayoutsAgree) {
  Rng rng(2);
  const DenseMatrix matrix = RandomMatrix(rng, 12, 20, 0.2);
  const std::vector<float> inputs = RandomFloats(rng, 20 * 5);
  std::vector<float> want(12 * 5), blocks(want), transposed(want);
  Multiply(ToCsr(matrix), inputs, 5, absl::MakeSpan(want));
  MultiplyBlocks(ToCsr(matrix, {3, 5}), inputs, 5, absl::MakeSpan(blocks));
  MultiplyTransposed(ToCsr(Transposed(matrix)), inputs, 5, absl::MakeSpan(transposed));
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(blocks[i], want[i], 1e-5);
    EXPECT_NEAR(transposed[i], want[i], 1e-5);
  }
}

// Vectors 4 KiB apart, a block of columns beyond a first-level cache, one beyond a second.
TEST(CsrTest, MultipliesBeyondCaches) {
  Rng rng(3);
  for (const int64_t columns : {200, 3000, 20000}) {
    const int64_t rows = 9, vectors = 48;
    const DenseMatrix matrix = RandomMatrix(rng, rows, columns, 0.7);
    const std::vector<float> inputs = RandomFloats(rng, columns * vectors);
    std::vector<float> out(rows * vectors);
    Multiply(ToCsr(matrix), inputs, vectors, absl::MakeSpan(out));
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t v = 0; v < vectors; ++v) {
        double want = 0;
        for (int64_t c = 0; c < columns; ++c) {
          want += double{matrix.at(row, c)} * inputs[c * vectors + v];
        }
        ASSERT_NEAR(out[row * vectors + v], want, 2e-3);
      }
    }
  }
}

}  // namespace
}  // namespace amc
