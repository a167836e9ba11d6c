// A sparse convolution by gathering, multiplying and scattering, as TorchSparse does it, on weights
// that pruning has thinned out.
//
// TorchSparse (Tang et al., MLSys 2022, section 4): for every offset of the kernel the inputs of
// its map entries are gathered into a dense matrix, multiplied with the offset's weights and added
// to their outputs. Offsets with few entries make small, slow products; adaptive grouping puts
// offsets of nearly equal size together, padded to the largest, for one batched product
// (section 4.2).
//
// Of pruned weights, whole zero rows (input channels), columns (output channels) and offsets are
// skipped. That is exact while features are finite: what is left out are sums of zeros.
//
// A reference: it runs on one thread and shows what the formats mean.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/backend/kernel_map.h"
#include "env/backend/output_order.h"

namespace amc {

// Of one offset, the weights that are left: channels x outputs, and which of all these are.
struct WeightSlice {
  std::vector<int32_t> channels = {}, outputs = {};
  std::vector<float> values = {};
};

// Immutable.
class SparseConvWeights {
 public:
  // `values` is offsets x channels x outputs, row-major: TorchSparse's parameter `kernel`.
  // InvalidArgument if there are more or fewer values, or sizes that 32-bit indices cannot hold.
  static absl::StatusOr<SparseConvWeights> Create(int64_t offsets, int64_t channels,
                                                  int64_t outputs, absl::Span<const float> values);

  int64_t channels() const { return channels_; }
  int64_t outputs() const { return outputs_; }
  const std::vector<WeightSlice>& slices() const { return slices_; }

  int64_t values() const;  // that are left, zeros within a slice included
  int64_t bytes() const;   // of values, of 32-bit indices and of two 32-bit counts per offset

 private:
  SparseConvWeights(int64_t channels, int64_t outputs) : channels_(channels), outputs_(outputs) {}

  int64_t channels_, outputs_;
  std::vector<WeightSlice> slices_;
};

struct GroupingOptions {
  double epsilon = 0.3;      // largest 1 - smallest / largest of a group
  int64_t mm_threshold = 0;  // groups whose largest offset has fewer entries are padded
};

// Offsets that are multiplied together.
struct MatmulGroup {
  std::vector<int32_t> offsets = {};
  // Each product's height, padded to the largest offset's; 0: each its own.
  int32_t padded = 0;
  friend bool operator==(const MatmulGroup&, const MatmulGroup&) = default;
};

// Offsets 0, V-1, 1, V-2, ..., whose maps mirror each other at stride 1; a new group begins where
// another offset would make 1 - min / max exceed epsilon. Offsets without entries are left out; a
// centre that maps every point onto itself is a group alone and comes first, as a runtime need not
// gather for it.
std::vector<MatmulGroup> GroupOffsets(const KernelMap& map, const GroupingOptions& options);

// outputs of the map x output channels, row-major, from `features`, inputs x channels. `map` is
// what a builder made, `groups` are of it. InvalidArgument if sizes of map, weights and features do
// not fit together.
absl::StatusOr<std::vector<float>> GatherMatmulScatter(const SparseConvWeights& weights,
                                                       const KernelMap& map,
                                                       const std::vector<MatmulGroup>& groups,
                                                       absl::Span<const float> features);

// The same by TorchSparse++'s implicit matrix product: tile by tile of `order`, which is of that
// map. InvalidArgument as above.
absl::StatusOr<std::vector<float>> ImplicitMatmul(const SparseConvWeights& weights,
                                                  const KernelMap& map, const OutputOrder& order,
                                                  absl::Span<const float> features);

}  // namespace amc
