// Which weights of a layer stay: those with the largest magnitudes, by the units of a granularity
// (sparsity.h).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/graph/layer_weights.h"
#include "env/prune/sparse_patterns.h"
#include "env/prune/sparsity.h"

namespace amc {

// 1 where a weight stays, 0 where it goes; in the order of LayerWeights::values.
using SparseMask = std::vector<uint8_t>;

// The units of the largest norms, the lower index on ties; of N:M the N largest of every M. Only a
// pattern decision looks at `patterns`: every kernel takes that which keeps most of it, the earlier
// one on ties. A weight that is zero may stay. Errors of CountUnits; InvalidArgument for weights
// that are not finite or not as many as the layer's shape says, and for a pattern decision without
// patterns.
absl::StatusOr<SparseMask> SelectWeights(const LayerWeights& layer, const SparseDecision& decision,
                                         const SparsityOptions& options,
                                         absl::Span<const KernelPattern> patterns);

// `layer` with zeros where the mask has them. As many values as the mask has entries.
LayerWeights ApplyMask(LayerWeights layer, const SparseMask& mask);

}  // namespace amc
