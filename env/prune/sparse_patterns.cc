#include "env/prune/sparse_patterns.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>

namespace amc {
namespace {

constexpr size_t kEntries = 9, kCentre = 4;

}  // namespace

KernelPattern NaturalPattern(absl::Span<const float> kernel) {
  std::array<size_t, kEntries> order = {kCentre, 0, 1, 2, 3, 5, 6, 7, 8};
  std::stable_sort(order.begin() + 1, order.end(),
                   [&](size_t a, size_t b) { return std::abs(kernel[a]) > std::abs(kernel[b]); });
  unsigned pattern = 0;
  for (int64_t i = 0; i < kPatternEntries; ++i) pattern |= 1u << order[static_cast<size_t>(i)];
  return static_cast<KernelPattern>(pattern);
}

std::vector<KernelPattern> FrequentPatterns(absl::Span<const LayerWeights> layers, int64_t count) {
  std::map<KernelPattern, int64_t> found;
  for (const LayerWeights& layer : layers) {
    if (layer.form != LayerForm::kConv || layer.conv.kernel != Pair{3, 3}) continue;
    const auto weights = absl::MakeConstSpan(layer.values);
    for (size_t first = 0; first + kEntries <= weights.size(); first += kEntries) {
      const auto kernel = weights.subspan(first, kEntries);
      if (std::all_of(kernel.begin(), kernel.end(), [](float w) { return w == 0; })) continue;
      ++found[NaturalPattern(kernel)];
    }
  }
  std::vector<std::pair<KernelPattern, int64_t>> ranked(found.begin(), found.end());
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<KernelPattern> patterns;
  for (const auto& [pattern, times] : ranked) {
    if (static_cast<int64_t>(patterns.size()) == count) break;
    patterns.push_back(pattern);
  }
  return patterns;
}

}  // namespace amc
