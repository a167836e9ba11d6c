// The windows that a layer sees of its input, one for each output position: what simulated hardware
// counts zeros in. A linear layer sees its input through one 1x1 kernel.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "env/backend/backend.h"

namespace amc {

// InvalidArgument if `input` has another size than the layer reads.
absl::Status CheckInput(const LayerWeights& layer, const LayerInput& input);

// Where kernel positions (ky, kx) lie at output position `position` (row by row): offsets into one
// channel's plane of the input, -1 in the padding.
std::vector<int64_t> WindowOffsets(const LayerWeights& layer, int64_t position);

}  // namespace amc
