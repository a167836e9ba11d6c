// Kernel maps of convolutions on sparse points: which input a weight takes to which output.
//
// TorchSparse (Tang et al., MLSys 2022, section 2): with weights W[d] at the offsets d of a kernel,
//   out[q] = sum over d of W[d] in[p], for the points p with p = stride * q + d,
// and the map of d is the list of these (p, q). Two builders give the same map: a hash table over
// the inputs that is asked for every stride * q + d, and PointAcc's merge sort (Lin et al., MICRO
// 2021, section 4.1), for hardware without one: inputs and shifted outputs, both sorted, are
// merged, and neighbours that are equal are a pair.
//
// Supported: 1 to 4 dimensions, odd kernel extents, any stride >= 1, given outputs. At stride 1 the
// outputs are the inputs (a submanifold convolution); otherwise Downsample gives them.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

namespace amc {

// Coordinates, x first. No point may be there twice.
struct Points {
  int64_t dimensions = 0;
  std::vector<int32_t> coordinates = {};  // points x dimensions

  int64_t size() const {
    return dimensions > 0 ? static_cast<int64_t>(coordinates.size()) / dimensions : 0;
  }
};

// Extents along x, y, ...
struct KernelGeometry {
  std::vector<int32_t> kernel = {};  // odd: offsets -k/2 to k/2
  std::vector<int32_t> stride = {};  // empty: 1

  int64_t volume() const;  // how many offsets there are
};

struct MapEntry {
  int32_t input = 0, output = 0;
  friend bool operator==(const MapEntry&, const MapEntry&) = default;
};

// By offset, x fastest, so that offset `volume / 2` is the kernel's centre; then by output.
struct KernelMap {
  int64_t inputs = 0, outputs = 0;
  std::vector<MapEntry> entries = {};  // TorchSparse's nbmap, int32 pairs x 2
  std::vector<int32_t> sizes = {};     // its nbsizes: entries of each offset

  // Where each offset's entries begin, and the end of the last.
  std::vector<int64_t> Starts() const;
  friend bool operator==(const KernelMap&, const KernelMap&) = default;
};

// InvalidArgument if points are there twice, are not of 1 to 4 dimensions or not of those of the
// kernel, and if a kernel extent is even, a stride below 1 or the map too large for 32-bit indices.
absl::StatusOr<KernelMap> BuildKernelMapByHash(const Points& inputs, const Points& outputs,
                                               const KernelGeometry& geometry);
absl::StatusOr<KernelMap> BuildKernelMapByMergeSort(const Points& inputs, const Points& outputs,
                                                    const KernelGeometry& geometry);

// The outputs of a strided layer: floor(p / stride) of every point, each once, in lexicographic
// order. InvalidArgument as above.
absl::StatusOr<Points> Downsample(const Points& points, const std::vector<int32_t>& stride);

}  // namespace amc
