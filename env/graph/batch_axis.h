// The batch axis of a network as it came from a file.
//
// Many files fix the batch (often at 1) although the network does not care. Evaluation wants any
// batch, so the axis becomes dynamic where nothing depends on its size.
#pragma once

#include "absl/status/statusor.h"
#include "env/graph/constant_folding.h"
#include "env/graph/graph.h"

namespace amc {

// Folds constants (constant_folding.h) in a graph as the file has it. Then, if all inputs fix their
// first axis at the same size, that axis becomes dynamic and Graph::fixed_batch keeps the size,
// provided that every operator is known and every shape is the same as before when the batch has
// that size; Reshape targets that name the size get 0 in its place. Otherwise the size stays.
absl::StatusOr<Graph> SettleBatchAxis(Graph graph, const InferUnknown& infer_unknown);

}  // namespace amc
