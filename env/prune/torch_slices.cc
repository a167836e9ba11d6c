#include "env/prune/torch_slices.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "base/interrupt.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr int64_t kSliceMacs = int64_t{2'000'000'000};  // multiply-accumulates
constexpr int64_t kSliceElements = int64_t{1} << 21;
constexpr int64_t kWholeFactor = 2500;  // up to here K x K is factorised and inverted in one call
constexpr int64_t kPanel = 256;         // columns of a larger factor that are found at once
constexpr int64_t kStep = 96;           // slices are multiples, as the tiles of a BLAS divide it

// How many of `size` rows or columns go into a slice, each costing `macs`.
int64_t SliceWidth(int64_t size, int64_t macs) {
  const int64_t fit = kSliceMacs / std::max<int64_t>(1, macs);
  return fit >= size ? size : std::max(kStep, fit / kStep * kStep);
}

torch::Tensor Multiply(const torch::Tensor& left, const torch::Tensor& right) {
  return left.dim() == 3 ? at::bmm(left, right) : at::mm(left, right);
}

bool IsFinite(const torch::Tensor& values) { return at::isfinite(values).all().item<bool>(); }

}  // namespace

absl::Status ForRowSlices(int64_t rows, int64_t columns,
                          const std::function<void(int64_t first, int64_t count)>& visit) {
  const int64_t slice = std::max<int64_t>(1, kSliceElements / std::max<int64_t>(1, columns));
  for (int64_t first = 0; first < rows; first += slice) {
    AMC_RETURN_IF_ERROR(CheckInterrupt());
    visit(first, std::min(slice, rows - first));
  }
  return absl::OkStatus();
}

absl::StatusOr<torch::Tensor> SlicedCopy(const torch::Tensor& matrix) {
  torch::Tensor copy = at::empty_like(matrix);
  AMC_RETURN_IF_ERROR(
      ForRowSlices(matrix.size(0), matrix.size(1), [&](int64_t first, int64_t count) {
        copy.narrow(0, first, count).copy_(matrix.narrow(0, first, count));
      }));
  return copy;
}

absl::StatusOr<torch::Tensor> SlicedProduct(const torch::Tensor& left, const torch::Tensor& right) {
  AMC_RETURN_IF_ERROR(CheckInterrupt());
  const int64_t rows = left.size(-2);
  const int64_t height = SliceWidth(rows, right.numel());
  if (height >= rows) return Multiply(left, right);
  std::vector<int64_t> sizes = left.sizes().vec();
  sizes.back() = right.size(-1);
  torch::Tensor product = at::empty(sizes, left.options());
  for (int64_t first = 0; first < rows; first += height) {
    AMC_RETURN_IF_ERROR(CheckInterrupt());
    const int64_t count = std::min(height, rows - first);
    product.narrow(-2, first, count).copy_(Multiply(left.narrow(-2, first, count), right));
  }
  return product;
}

// Panel by panel, each from those on its left.
absl::StatusOr<torch::Tensor> SlicedCholesky(const torch::Tensor& matrix) {
  AMC_RETURN_IF_ERROR(CheckInterrupt());
  const int64_t size = matrix.size(-1);
  if (size <= kWholeFactor) {
    torch::Tensor lower, info;
    std::tie(lower, info) = at::linalg_cholesky_ex(matrix);
    const bool found = info.max().item<int>() == 0 && IsFinite(lower);  // LAPACK does not mind NaN
    return found ? lower : torch::Tensor();
  }
  torch::Tensor lower = at::zeros_like(matrix);
  for (int64_t first = 0; first < size; first += kPanel) {
    AMC_RETURN_IF_ERROR(CheckInterrupt());
    const int64_t width = std::min(kPanel, size - first), below = size - first - width;
    torch::Tensor panel = matrix.narrow(-2, first, size - first).narrow(-1, first, width).clone();
    if (first > 0) {
      const torch::Tensor done = lower.narrow(-2, first, size - first).narrow(-1, 0, first);
      panel.sub_(Multiply(done, done.narrow(-2, 0, width).transpose(-2, -1)));
    }
    const auto [corner, info] = at::linalg_cholesky_ex(panel.narrow(-2, 0, width));
    if (info.max().item<int>() != 0) return torch::Tensor();
    panel.narrow(-2, 0, width).copy_(corner);
    if (below > 0) {
      AMC_RETURN_IF_ERROR(CheckInterrupt());
      const torch::Tensor rest = panel.narrow(-2, width, below);
      rest.copy_(at::linalg_solve_triangular(corner.transpose(-2, -1), rest, /*upper=*/true,
                                             /*left=*/false));
    }
    if (!IsFinite(panel)) return torch::Tensor();
    lower.narrow(-2, first, size - first).narrow(-1, first, width).copy_(panel);
  }
  return lower;
}

absl::StatusOr<torch::Tensor> SlicedCholeskySolve(const torch::Tensor& right,
                                                  const torch::Tensor& lower) {
  AMC_RETURN_IF_ERROR(CheckInterrupt());
  const int64_t columns = right.size(-1);
  const int64_t width = SliceWidth(columns, lower.numel());
  if (width >= columns) return at::cholesky_solve(right, lower);
  torch::Tensor solution = at::empty_like(right);
  for (int64_t first = 0; first < columns; first += width) {
    const int64_t count = std::min(width, columns - first);
    AMC_RETURN_IF_ERROR(CheckInterrupt());
    const torch::Tensor half =
        at::linalg_solve_triangular(lower, right.narrow(-1, first, count), /*upper=*/false);
    AMC_RETURN_IF_ERROR(CheckInterrupt());
    solution.narrow(-1, first, count)
        .copy_(at::linalg_solve_triangular(lower.transpose(-2, -1), half, /*upper=*/true));
  }
  return solution;
}

// Columns [first, first + width) from the diagonal down hang on L's lower right corner alone; what
// is above them mirrors columns found before.
absl::StatusOr<torch::Tensor> SlicedCholeskyInverse(const torch::Tensor& lower) {
  AMC_RETURN_IF_ERROR(CheckInterrupt());
  const int64_t size = lower.size(0);
  if (size <= kWholeFactor) return at::cholesky_inverse(lower);
  torch::Tensor inverse = at::empty({size, size}, lower.options());
  for (int64_t first = 0; first < size;) {
    const int64_t left = size - first;
    const int64_t width = std::min(left, SliceWidth(left, left * left));
    const torch::Tensor corner = lower.narrow(0, first, left).narrow(1, first, left).contiguous();
    AMC_ASSIGN_OR_RETURN(const torch::Tensor found,
                         SlicedCholeskySolve(at::eye(left, width, lower.options()), corner));
    inverse.narrow(0, first, left).narrow(1, first, width).copy_(found);
    inverse.narrow(0, first, width).narrow(1, first, left).copy_(found.t());
    first += width;
  }
  return inverse;
}

}  // namespace amc
