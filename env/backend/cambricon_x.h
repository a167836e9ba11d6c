// The backend "cambricon_x": the accelerator of Zhang et al. (MICRO 2016), simulated.
//
// An output neuron's weights that are not zero (its synapses) lie together, with an index that
// picks the inputs they multiply: by direct indexing, one bit for every input, or by step indexing,
// the distance of each synapse from the one before. Inputs pass by in windows of 256, out of which
// a processing element picks 16 a cycle for its 16 multipliers; a window takes a cycle even where
// none is picked. There are 16 elements; neuron o runs on element o mod 16, and an element goes on
// to its next neuron without waiting for others. Inputs that are zero are not skipped, so that the
// cycles of a product are
//
//   max over elements of the sum, over their neurons and windows, of max(1, ceil(synapses / 16))
//
// and a convolution takes that for each output position; its inputs are in the order ky, kx, c. All
// neurons share one window, which those of other convolution groups could not use: grouped
// convolutions are refused. Published: both ways of indexing, 16 elements, 544 GOP/s, 7.23 times
// DianNao's speed. From memory: the windows, 16 multipliers, 1 GHz (16 x 16 multiplications and
// additions a cycle are 512 of the 544 GOP/s). Ours: the order of neurons, and all of the file:
//
//   0   4  "CBX1"
//   4   2  version, 1
//   6   1  indexing: 0 direct, 1 step
//   7   1  fraction bits of the values
//   8   4  rows
//   12  4  columns
//   16  4  synapses
//   20     synapses, i16 each, row by row; then for each row, for each window of up to 256 columns,
//          direct:  a bit for each column, the first in a byte's lowest bit, to whole bytes
//          step:    u16 number of synapses; a byte for each: its distance from the synapse before,
//                   or the first one's from the window's start
//
// Steps start anew in each window, so that they always fit a byte.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "env/backend/backend.h"
#include "env/graph/layer_weights.h"

namespace amc {

enum class CambriconXIndexing { kDirect = 0, kStep = 1 };

// The file, with the index that makes it smaller if none is asked for (direct if both are equal).
// FailedPrecondition if values do not fit fixed point.
absl::StatusOr<std::string> EncodeCambriconX(const DenseMatrix& matrix,
                                             std::optional<CambriconXIndexing> indexing = {});

// Of one product.
int64_t CambriconXCycles(const DenseMatrix& matrix);

const Backend& CambriconXBackend();

}  // namespace amc
