#include "env/prune/torch_moments.h"

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/status_macros.h"
#include "env/prune/torch_slices.h"

namespace amc {

absl::Status MomentAccumulator::Add(const torch::Tensor& features) {
  if (!shift_.defined()) shift_ = features.mean(1, /*keepdim=*/true);
  const torch::Tensor x = features - shift_;
  const torch::Tensor sum = x.sum(1).to(at::kDouble);
  const torch::Tensor squares = (x * x).sum(1).to(at::kDouble);
  sum_ = samples_ == 0 ? sum : sum_ + sum;
  squares_ = samples_ == 0 ? squares : squares_ + squares;
  if (!diagonal_only_) {
    AMC_ASSIGN_OR_RETURN(const torch::Tensor products, SlicedProduct(x.transpose(1, 2), x));
    const bool is_first = samples_ == 0;
    if (is_first) products_ = at::empty(products.sizes(), products.options().dtype(at::kDouble));
    AMC_RETURN_IF_ERROR(ForRowSlices(products.size(1), products.size(0) * products.size(2),
                                     [&](int64_t first, int64_t count) {
                                       const torch::Tensor rows = products_.narrow(1, first, count);
                                       const torch::Tensor more = products.narrow(1, first, count);
                                       is_first ? rows.copy_(more) : rows.add_(more);
                                     }));
  }
  samples_ += features.size(1);
  return absl::OkStatus();
}

absl::StatusOr<FeatureMoments> MomentAccumulator::Finish() const {
  FeatureMoments moments;
  moments.samples = samples_;
  if (samples_ == 0) return moments;
  const auto n = static_cast<double>(samples_);
  const torch::Tensor shifted = sum_ / n;
  moments.mean = (shift_.squeeze(1).to(at::kDouble) + shifted).to(at::kCPU);
  moments.variance = (squares_ / n - shifted * shifted).clamp_min(0).to(at::kCPU);
  if (!diagonal_only_) {
    torch::Tensor covariance = at::empty_like(products_);
    AMC_RETURN_IF_ERROR(ForRowSlices(products_.size(1), products_.size(0) * products_.size(2),
                                     [&](int64_t first, int64_t count) {
                                       const torch::Tensor rows = shifted.narrow(1, first, count);
                                       covariance.narrow(1, first, count)
                                           .copy_(products_.narrow(1, first, count) / n -
                                                  rows.unsqueeze(2) * shifted.unsqueeze(1));
                                     }));
    moments.covariance = covariance.to(at::kCPU);
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
    AMC_ASSIGN_OR_RETURN(torch::Tensor lower, SlicedCholesky(matrix));
    if (lower.defined()) return lower;
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
  AMC_RETURN_IF_ERROR(CheckInterrupt());
  torch::Tensor within = rows.index_select(1, kept);
  torch::Tensor across = rows.index_select(1, removed);
  if (!has_intercept) {  // second moments about zero
    within += kept_mean.unsqueeze(1) * kept_mean;
    across += kept_mean.unsqueeze(1) * removed_mean;
  }
  const torch::Tensor weight = removed_weight.to(at::kDouble);
  AMC_ASSIGN_OR_RETURN(const torch::Tensor lower, RidgeCholesky(within, ridge));
  Compensation compensation;
  AMC_ASSIGN_OR_RETURN(const torch::Tensor right, SlicedProduct(across, weight.t()));
  AMC_ASSIGN_OR_RETURN(const torch::Tensor solution, SlicedCholeskySolve(right, lower));
  compensation.weight = solution.t();
  if (has_intercept) {
    compensation.intercept = weight.mv(removed_mean) - compensation.weight.mv(kept_mean);
  }
  return compensation;
}

}  // namespace amc
