// Whether a backend's file of a layer is what it should be, and what a layer's zeros keep to.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "env/backend/backend.h"
#include "env/graph/layer_weights.h"

namespace amc {

// Reads the file, compares it with the layer's weights, within the backend's tolerance, and runs it
// on a few random vectors against a dense product of what was read. DataLoss says where they
// differ; errors of Read, Run and Tolerance. Gives that tolerance.
absl::StatusOr<double> CheckLayerFile(const Backend& backend, const LayerWeights& layer,
                                      absl::string_view file);

// The first of these, from coarse to fine, that the zeros keep to: "dense" (there are none),
// "kernel" (whole kernels of one output and one input), "block" (whole blocks of 4 x 4 weights of
// outputs x features, channels first), "pattern" (3x3 kernels that keep at most 4 entries each),
// "2:4" (at most 2 of 4 neighbouring input channels are kept at a kernel position, or of 4 inputs),
// "vector" (whole rows of kernels), "element".
std::string ZeroPattern(const LayerWeights& layer);

}  // namespace amc
