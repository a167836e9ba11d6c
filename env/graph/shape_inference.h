// Shapes of all activations from the shapes of inputs and constants.
#pragma once

#include "absl/status/status.h"
#include "env/graph/graph.h"

namespace amc {

// Recomputes the shape of every output of a known operator in topological order (weightless
// constants suffice, except where an operator reads values: Reshape targets, Pad amounts, Slice
// ranges). Outputs of unknown operators keep the shape that is recorded, if any. InvalidArgument
// names the node and the shapes that do not fit.
absl::Status InferShapes(Graph& graph);

}  // namespace amc
