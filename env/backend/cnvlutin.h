// The backend "cnvlutin": the accelerator of Albericio et al. (ISCA 2016), simulated.
//
// Cnvlutin skips activations that are zero; weights stay dense. Its baseline, DaDianNao, takes a
// brick of 16 activations (neighbours in depth, zfnaf.h) a cycle, one to each of 16 lanes, and
// multiplies each with weights of 256 filters (16 units of 16): Fx * Fy * ceil(C / 16) cycles for a
// window, once for every 256 filters. Cnvlutin gives every lane bricks of its own, and a lane takes
// a cycle for every activation of its bricks that is not zero. All lanes finish a window before the
// next one begins:
//
//   cycles of a window = max over 16 lanes of the sum over its bricks of max(1, values not zero)
//
// A brick without any takes a cycle because a lane is handed one brick a cycle; so does one in the
// padding. Brick j of a window, counted in the order ky, kx, depth, goes to lane j mod 16. (The
// paper divides a window in depth; for depths that are multiples of 256 both are the same. The
// cycle for empty bricks and the clock, DaDianNao's 606 MHz, are from memory.) Windows of fewer
// than 16 bricks leave lanes idle, and may take longer than the baseline's.
//
// A linear layer is a convolution whose one window is its whole input, and skips zeros as others
// do; the published speeds (1.24 to 1.55 times the baseline, 1.37 on average) are of networks whose
// time is nearly all convolutions. Layers that read the image itself have no zeros to skip; the
// paper leaves them as they are, and so may a caller. All filters of a pass read the same bricks:
// grouped convolutions are refused.
//
// The file, filters as they lie in the synapse buffers:
//
//   0   4  "CNV1"
//   4   2  version, 1
//   6   1  fraction bits of the values
//   7   4  rows: filters
//   11  4  columns, in the order ky, kx, c
//   15  4  channels: c, a divisor of the columns
//   19     i16 x rows x columns
#pragma once

#include <cstdint>

#include "env/backend/backend.h"

namespace amc {

struct CnvlutinCycles {
  int64_t cycles = 0;
  int64_t baseline = 0;  // DaDianNao's
};

// For all windows of an image. The layer has one group and `input` the size that it reads.
CnvlutinCycles CountCnvlutinCycles(const LayerWeights& layer, const LayerInput& input);

const Backend& CnvlutinBackend();

}  // namespace amc
