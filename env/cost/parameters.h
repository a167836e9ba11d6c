// Which constants of a graph training changes, and how often each of their numbers multiplies.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "env/graph/graph.h"

namespace amc {

// A constant that `node` reads as its weight, bias, scale or shift. Each of its elements costs
// `macs_per_element` multiply-accumulates per image (output positions for weights, 0 for the rest).
struct Parameter {
  NodeId node = NodeId::kNone;
  TensorId tensor = TensorId::kNone;
  int64_t macs_per_element = 0;
  bool counts = true;  // false where an earlier node has counted the same tensor
};

// In topological order of nodes. InvalidArgument names a node whose shapes are missing.
absl::StatusOr<std::vector<Parameter>> ListParameters(const Graph& graph);

// Nodes that multiply activations with weights or with each other and of which ListParameters knows
// nothing: convolutions and matrix products of unknown shape or without constant weights, recurrent
// and transposed ones. Every cost of such a graph is a lower bound.
std::vector<NodeId> UncountedLayers(const Graph& graph);

}  // namespace amc
