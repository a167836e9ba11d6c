// Weight sharing: k-means over a layer's weights, so that each is one of a few values.
//
// Deep Compression (Han et al., ICLR 2016, section 3): weights that are zero stay zero and are no
// part of the clustering; the others fall into 2^bits - 1 clusters, minimising the sum of squared
// differences to their centroids by Lloyd's algorithm. In one dimension clusters are intervals of
// the sorted weights, so that a step costs a binary search per centroid and is exact.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace amc {

// Where centroids start (section 3.2).
enum class CodebookStart {
  kLinear,   // evenly spaced between the smallest and the largest: what keeps large weights best
  kDensity,  // evenly spaced in rank
  kRandom,   // different weights, drawn
};

struct CodebookOptions {
  int bits = 4;  // 1 to 8; of an index
  CodebookStart start = CodebookStart::kLinear;
  uint64_t seed = 0;  // of kRandom
};

struct Codebook {
  // Index 0 is zero; the others ascend, and there are fewer of them than 2^bits - 1 only where the
  // weights have fewer different values.
  std::vector<float> values = {0};
  std::vector<uint8_t> indices = {};  // one for each weight: 0 if and only if it is zero
  double squared_error = 0;           // the sum over all weights
};

// A weight that is equally near to two centroids goes to the lower one; a centroid that is left
// without weights moves to the weight that is farthest from its own. Stops when no weight changes
// its cluster. InvalidArgument if `bits` is out of range or a weight is not
// finite.
absl::StatusOr<Codebook> ShareWeights(absl::Span<const float> weights,
                                      const CodebookOptions& options);

// The gradient of each of `values`: the sum of its weights' gradients (section 3.3); 0 for the
// zero. Fine-tuning subtracts a multiple of it from the centroids. InvalidArgument if there is not
// one gradient for each index.
absl::StatusOr<std::vector<float>> CentroidGradients(const Codebook& codebook,
                                                     absl::Span<const float> gradients);

}  // namespace amc
