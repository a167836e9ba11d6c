// Linear algebra that can be given up half way.
//
// A covariance of 4,608 features (VGG-16's widest convolutions) takes seconds to factorise, to
// invert, or to multiply. Here such work is done in slices of a tenth of a second or so on one
// core, and an InterruptScope (base/interrupt.h) may end it with Cancelled between two of them.
// What takes no longer than a slice is one call of libtorch, with exactly its bits; whether anybody
// may interrupt makes no difference to the bits.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "env/exec/torch_api.h"

namespace amc {

// A copy of a matrix, in fresh memory.
absl::StatusOr<torch::Tensor> SlicedCopy(const torch::Tensor& matrix);

// left x right, both matrices or both batches of them.
absl::StatusOr<torch::Tensor> SlicedProduct(const torch::Tensor& left, const torch::Tensor& right);

// The lower Cholesky factor of `matrix` (... x K x K, symmetric, of which the lower triangle is
// read); undefined if it is not positive definite or not finite.
absl::StatusOr<torch::Tensor> SlicedCholesky(const torch::Tensor& matrix);

// (L L^T)^-1 x right, where `lower` is ... x K x K and `right` ... x K x N.
absl::StatusOr<torch::Tensor> SlicedCholeskySolve(const torch::Tensor& right,
                                                  const torch::Tensor& lower);

// (L L^T)^-1, for one K x K matrix.
absl::StatusOr<torch::Tensor> SlicedCholeskyInverse(const torch::Tensor& lower);

// Calls `visit(first, count)` for runs of rows that hold two million elements or less of a matrix
// of `rows` x `columns`: for arithmetic element by element, and for touching fresh memory, which
// can take longer than the arithmetic.
absl::Status ForRowSlices(int64_t rows, int64_t columns,
                          const std::function<void(int64_t first, int64_t count)>& visit);

}  // namespace amc
