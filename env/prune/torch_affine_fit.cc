#include "env/prune/torch_affine_fit.h"

#include <algorithm>
#include <cmath>

#include "base/status_macros.h"
#include "env/prune/torch_moments.h"
#include "env/prune/torch_slices.h"

namespace amc {
namespace {

constexpr int64_t kRowBlock = 4096;  // rows whose products are summed in float32

// left^T right / rows, in float64: groups x rows x A, groups x rows x B to groups x A x B.
absl::StatusOr<torch::Tensor> MeanProduct(const torch::Tensor& left, const torch::Tensor& right) {
  const int64_t rows = left.size(1);
  torch::Tensor sum =
      torch::zeros({left.size(0), left.size(2), right.size(2)}, left.options().dtype(at::kDouble));
  for (int64_t first = 0; first < rows; first += kRowBlock) {
    const int64_t count = std::min(kRowBlock, rows - first);
    AMC_ASSIGN_OR_RETURN(
        const torch::Tensor product,
        SlicedProduct(left.narrow(1, first, count).transpose(1, 2), right.narrow(1, first, count)));
    AMC_RETURN_IF_ERROR(
        ForRowSlices(sum.size(1), sum.size(0) * sum.size(2), [&](int64_t from, int64_t many) {
          sum.narrow(1, from, many).add_(product.narrow(1, from, many));
        }));
  }
  return sum.div_(static_cast<double>(rows));
}

// The next target: `wanted` clipped, but whatever `got` is where both are cut off at the same end.
torch::Tensor Majorise(const torch::Tensor& wanted, const torch::Tensor& got, float low,
                       float high) {
  const torch::Tensor met = wanted.le(low)
                                .logical_and(got.le(low))
                                .logical_or_(wanted.ge(high).logical_and(got.ge(high)));
  return at::where(met, got, wanted.clamp(low, high));
}

}  // namespace

absl::StatusOr<AffineFit> FitAffine(torch::Tensor features, const FitTarget& target,
                                    const torch::Tensor& prior, const FitOptions& options) {
  const bool has_intercept = options.has_intercept;
  const int64_t groups = features.size(0), rows = features.size(1);
  const auto by_group = [&](const torch::Tensor& t) {
    return t.reshape({rows, groups, -1}).transpose(0, 1).contiguous();
  };
  torch::Tensor mean = features.mean(1, /*keepdim=*/true);
  if (has_intercept) {
    features.sub_(mean);
  } else {
    mean.zero_();
  }
  AMC_ASSIGN_OR_RETURN(const torch::Tensor covariance, MeanProduct(features, features));
  AMC_ASSIGN_OR_RETURN(const torch::Tensor lower,
                       RidgeCholesky(covariance.to(at::kCPU), options.ridge));
  const torch::Tensor wanted = by_group(target.rows);
  const torch::Tensor offset = target.offset.defined() ? by_group(target.offset) : torch::Tensor();
  AMC_ASSIGN_OR_RETURN(const torch::Tensor prior_outputs,
                       SlicedProduct(features, prior.transpose(1, 2)));
  const bool clips = std::isfinite(target.low) || std::isfinite(target.high);

  AffineFit fit;
  torch::Tensor outputs, output_mean, goal = wanted;
  for (int round = 0;; ++round) {
    torch::Tensor residual = offset.defined() ? goal - offset : goal;
    output_mean = residual.mean(1, /*keepdim=*/true);
    if (!has_intercept) output_mean.zero_();
    AMC_ASSIGN_OR_RETURN(const torch::Tensor moment,
                         MeanProduct(features, residual - output_mean - prior_outputs));
    AMC_ASSIGN_OR_RETURN(const torch::Tensor change,
                         SlicedCholeskySolve(moment.to(at::kCPU), lower));
    fit.weight = prior + change.transpose(1, 2).to(prior.options());
    AMC_ASSIGN_OR_RETURN(outputs, SlicedProduct(features, fit.weight.transpose(1, 2)));
    if (!clips || round == options.rounds) break;
    torch::Tensor got = outputs + output_mean;
    if (offset.defined()) got.add_(offset);
    goal = Majorise(wanted, got, target.low, target.high);
  }
  const torch::Tensor through = at::bmm(mean, fit.weight.transpose(1, 2));  // groups x 1 x outputs
  fit.intercept = (output_mean - through).flatten();
  fit.mean = (outputs.mean(1, /*keepdim=*/true) + through).flatten();
  fit.variance = outputs.var(1, /*unbiased=*/false).flatten();
  return fit;
}

}  // namespace amc
