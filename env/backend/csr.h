// Compressed sparse rows, of values (CSR) or of small dense blocks (BSR), and the product with a
// dense matrix.
//
// As SciPy and libtorch define them: the entries of row i are crow[i] <= e < crow[i + 1], each with
// a column col[e] and a value values[e]; the columns of a row ascend and none comes twice. BSR is
// the same over blocks: rows and columns are rows and columns of blocks, and an entry has a whole
// block of values, row-major, zeros included. CSC is CSR of the transposed matrix.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/graph/layer_weights.h"

namespace amc {

// Plain data. Columns are 32 bits wide in memory, which a product of one vector is faster by; files
// hold 64.
struct CsrMatrix {
  int64_t rows = 0, columns = 0;  // of values, also where blocks are larger
  Pair block = {1, 1};            // rows, columns
  std::vector<int64_t> crow = {0};
  std::vector<int32_t> col = {};
  std::vector<float> values = {};  // block[0] * block[1] for each entry

  int64_t block_rows() const { return rows / block[0]; }
  int64_t block_columns() const { return columns / block[1]; }
  int64_t entries() const { return static_cast<int64_t>(col.size()); }
  // One word for each value, index and pointer: 2 nnz + rows + 1 of CSR.
  int64_t words() const { return static_cast<int64_t>(values.size() + col.size() + crow.size()); }
  // With indices and pointers of 64 bits, as files and libtorch hold them.
  int64_t bytes() const {
    return static_cast<int64_t>(4 * values.size() + 8 * (col.size() + crow.size()));
  }
};

// Keeps the blocks that have a value other than zero. The matrix has fewer than 2^31 columns, and
// its sizes are multiples of the block's.
CsrMatrix ToCsr(const DenseMatrix& matrix, Pair block = {1, 1});

DenseMatrix ToDense(const CsrMatrix& matrix);

DenseMatrix Transposed(const DenseMatrix& matrix);

// A matrix of arrays as files hold them. InvalidArgument, naming row and entry, unless arrays have
// the sizes that rows, columns and block ask for, pointers ascend from 0 to the number of entries,
// and every row's columns ascend within the matrix: what the functions here take for granted.
absl::StatusOr<CsrMatrix> MakeCsr(int64_t rows, int64_t columns, Pair block,
                                  std::vector<int64_t> crow, const std::vector<int64_t>& col,
                                  std::vector<float> values);

// out = matrix * inputs; inputs are columns x vectors, out is rows x vectors, both row-major.
// Blocks of 1 x 1 only. Made to be fast (AVX-512 or AVX2 where the processor has them): sums stay
// in registers over the whole of a row, for as many vectors at a time as registers hold.
void Multiply(const CsrMatrix& matrix, absl::Span<const float> inputs, int64_t vectors,
              absl::Span<float> out);

// The same for every size of block. Made to be read.
void MultiplyBlocks(const CsrMatrix& matrix, absl::Span<const float> inputs, int64_t vectors,
                    absl::Span<float> out);

// out = transposed(matrix) * inputs, where inputs are rows x vectors: the product of a matrix that
// is held as CSC. Made to be read.
void MultiplyTransposed(const CsrMatrix& matrix, absl::Span<const float> inputs, int64_t vectors,
                        absl::Span<float> out);

}  // namespace amc
