// How long a layer takes on the tensor cores of an NVIDIA A100 SXM 80 GB at least, dense and with
// 2:4 sparsity: a roofline (Williams et al., CACM 2009). Simulated; nothing here was measured.
//
//   seconds = max(MACs / peak, bytes / bandwidth)      of one image
//
//   MACs   outputs x inputs of one output x positions; 2:4 leaves half of them
//   bytes  weights (of 2:4 values, metadata and scales), and the activations read and made, each
//          once; 2 bytes a number, of int8 1
//
// Figures from NVIDIA's "A100 Tensor Core GPU" datasheet (2021) and the "A100 Tensor Core GPU
// Architecture" whitepaper (2020): a MAC is two of its operations.
//
//   fp16, bf16  312 T operations/s dense, 624 with 2:4: 108 multiprocessors of 1,024 dense MACs a
//               cycle, at 1,410 MHz
//   int8        624 and 1,248
//   HBM2e       2,039 GB/s
//
// With 16 bits 2:4 saves 1/2 of the MACs and 7/16 of the weights' bytes: it is at most twice as
// fast where MACs decide and 16/9 times where weights do. Real times are longer: launches, tiles
// that a layer does not fill (so small layers gain nothing), im2col, caches that are missed, clocks
// below boost, and whatever is not a convolution or linear layer are left out.
#pragma once

#include <cstdint>

#include "env/backend/nvidia24_file.h"
#include "env/graph/layer_weights.h"

namespace amc {

inline constexpr double kA100Megahertz = 1410;

enum class TensorCores { kDense, kTwoOfFour };

struct RooflineTime {
  int64_t cycles = 0;  // begun ones, at boost clock
  double microseconds = 0;
};

// Of a layer whose weights take `weight_bytes`, grouped convolutions included.
RooflineTime A100Time(const LayerWeights& layer, int64_t weight_bytes, Nvidia24Type type,
                      TensorCores cores);

}  // namespace amc
