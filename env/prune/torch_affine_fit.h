// Least squares from a layer's present inputs to what its outputs should be.
//
// Minimises over W and b the sum over rows of |f(X W^T + b + offset) - f(target)|^2 plus a ridge on
// W's distance from a prior, where f clips to [low, high]: what a ReLU cuts off need not be hit. A
// linear f is solved exactly; otherwise by majorisation: rows where both sides are cut off at the
// same end are met already, the others see the plain square, and the factorisation is used again
// (Zhang et al., "Accelerating very deep convolutional networks", TPAMI 2016, section 3.2, have the
// same objective).
#pragma once

#include <limits>

#include "absl/status/statusor.h"
#include "env/exec/torch_api.h"

namespace amc {

struct FitTarget {
  torch::Tensor rows;    // rows x outputs (of all groups)
  torch::Tensor offset;  // the same shape: what is added to the outputs; may be undefined
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();
};

struct FitOptions {
  double ridge = 1e-4;  // relative to the mean diagonal of the features' covariance
  int rounds = 3;       // of majorisation; further ones change the held-out loss by less than 1%
  bool has_intercept = true;
};

struct AffineFit {
  torch::Tensor weight;          // groups x outputs per group x K
  torch::Tensor intercept;       // outputs
  torch::Tensor mean, variance;  // outputs: of X W^T over the rows
};

// `features` is groups x rows x K and is used up; `prior` is shaped like AffineFit::weight.
// InvalidArgument on features that are not finite; Cancelled by an InterruptScope
// (base/interrupt.h).
absl::StatusOr<AffineFit> FitAffine(torch::Tensor features, const FitTarget& target,
                                    const torch::Tensor& prior, const FitOptions& options);

}  // namespace amc
