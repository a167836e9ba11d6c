#include "env/backend/codebook.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/rng.h"

namespace amc {
namespace {

// Every step lowers the error, so that the algorithm ends; this many are never seen.
constexpr int kMaxSteps = 100000;

// Ascending; finite values. Three passes that sort by 11 bits each: layers have up to 10^8 weights,
// for which comparing takes several times as long.
void SortFloats(std::vector<float>& values) {
  constexpr int kDigitBits = 11;
  constexpr uint32_t kSign = uint32_t{1} << 31;
  // Unsigned integers in the floats' order.
  std::vector<uint32_t> keys(values.size()), sorted(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const auto bits = std::bit_cast<uint32_t>(values[i]);
    keys[i] = (bits & kSign) != 0 ? ~bits : bits | kSign;
  }
  for (int shift = 0; shift < 32; shift += kDigitBits) {
    const auto digit = [&](uint32_t key) { return key >> shift & ((1 << kDigitBits) - 1); };
    std::array<size_t, 1 << kDigitBits> ends = {};
    for (const uint32_t key : keys) ++ends[digit(key)];
    size_t end = 0;
    for (size_t& place : ends) end += std::exchange(place, end);
    for (const uint32_t key : keys) sorted[ends[digit(key)]++] = key;
    keys.swap(sorted);
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t key = keys[i];
    values[i] = std::bit_cast<float>((key & kSign) != 0 ? key & ~kSign : ~key);
  }
}

// The first `most` different ones of `sorted`, or fewer.
std::vector<float> Distinct(absl::Span<const float> sorted, size_t most) {
  std::vector<float> distinct;
  for (const float value : sorted) {
    if (!distinct.empty() && distinct.back() == value) continue;
    if (distinct.size() == most) break;
    distinct.push_back(value);
  }
  return distinct;
}

std::vector<double> StartCentroids(absl::Span<const float> sorted, size_t clusters,
                                   const CodebookOptions& options) {
  std::vector<double> centroids;
  const double low = sorted.front(), high = sorted.back();
  std::vector<float> distinct;
  std::vector<int64_t> drawn;
  if (options.start == CodebookStart::kRandom) {
    distinct = Distinct(sorted, sorted.size());
    drawn = Rng(options.seed).Permutation(static_cast<int64_t>(distinct.size()));
  }
  for (size_t i = 0; i < clusters; ++i) {
    switch (options.start) {
      case CodebookStart::kLinear:
        centroids.push_back(clusters == 1 ? low
                                          : low + (high - low) * static_cast<double>(i) /
                                                      static_cast<double>(clusters - 1));
        break;
      case CodebookStart::kDensity:
        centroids.push_back(sorted[(2 * i + 1) * sorted.size() / (2 * clusters)]);
        break;
      case CodebookStart::kRandom:
        centroids.push_back(distinct[drawn[i]]);
        break;
    }
  }
  std::sort(centroids.begin(), centroids.end());
  return centroids;
}

// Clusters are [bounds[i], bounds[i + 1]) of the sorted weights.
class Clustering {
 public:
  explicit Clustering(absl::Span<const float> sorted) : sorted_(sorted), sums_(sorted.size() + 1) {
    for (size_t i = 0; i < sorted.size(); ++i) sums_[i + 1] = sums_[i] + sorted[i];
  }

  // Lloyd's algorithm.
  std::vector<double> Refine(std::vector<double> centroids) const {
    std::vector<size_t> before;
    for (int step = 0; step < kMaxSteps; ++step) {
      std::vector<size_t> bounds = Assign(centroids);
      if (bounds == before) break;
      const size_t empty = FindEmpty(bounds);
      if (empty < centroids.size()) {
        centroids[empty] = Farthest(centroids, bounds);
        std::sort(centroids.begin(), centroids.end());
        continue;
      }
      for (size_t i = 0; i < centroids.size(); ++i) {
        centroids[i] = (sums_[bounds[i + 1]] - sums_[bounds[i]]) /
                       static_cast<double>(bounds[i + 1] - bounds[i]);
      }
      before = std::move(bounds);
    }
    return centroids;
  }

