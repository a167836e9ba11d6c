// Removes what exporters leave behind: Constant nodes, arithmetic on shapes, weights that are
// reshaped or transposed before they are used.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "env/graph/constant_value.h"
#include "env/graph/graph.h"

namespace amc {

// What is known of each tensor's value, by tensor index: constants and symbolic integers.
using KnownValues = std::vector<std::optional<KnownValue>>;

// Gives shapes and types to the outputs of a node that the graph does not know, if it can.
using InferUnknown = std::function<void(Graph& graph, const Node& node, const KnownValues& values)>;

// Walks the nodes once, in topological order, inferring shapes and folding on the way.
//
// Afterwards a node whose inputs are constants and whose operator is one that exporters compute
// shapes with (Shape, Gather, Concat, Cast, Slice, ...) or that merely rearranges (Identity,
// Reshape, Transpose, ...) is a constant, unless the network returns it. Reshape targets that
// depend on the batch alone are constants with 0 or -1 in its place. Nodes that this leaves without
// readers are gone. Nodes that cannot be followed (a parameter computed at run time, an input of
// unknown shape, something that shapes cannot express) have become kUnknown.
//
// InvalidArgument: as InferShapes; a tensor too large to be real.
absl::Status FoldConstants(Graph& graph, const InferUnknown& infer_unknown);

}  // namespace amc
