#include "env/prune/torch_moments.h"

#include <tuple>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace amc {

void MomentAccumulator::Add(const torch::Tensor& features) {
  if (!shift_.defined()) shift_ = features.mean(1, /*keepdim=*/true);
  const torch::Tensor x = features - shift_;
  const torch::Tensor sum = x.sum(1).to(at::kDouble);
  const torch::Tensor squares = (x * x).sum(1).to(at::kDouble);
  sum_ = samples_ == 0 ? sum : sum_ + sum;
  squares_ = samples_ == 0 ? squares : squares_ + squares;
  if (!diagonal_only_) {
    const torch::Tensor products = at::bmm(x.transpose(1, 2), x);
    if (samples_ == 0) {
      products_ = products.to(at::kDouble);
    } else {
      products_.add_(products);
    }
  }
  samples_ += features.size(1);
}

FeatureMoments MomentAccumulator::Finish() const {
  FeatureMoments moments;
  moments.samples = samples_;
  if (samples_ == 0) return moments;
  const auto n = static_cast<double>(samples_);
  const torch::Tensor shifted = sum_ / n;
  moments.mean = (shift_.squeeze(1).to(at::kDouble) + shifted).to(at::kCPU);
  moments.variance = (squares_ / n - shifted * shifted).clamp_min(0).to(at::kCPU);
  if (!diagonal_only_) {
    moments.covariance = (products_ / n - shifted.unsqueeze(2) * shifted.unsqueeze(1)).to(at::kCPU);
  }
  return moments;
}

absl::StatusOr<torch::Tensor> RidgeCholesky(torch::Tensor matrix, double ridge) {
  constexpr double kTiny = 1e-30;  // dead features: keeps an all-zero matrix definite
  constexpr int kAttempts = 7;
  torch::Tensor diagonal = matrix.diagonal(0, -2, -1);
  const torch::Tensor step = ridge * diagonal.mean(-1, /*keepdim=*/true) + kTiny;
  double factor = 1, added = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt, factor *= 10) {
    diagonal.add_(step * (factor - added));
    added = factor;
    auto [lower, info] = at::linalg_cholesky_ex(matrix);
    // LAPACK does not mind NaN.
    if (info.max().item<int>() == 0 && at::isfinite(lower).all().item<bool>()) return lower;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("normal equations of ", matrix.size(-1),
                   " features are not positive definite: activations or weights are not finite"));
}

absl::StatusOr<Compensation> CompensateRemoved(const FeatureMoments& moments, int64_t group,
                                               const torch::Tensor& kept,
                                               const torch::Tensor& removed,
                                               const torch::Tensor& removed_weight, double ridge,
                                               bool has_intercept) {
  const torch::Tensor covariance = moments.covariance[group];
  const torch::Tensor mean = moments.mean[group];
  const torch::Tensor kept_mean = mean.index_select(0, kept);
  const torch::Tensor removed_mean = mean.index_select(0, removed);
  const torch::Tensor rows = covariance.index_select(0, kept);
  torch::Tensor within = rows.index_select(1, kept);
  torch::Tensor across = rows.index_select(1, removed);
  if (!has_intercept) {  // second moments about zero
    within += kept_mean.unsqueeze(1) * kept_mean;
    across += kept_mean.unsqueeze(1) * removed_mean;
  }
  const torch::Tensor weight = removed_weight.to(at::kDouble);
  AMC_ASSIGN_OR_RETURN(const torch::Tensor lower, RidgeCholesky(within, ridge));
  Compensation compensation;
  compensation.weight = at::cholesky_solve(across.matmul(weight.t()), lower).t();
  if (has_intercept) {
    compensation.intercept = weight.mv(removed_mean) - compensation.weight.mv(kept_mean);
  }
  return compensation;
}

}  // namespace amc
