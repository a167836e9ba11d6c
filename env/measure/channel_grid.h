// The channel counts at which layers are measured.
//
// Vectorised kernels work in blocks of 8 or 16 channels: time is nearly flat from 8k + 1 to 8k + 8
// and steps up behind. So a grid holds both sides of steps, 8k and 8k + 1, of 16 where there are
// more than 64 channels, and the ends. Where there are too many steps it takes those whose counts
// grow by equal factors: one block more matters in 4, not in 60.
//
// Some kernels take multiples of 4 or 8 alone, and others are twice as slow (ONNX Runtime: 31 input
// channels of a 3x3 convolution 67 us, 32 of them 33 us). What lies between an even and an odd
// count is then like neither. Where policies keep multiples of 8 alone, so should the grid.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace amc {

inline constexpr size_t kMaxGridPoints = 14;

// For counts from `smallest` to `channels`: both, and at most max_points - 2 between them,
// ascending. With `multiple` above 1, for the multiples of it from `smallest` on and `channels`
// itself: steps have 8k and 8k + multiple on their sides. Requires 1 <= smallest <= channels,
// max_points >= 2 and multiple >= 1.
std::vector<int64_t> ChannelGrid(int64_t channels, int64_t smallest = 1,
                                 size_t max_points = kMaxGridPoints, int64_t multiple = 1);

}  // namespace amc
