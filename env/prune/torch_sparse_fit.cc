#include "env/prune/torch_sparse_fit.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/prune/torch_slices.h"

namespace amc {
namespace {

constexpr int64_t kMaxIterations = 200;
constexpr double kTolerance = 1e-4;       // of the residual, relative to what it starts from
constexpr double kTiny = 1e-30;           // dead features: keeps an all-zero matrix definite
constexpr int64_t kDoubleFeatures = 600;  // beyond, products are in float32: five times as fast

// Of every row: groups x rows x 1.
torch::Tensor Dot(const torch::Tensor& a, const torch::Tensor& b) {
  return (a * b).sum(-1, /*keepdim=*/true);
}

// a / b, 0 where b is not positive.
torch::Tensor Quotient(const torch::Tensor& a, const torch::Tensor& b) {
  const torch::Tensor positive = b.gt(0);
  return (a / at::where(positive, b, torch::ones_like(b))).masked_fill(~positive, 0);
}

}  // namespace

absl::StatusOr<SparseFit> FitSparse(const FeatureMoments& moments, const torch::Tensor& weight,
                                    const torch::Tensor& support, double ridge,
                                    bool has_intercept) {
  const torch::Tensor mean = moments.mean.unsqueeze(1);  // groups x 1 x features
  torch::Tensor matrix = moments.covariance;
  if (!has_intercept) matrix = matrix + mean.transpose(1, 2) * mean;  // about zero
  const torch::Tensor diagonal = matrix.diagonal(0, -2, -1).unsqueeze(1);
  const torch::Tensor shift = ridge * diagonal.mean(-1, /*keepdim=*/true) + kTiny;
  // In units in which the diagonal is 1: what conjugate gradients need, and float32 stands.
  const torch::Tensor unit = (diagonal + shift).sqrt();
  const auto type = weight.size(-1) > kDoubleFeatures ? at::kFloat : at::kDouble;
  matrix = (matrix / (unit.transpose(1, 2) * unit)).to(type);
  const torch::Tensor damping = (shift / unit.square()).to(type);
  const torch::Tensor mask = support.to(type);
  const torch::Tensor original = weight.to(at::kDouble);
  const torch::Tensor removed = (original * unit).to(type) * (1 - mask);
  AMC_ASSIGN_OR_RETURN(torch::Tensor residual, SlicedProduct(removed, matrix));
  residual.mul_(mask);
  // In units of each row's largest: squares of what is small would be lost in float32.
  torch::Tensor scale = residual.abs().amax(-1, /*keepdim=*/true);
  scale = at::where(scale.gt(0), scale, torch::ones_like(scale));
  residual.div_(scale);
  torch::Tensor change = torch::zeros_like(residual);
  torch::Tensor step = residual.clone();
  torch::Tensor energy = Dot(residual, residual);
  if (!at::isfinite(energy).all().item<bool>()) {
    return absl::InvalidArgumentError(
        absl::StrCat("normal equations of ", weight.size(-1), " features are not finite"));
  }
  const torch::Tensor enough = energy * (kTolerance * kTolerance);
  SparseFit fit;
  for (; fit.iterations < kMaxIterations; ++fit.iterations) {
    // A row of few inputs is done long before others. It stays as it is from then on: its next
    // steps would be quotients of rounding errors.
    const torch::Tensor open = energy.gt(enough);
    if (!open.any().item<bool>()) break;
    AMC_ASSIGN_OR_RETURN(torch::Tensor image, SlicedProduct(step, matrix));
    image.mul_(mask).add_(step * damping);
    const torch::Tensor length = Quotient(energy, Dot(step, image)) * open;
    change.add_(length * step);
    residual.sub_(length * image);
    const torch::Tensor next = Dot(residual, residual);
    step = residual + Quotient(next, energy) * length.gt(0) * step;
    energy = next;
  }
  const torch::Tensor fitted = original + change.to(at::kDouble) * scale / unit;
  const torch::Tensor finite = at::isfinite(fitted.to(weight.scalar_type())).all(-1, true);
  fit.weight = at::where(finite, fitted, original).masked_fill(support.eq(0), 0);
  if (has_intercept) {
    fit.intercept = Dot(original - fit.weight, mean.expand_as(original)).squeeze(-1);
  }
  return fit;
}

}  // namespace amc
