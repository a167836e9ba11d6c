// First and second moments of a layer's features, and the least squares that need nothing else.
//
// The original's output is a linear function of its own features, Y = X W^T + b, so the normal
// equations for rebuilding it from the kept features S alone need no Y: with A the features'
// covariance and R the removed ones,
//   X_S^T Y = A_SS W_S^T + A_SR W_R^T,   W_S' = W_S + ((A_SS + ridge)^-1 A_SR W_R^T)^T,
// and the intercept takes the means along. The ridge pulls towards the sliced weights, so keeping
// everything changes nothing. Moments are accumulated once per job; every candidate then costs one
// Cholesky factorisation of a sub-matrix per layer (He et al., ICCV 2017, eq. 2, solved exactly).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "env/exec/torch_api.h"

namespace amc {

// Of `groups` independent sets of K features. float64 on the CPU.
struct FeatureMoments {
  int64_t samples = 0;
  torch::Tensor mean;        // groups x K
  torch::Tensor variance;    // groups x K
  torch::Tensor covariance;  // groups x K x K; undefined if only the diagonal was asked for
};

// Sums up rows in chunks: products in float32, sums over chunks in float64, both about the first
// chunk's mean, so that features with a large mean lose nothing. Once Cancelled by an
// InterruptScope (base/interrupt.h) it is of no more use.
class MomentAccumulator {
 public:
  explicit MomentAccumulator(bool diagonal_only) : diagonal_only_(diagonal_only) {}
  // groups x rows x K, float32.
  absl::Status Add(const torch::Tensor& features);
  absl::StatusOr<FeatureMoments> Finish() const;

 private:
  bool diagonal_only_;
  int64_t samples_ = 0;
  torch::Tensor shift_, sum_, squares_, products_;
};

// Cholesky factor of `matrix` (... x K x K, symmetric, float64) with `ridge` times its mean
// diagonal added to the diagonal; the ridge grows tenfold, up to six times, until the matrix is
// positive definite. InvalidArgument if it never is (it holds NaN or infinity); Cancelled by an
// InterruptScope.
absl::StatusOr<torch::Tensor> RidgeCholesky(torch::Tensor matrix, double ridge);

struct Compensation {
  torch::Tensor weight;     // outputs x kept, float64: to be added to the sliced weights
  torch::Tensor intercept;  // outputs, float64; undefined if the layer cannot hold one
};

// What the kept features of convolution group `group` can make up for: `kept` and `removed` index
// its features, `removed_weight` is outputs x removed.
absl::StatusOr<Compensation> CompensateRemoved(const FeatureMoments& moments, int64_t group,
                                               const torch::Tensor& kept,
                                               const torch::Tensor& removed,
                                               const torch::Tensor& removed_weight, double ridge,
                                               bool has_intercept);

}  // namespace amc
