// 3x3 kernels that keep 4 of their 9 entries, all from a small dictionary of shapes.
//
// A kernel's natural pattern is its centre and the three largest of the other entries. The
// dictionary holds the most frequent ones of a whole network, so that a compiler needs code for
// few shapes (Ma et al., "PCONV", AAAI 2020; Niu et al., "PatDNN", ASPLOS 2020, section 4.2).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "env/graph/layer_weights.h"

namespace amc {

inline constexpr int64_t kPatternEntries = 4;
inline constexpr int64_t kNaturalPatterns = 56;  // 3 of the 8 entries around the centre

// Bit 3 * row + column is set where an entry stays.
using KernelPattern = uint16_t;

// `kernel` has 9 weights; of equal ones the first stays.
KernelPattern NaturalPattern(absl::Span<const float> kernel);

// The most frequent natural patterns of all 3x3 kernels that are not zero altogether, most frequent
// first, the smaller number first on ties. At most `count`; fewer if the layers have fewer.
std::vector<KernelPattern> FrequentPatterns(absl::Span<const LayerWeights> layers, int64_t count);

}  // namespace amc
