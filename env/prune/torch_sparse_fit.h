// Least squares of a layer whose rows may use some of the features only, each row others.
//
// With A the features' covariance, W the weights and S the support of a row, what a row of new
// weights misses of the original's output is (w - w')^T A (w - w'). With w' = w + d, d = -w outside
// of S, the minimum solves
//   A_SS d_S = A_SR w_R,    R outside of S,
// the same equations as for removed channels (torch_moments.h), but with a matrix for each row.
// All rows are solved at once by conjugate gradients: A is shared, and a row stays within its
// support if A's products are masked.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "env/exec/torch_api.h"
#include "env/prune/torch_moments.h"

namespace amc {

struct SparseFit {
  torch::Tensor weight;     // groups x outputs per group x features, float64; 0 outside the support
  torch::Tensor intercept;  // groups x outputs per group; undefined if the layer cannot hold one
  int64_t iterations = 0;
};

// `weight` is groups x outputs per group x features, `support` the same with 1 where a weight may
// be and 0 elsewhere. `ridge`, relative to A's mean diagonal, pulls towards `weight`. The result
// never misses more than the masked weights do. InvalidArgument if the moments hold NaN or
// infinity; Cancelled by an InterruptScope (base/interrupt.h).
absl::StatusOr<SparseFit> FitSparse(const FeatureMoments& moments, const torch::Tensor& weight,
                                    const torch::Tensor& support, double ridge, bool has_intercept);

}  // namespace amc
