// Bayesian linear regression: y = prior mean + w . x + noise, w normal with a diagonal prior.
//
// With features that are scaled eigenfunctions this is a Gaussian process of finite rank
// (Rasmussen and Williams 2006, sections 2.1 and 5.4.1): observations are folded into sums, so that
// fitting costs the cube of the features, whatever was observed. Observations come in classes of
// different noise, whose ratios are chosen when fitting.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/types/span.h"
#include "base/rng.h"

namespace amc {

// Thread-compatible; deterministic, without torch.
class BayesLinear {
 public:
  BayesLinear(size_t features, size_t noise_classes);

  size_t features() const { return features_; }
  int observations() const;

  // `x` has one number per feature; `y` is what the prior mean leaves.
  void Add(absl::Span<const double> x, double y, size_t noise_class);

  // Prior deviations of the weights (positive) and deviations of each class's noise (positive).
  // Returns the logarithm of the marginal likelihood of what was added.
  double Fit(absl::Span<const double> prior, absl::Span<const double> noise);

  // Of the last Fit.
  const std::vector<double>& mean() const { return mean_; }
  // Weights drawn from the posterior, their distance from the mean times `temperature`.
  std::vector<double> Sample(double temperature, Rng& rng) const;
  // The deviation of w . x.
  double Deviation(absl::Span<const double> x) const;

 private:
  // Sums over the observations of one noise class.
  struct Sums {
    std::vector<double> gram;  // features x features, the lower triangle
    std::vector<double> xy;
    double yy = 0;
    int number = 0;
  };

  size_t features_;
  std::vector<Sums> classes_;
  std::vector<double> factor_;  // lower triangular L, L L^T the posterior precision
  std::vector<double> mean_;
};

}  // namespace amc
