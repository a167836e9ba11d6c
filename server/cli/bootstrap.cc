#include "server/cli/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/log.h"

namespace amc {
namespace {

// All agents' values with the seeds of one image side by side, so that one pass over the images
// sums all of them.
struct ByImage {
  size_t images = 0, runs = 0;
  std::vector<double> values;  // [image][run], agents and their seeds in order
};

ByImage Transpose(absl::Span<const SeedsByImages> agents) {
  ByImage all;
  all.images = agents.at(0).at(0).size();
  for (const SeedsByImages& agent : agents) all.runs += agent.size();
  all.values.resize(all.images * all.runs);
  size_t run = 0;
  for (const SeedsByImages& agent : agents) {
    AMC_CHECK(!agent.empty()) << "an agent without a seed";
    for (const std::vector<double>& seed : agent) {
      AMC_CHECK(seed.size() == all.images && all.images > 0)
          << seed.size() << " images of " << all.images;
      for (size_t image = 0; image < all.images; ++image) {
        all.values[image * all.runs + run] = seed[image];
      }
      ++run;
    }
  }
  return all;
}

}  // namespace

double MeanOf(const SeedsByImages& values) {
  double sum = 0, count = 0;
  for (const std::vector<double>& seed : values) {
    sum = std::accumulate(seed.begin(), seed.end(), sum);
    count += static_cast<double>(seed.size());
  }
  return sum / count;
}

std::vector<std::vector<double>> ResampledMeans(absl::Span<const SeedsByImages> agents,
                                                int64_t resamples, Rng& rng) {
  const ByImage all = Transpose(agents);
  std::vector<std::vector<double>> means(agents.size());
  std::vector<double> times(all.images), sums(all.runs);
  for (int64_t resample = 0; resample < resamples; ++resample) {
    std::fill(times.begin(), times.end(), 0);
    for (size_t i = 0; i < all.images; ++i) ++times[rng.Below(all.images)];
    std::fill(sums.begin(), sums.end(), 0);
    for (size_t image = 0; image < all.images; ++image) {
      if (times[image] == 0) continue;
      const double* row = &all.values[image * all.runs];
      for (size_t run = 0; run < all.runs; ++run) sums[run] += times[image] * row[run];
    }
    size_t first = 0;
    for (size_t agent = 0; agent < agents.size(); ++agent) {
      const size_t seeds = agents[agent].size();
      double sum = 0;
      for (size_t i = 0; i < seeds; ++i) sum += sums[first + rng.Below(seeds)];
      means[agent].push_back(sum / static_cast<double>(seeds * all.images));
      first += seeds;
    }
  }
  return means;
}

Interval PercentileInterval(double mean, std::vector<double> replicates, double confidence) {
  AMC_CHECK(!replicates.empty()) << "no resamples";
  std::sort(replicates.begin(), replicates.end());
  const size_t count = replicates.size();
  // A little more than the product, which may fall just below a whole number.
  const double k = std::floor(static_cast<double>(count + 1) * (1 - confidence) / 2 + 1e-9);
  const size_t rank = std::clamp<size_t>(static_cast<size_t>(k), 1, (count + 1) / 2);
  return {.mean = mean, .low = replicates[rank - 1], .high = replicates[count - rank]};
}

}  // namespace amc
