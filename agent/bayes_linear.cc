#include "agent/bayes_linear.h"

#include <cmath>

namespace amc {
namespace {

constexpr double kLog2Pi = 1.8378770664093453;

// In place, lower triangle: A = L L^T. The prior makes A positive definite.
void Factorise(std::vector<double>& a, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    double* row = &a[i * n];
    for (size_t j = 0; j <= i; ++j) {
      const double* other = &a[j * n];
      double sum = row[j];
      for (size_t k = 0; k < j; ++k) sum -= row[k] * other[k];
      row[j] = i == j ? std::sqrt(sum) : sum / other[j];
    }
  }
}

// L x = b.
std::vector<double> SolveLower(const std::vector<double>& l, std::vector<double> b) {
  const size_t n = b.size();
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < i; ++k) b[i] -= l[i * n + k] * b[k];
    b[i] /= l[i * n + i];
  }
  return b;
}

// L^T x = b.
std::vector<double> SolveUpper(const std::vector<double>& l, std::vector<double> b) {
  const size_t n = b.size();
  for (size_t i = n; i-- > 0;) {
    b[i] /= l[i * n + i];
    for (size_t k = 0; k < i; ++k) b[k] -= l[i * n + k] * b[i];
  }
  return b;
}

}  // namespace

BayesLinear::BayesLinear(size_t features, size_t noise_classes)
    : features_(features),
      classes_(noise_classes, {.gram = std::vector<double>(features * features),
                               .xy = std::vector<double>(features)}),
      mean_(features) {}

int BayesLinear::observations() const {
  int number = 0;
  for (const Sums& sums : classes_) number += sums.number;
  return number;
}

void BayesLinear::Add(absl::Span<const double> x, double y, size_t noise_class) {
  Sums& sums = classes_[noise_class];
  for (size_t i = 0; i < features_; ++i) {
    double* row = &sums.gram[i * features_];
    for (size_t j = 0; j <= i; ++j) row[j] += x[i] * x[j];
    sums.xy[i] += x[i] * y;
  }
  sums.yy += y * y;
  ++sums.number;
}

double BayesLinear::Fit(absl::Span<const double> prior, absl::Span<const double> noise) {
  const size_t n = features_;
  factor_.assign(n * n, 0);
  std::vector<double> right(n, 0);
  double quadratic = 0, log_determinant = 0;
  int number = 0;
  for (size_t c = 0; c < classes_.size(); ++c) {
    const Sums& sums = classes_[c];
    if (sums.number == 0) continue;
    const double precision = 1 / (noise[c] * noise[c]);
    for (size_t i = 0; i < n * n; ++i) factor_[i] += precision * sums.gram[i];
    for (size_t i = 0; i < n; ++i) right[i] += precision * sums.xy[i];
    quadratic += precision * sums.yy;
    log_determinant += 2 * sums.number * std::log(noise[c]);
    number += sums.number;
  }
  for (size_t i = 0; i < n; ++i) {
    factor_[i * n + i] += 1 / (prior[i] * prior[i]);
    log_determinant += 2 * std::log(prior[i]);
  }
  Factorise(factor_, n);
  const std::vector<double> half = SolveLower(factor_, std::move(right));
  for (size_t i = 0; i < n; ++i) {
    quadratic -= half[i] * half[i];
    log_determinant += 2 * std::log(factor_[i * n + i]);
  }
  mean_ = SolveUpper(factor_, half);
  return -0.5 * (quadratic + log_determinant + number * kLog2Pi);
}

std::vector<double> BayesLinear::Sample(double temperature, Rng& rng) const {
  std::vector<double> weights(features_);
  for (double& weight : weights) weight = temperature * rng.Normal();
  weights = SolveUpper(factor_, std::move(weights));
  for (size_t i = 0; i < features_; ++i) weights[i] += mean_[i];
  return weights;
}

double BayesLinear::Deviation(absl::Span<const double> x) const {
  double variance = 0;
  for (const double v : SolveLower(factor_, {x.begin(), x.end()})) variance += v * v;
  return std::sqrt(variance);
}

}  // namespace amc
