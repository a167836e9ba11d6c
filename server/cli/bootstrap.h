// Percentile bootstrap intervals (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993,
// chapters 8 and 13) of what several agents measured on the same images.
//
// An agent's figure is the mean over its seeds and the images. Both are a sample: of the searches
// it might have done, of the images it might have been measured on. A resample draws images with
// replacement, the same ones for every agent and seed (they are paired: a hard image is hard for
// all), and the seeds of each agent independently of the others' (they are not). That is the
// pigeonhole bootstrap of crossed factors (Owen, Annals of Applied Statistics 2007). With few seeds
// its intervals are too narrow: of n seeds the variance between them comes out too small by
// (n - 1) / n, four fifths for five; an agent with one seed has the images' variance alone.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "base/rng.h"

namespace amc {

constexpr int64_t kBootstrapResamples = 10'000;
constexpr double kBootstrapConfidence = 0.95;

// One agent's values, [seed][image].
using SeedsByImages = std::vector<std::vector<double>>;

struct Interval {
  double mean = 0, low = 0, high = 0;
  bool excludes_zero() const { return low > 0 || high < 0; }
};

double MeanOf(const SeedsByImages& values);

// The agents' means in each resample, [agent][resample]. Every agent has at least one seed, every
// seed the same images, at least one.
std::vector<std::vector<double>> ResampledMeans(absl::Span<const SeedsByImages> agents,
                                                int64_t resamples, Rng& rng);

// The interval around `mean` between the k-th smallest and the k-th largest of B replicates, k =
// floor((B + 1)(1 - confidence) / 2), at least 1 (section 12.5 there): the 250th and the 9,751st of
// 10,000. At least one replicate.
Interval PercentileInterval(double mean, std::vector<double> replicates,
                            double confidence = kBootstrapConfidence);

}  // namespace amc