 private:
  std::vector<size_t> Assign(const std::vector<double>& centroids) const {
    std::vector<size_t> bounds = {0};
    for (size_t i = 0; i + 1 < centroids.size(); ++i) {
      const double middle = (centroids[i] + centroids[i + 1]) / 2;
      const auto end = std::upper_bound(sorted_.begin() + static_cast<ptrdiff_t>(bounds.back()),
                                        sorted_.end(), middle);
      bounds.push_back(static_cast<size_t>(end - sorted_.begin()));
    }
    bounds.push_back(sorted_.size());
    return bounds;
  }

  static size_t FindEmpty(const std::vector<size_t>& bounds) {
    size_t i = 0;
    while (i + 1 < bounds.size() && bounds[i] < bounds[i + 1]) ++i;
    return i;
  }

  // The weight that is farthest from its centroid: one at an end of a cluster.
  double Farthest(const std::vector<double>& centroids, const std::vector<size_t>& bounds) const {
    double farthest = sorted_.front(), distance = -1;
    for (size_t i = 0; i < centroids.size(); ++i) {
      if (bounds[i] == bounds[i + 1]) continue;
      for (const double weight : {sorted_[bounds[i]], sorted_[bounds[i + 1] - 1]}) {
        if (std::abs(weight - centroids[i]) <= distance) continue;
        distance = std::abs(weight - centroids[i]);
        farthest = weight;
      }
    }
    return farthest;
  }

  absl::Span<const float> sorted_;
  std::vector<double> sums_;  // of the first i weights
};

}  // namespace

absl::StatusOr<Codebook> ShareWeights(absl::Span<const float> weights,
                                      const CodebookOptions& options) {
  if (options.bits < 1 || options.bits > 8) {
    return absl::InvalidArgumentError(
        absl::StrCat("a codebook of ", options.bits, " bits, want 1 to 8"));
  }
  std::vector<float> sorted;
  for (const float weight : weights) {
    if (!std::isfinite(weight)) {
      return absl::InvalidArgumentError(absl::StrCat("the weight ", weight, " is not finite"));
    }
    if (weight != 0) sorted.push_back(weight);
  }
  SortFloats(sorted);

  const size_t clusters = (size_t{1} << options.bits) - 1;
  const std::vector<float> distinct = Distinct(sorted, clusters + 1);
  Codebook codebook;
  if (distinct.size() <= clusters) {
    codebook.values.insert(codebook.values.end(), distinct.begin(), distinct.end());
  } else {
    const std::vector<double> centroids =
        Clustering(sorted).Refine(StartCentroids(sorted, clusters, options));
    for (const double centroid : centroids) {
      codebook.values.push_back(static_cast<float>(centroid));
    }
  }

  std::vector<double> middles;
  for (size_t i = 1; i + 1 < codebook.values.size(); ++i) {
    middles.push_back((static_cast<double>(codebook.values[i]) + codebook.values[i + 1]) / 2);
  }
  codebook.indices.reserve(weights.size());
  for (const float weight : weights) {
    const auto cluster = std::lower_bound(middles.begin(), middles.end(), weight);
    const auto index =
        weight == 0 ? uint8_t{0} : static_cast<uint8_t>(cluster - middles.begin() + 1);
    const double error = static_cast<double>(weight) - codebook.values[index];
    codebook.squared_error += error * error;
    codebook.indices.push_back(index);
  }
  return codebook;
}

absl::StatusOr<std::vector<float>> CentroidGradients(const Codebook& codebook,
                                                     absl::Span<const float> gradients) {
  if (gradients.size() != codebook.indices.size()) {
    return absl::InvalidArgumentError(absl::StrCat(gradients.size(), " gradients, want ",
                                                   codebook.indices.size(), " as weights"));
  }
  std::vector<double> sums(codebook.values.size());
  for (size_t i = 0; i < gradients.size(); ++i) sums[codebook.indices[i]] += gradients[i];
  sums[0] = 0;
  return std::vector<float>(sums.begin(), sums.end());
}

}  // namespace amc
