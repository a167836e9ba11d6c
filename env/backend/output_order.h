// In which order a sparse convolution computes its outputs, so that few multiplications are idle.
//
// TorchSparse++ (Tang et al., MICRO 2023, section 3.2): the implicit matrix product takes outputs
// in tiles and multiplies a tile with the weights of every offset that one of its outputs has a
// neighbour at; the other outputs of the tile multiply zeros. Outputs with like neighbours should
// share a tile: the mask of an output has bit k set if offset k maps an input to it, and outputs go
// in descending order of their masks. Cut into `splits` ranges of offsets, each with an order of
// its own, masks agree more often still, at the price of adding the ranges' sums up.
//
// Counted in vector-matrix products (channels x outputs each): a tile costs its height times the
// offsets that any of its outputs needs, rows beyond the last output included;
//   redundant = computed - maps,
// maps being the kernel map's entries. The paper's masks 25 58 52 464 17 20 272 80 in tiles of 4
// have 22 maps: 56 products unsorted, 48 sorted, 44 in 3 splits; so 34, 26 and 22 redundant.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "env/backend/kernel_map.h"

namespace amc {

struct OrderOptions {
  int64_t splits = 1;  // 0: one range of offsets, outputs as they come
  int64_t tile = 128;  // outputs
};

struct OutputOrder {
  struct Tile {
    std::vector<int32_t> outputs = {};  // at most the tile's height
    std::vector<int32_t> offsets = {};  // that any of them needs, ascending
  };
  int64_t tile = 0;
  std::vector<std::vector<Tile>> splits = {};
  int64_t maps = 0;
  int64_t computed = 0;

  int64_t redundant() const { return computed - maps; }
};

// InvalidArgument if the tile is not at least 1, if there are fewer offsets than splits, or if a
// split has more than the 64 offsets of a mask.
absl::StatusOr<OutputOrder> OrderOutputs(const KernelMap& map, const OrderOptions& options);

}  // namespace amc
