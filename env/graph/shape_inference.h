// Shapes of all activations from the shapes of inputs and constants.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "env/graph/graph.h"

namespace amc {

// A tensor of more elements (per image, where the batch is dynamic) is refused as corrupt.
inline constexpr int64_t kMaxTensorElements = int64_t{1} << 34;

// InvalidArgument, naming the shape, if a dimension is negative or the dimensions, zeros and the
// dynamic batch aside, multiply to more than kMaxTensorElements. Every shape from outside and every
// inferred one passes here, so that no product of some of a tensor's dimensions overflows, though a
// zero among them hides how large the others are.
absl::Status CheckShape(const Shape& shape);

// Recomputes the shape of every output of a known operator in topological order (weightless
// constants suffice, except where an operator reads values: Reshape targets, Pad amounts, Slice
// ranges). Outputs of unknown operators keep the shape that is recorded, if any. InvalidArgument
// names the node and what does not fit: inputs that are missing or of unknown shape, shapes that
// contradict each other, a tensor too large to be real. Unimplemented: a shape that the graph
// cannot express, such as one with a multiple of the dynamic batch.
absl::Status InferShapes(Graph& graph);

// The same for the outputs of one node of a known operator.
absl::Status InferNodeShapes(Graph& graph, const Node& node);

}  // namespace amc
