#include "env/backend/csr.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace amc {
namespace {

bool HasValue(const DenseMatrix& matrix, Pair block, int64_t block_row, int64_t block_column) {
  for (int64_t r = 0; r < block[0]; ++r) {
    for (int64_t c = 0; c < block[1]; ++c) {
      if (matrix.at(block_row * block[0] + r, block_column * block[1] + c) != 0) return true;
    }
  }
  return false;
}

// Calls `visit(row, column, value)` for every value that `matrix` holds, row of blocks by row.
template <typename Visit>
void ForEachValue(const CsrMatrix& matrix, Visit visit) {
  const auto [block_rows, block_columns] = matrix.block;
  size_t at = 0;
  for (int64_t row = 0; row < matrix.block_rows(); ++row) {
    for (int64_t e = matrix.crow[row]; e < matrix.crow[row + 1]; ++e) {
      for (int64_t r = 0; r < block_rows; ++r) {
        for (int64_t c = 0; c < block_columns; ++c) {
          visit(row * block_rows + r, matrix.col[e] * block_columns + c, matrix.values[at++]);
        }
      }
    }
  }
}

// sums += weight * inputs.
void AddScaled(float weight, absl::Span<const float> inputs, absl::Span<float> sums) {
  for (size_t v = 0; v < sums.size(); ++v) sums[v] += weight * inputs[v];
}

// Of an array in a file: row `row` of `crow`, whose columns are below `columns`.
absl::Status CheckRow(absl::Span<const int64_t> crow, absl::Span<const int64_t> col, int64_t row,
                      int64_t columns) {
  const int64_t begin = crow[row], end = crow[row + 1];
  const auto entries = static_cast<int64_t>(col.size());
  if (end < begin || end > entries) {
    return absl::InvalidArgumentError(
        absl::StrCat("row ", row, " ends at entry ", end, ", want from ", begin, " to ", entries));
  }
  int64_t least = 0;
  for (int64_t e = begin; e < end; ++e) {
    if (col[e] < least || col[e] >= columns) {
      return absl::InvalidArgumentError(absl::StrCat("row ", row, ", entry ", e, ": column ",
                                                     col[e], ", want from ", least, " to ",
                                                     columns - 1));
    }
    least = col[e] + 1;
  }
  return absl::OkStatus();
}

}  // namespace

CsrMatrix ToCsr(const DenseMatrix& matrix, Pair block) {
  CsrMatrix result{matrix.rows, matrix.columns, block};
  const auto kept = static_cast<size_t>(std::count_if(matrix.values.begin(), matrix.values.end(),
                                                      [](float value) { return value != 0; }));
  result.col.reserve(kept);  // or fewer, where blocks are larger
  result.values.reserve(kept);
  for (int64_t row = 0; row < result.block_rows(); ++row) {
    for (int64_t column = 0; column < result.block_columns(); ++column) {
      if (!HasValue(matrix, block, row, column)) continue;
      result.col.push_back(static_cast<int32_t>(column));
      for (int64_t r = 0; r < block[0]; ++r) {
        for (int64_t c = 0; c < block[1]; ++c) {
          result.values.push_back(matrix.at(row * block[0] + r, column * block[1] + c));
        }
      }
    }
    result.crow.push_back(result.entries());
  }
  return result;
}

DenseMatrix ToDense(const CsrMatrix& matrix) {
  DenseMatrix dense{matrix.rows, matrix.columns};
  dense.values.resize(static_cast<size_t>(dense.rows * dense.columns));
  ForEachValue(matrix, [&](int64_t row, int64_t column, float v) { dense.at(row, column) = v; });
  return dense;
}

DenseMatrix Transposed(const DenseMatrix& matrix) {
  DenseMatrix result{matrix.columns, matrix.rows};
  result.values.resize(matrix.values.size());
  // By squares, of which the cache holds both sides.
  constexpr int64_t kEdge = 32;
  for (int64_t first = 0; first < matrix.rows; first += kEdge) {
    const int64_t end = std::min(first + kEdge, matrix.rows);
    for (int64_t left = 0; left < matrix.columns; left += kEdge) {
      const int64_t right = std::min(left + kEdge, matrix.columns);
      for (int64_t c = left; c < right; ++c) {
        for (int64_t r = first; r < end; ++r) result.at(c, r) = matrix.at(r, c);
      }
    }
  }
  return result;
}

absl::StatusOr<CsrMatrix> MakeCsr(int64_t rows, int64_t columns, Pair block,
                                  std::vector<int64_t> crow, const std::vector<int64_t>& col,
                                  std::vector<float> values) {
  constexpr int64_t kMostColumns = std::numeric_limits<int32_t>::max();
  if (rows < 0 || columns < 0 || columns > kMostColumns || block[0] < 1 || block[1] < 1 ||
      rows % block[0] != 0 || columns % block[1] != 0) {
    return absl::InvalidArgumentError(absl::StrCat("blocks of ", block[0], " x ", block[1],
                                                   " do not divide ", rows, " x ", columns));
  }
  CsrMatrix matrix{rows, columns, block, std::move(crow), {}, std::move(values)};
  const auto entries = static_cast<int64_t>(col.size());
  if (static_cast<int64_t>(matrix.crow.size()) != matrix.block_rows() + 1 ||
      matrix.crow.front() != 0 || matrix.crow.back() != entries) {
    return absl::InvalidArgumentError(
        absl::StrCat(matrix.crow.size(), " pointers, want ", matrix.block_rows() + 1,
                     ", the first 0 and the last the number of entries, ", entries));
  }
  if (matrix.values.size() / block[0] / block[1] != col.size() ||
      matrix.values.size() % (block[0] * block[1]) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(matrix.values.size(), " values, want ", entries,
                                                   " x ", block[0], " x ", block[1]));
  }
  for (int64_t row = 0; row < matrix.block_rows(); ++row) {
    AMC_RETURN_IF_ERROR(CheckRow(matrix.crow, col, row, matrix.block_columns()));
  }
  matrix.col.assign(col.begin(), col.end());
  return matrix;
}

void MultiplyBlocks(const CsrMatrix& matrix, absl::Span<const float> inputs, int64_t vectors,
                    absl::Span<float> out) {
  std::fill(out.begin(), out.end(), 0.0f);
  ForEachValue(matrix, [&](int64_t row, int64_t column, float value) {
    AddScaled(value, inputs.subspan(column * vectors, vectors),
              out.subspan(row * vectors, vectors));
  });
}

void MultiplyTransposed(const CsrMatrix& matrix, absl::Span<const float> inputs, int64_t vectors,
                        absl::Span<float> out) {
  std::fill(out.begin(), out.end(), 0.0f);
  ForEachValue(matrix, [&](int64_t row, int64_t column, float value) {
    AddScaled(value, inputs.subspan(row * vectors, vectors),
              out.subspan(column * vectors, vectors));
  });
}

}  // namespace amc
