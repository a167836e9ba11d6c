// Searching sparsity within weights instead of channels: the same environment, other groups.
//
// Every layer whose weight has units of the granularity (env/prune/sparsity.h) is a group of its
// own, named as the weight. Its "channels" are the shares that may stay, 256, or for N:M the M
// inputs of which N or all stay; it appears in no axis, so that channels, MACs and parameters stay
// what they are. What it costs is the sum of what its layers cost: a table for each. Works on
// weightless graphs.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/cost/cost_model.h"
#include "env/cost/latency_table.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"
#include "env/graph/layer_weights.h"
#include "env/prune/sparsity.h"

namespace amc {

struct SparseSpace {
  Granularity granularity = Granularity::kElement;
  int64_t n = 2, m = 4;  // of kNM: a layer keeps n of every m inputs, or all
  SparsityOptions options = {};
};

// One group for every layer that can be pruned so, in topological order; the others are barriers,
// with the reason. InvalidArgument for options out of range, a granularity that is kChannel, or
// n and m unless 1 <= n < m <= 64 and n divides m; errors of ListLayerShapes.
absl::StatusOr<Grouping> WeightGroups(const Graph& graph, const SparseSpace& space);

// What counts of such groups mean for the layers, but for those that stay whole: a group that keeps
// all its shares keeps every weight, also where patterns would leave 4 of 9.
std::vector<SparseDecision> SparseDecisions(const Grouping& grouping,
                                            absl::Span<const int64_t> kept);

// Weights that are not zero, of all layers that ListLayerShapes lists. Works on counts of
// `grouping`, which must be that of `graph` and `space`.
absl::StatusOr<std::unique_ptr<CostFunction>> NonZeroCost(const Graph& graph,
                                                          const Grouping& grouping,
                                                          const SparseSpace& space);

// What a table of a simulated runtime predicts (env/sparse_latency.h), in nanoseconds: between its
// points linear, layers that it has only whole added as they are. NotFound names the layers that
// the table lacks.
absl::StatusOr<std::unique_ptr<CostFunction>> SimulatedCost(const Graph& graph,
                                                            const Grouping& grouping,
                                                            const SparseSpace& space,
                                                            const LatencyTable& table);

// The kind of a layer in such a table, which holds for this shape and these units alone:
// "sparse element 16x3x3x3 conv1.weight", "sparse 2:4 10x64x1x1 fc.weight"; "sparse whole ..." of
// layers that have no such units. Texts that a table cannot hold (commas, quotes) become _.
std::string SparseKind(const LayerWeights& layer, const SparseSpace& space, bool whole);

}  // namespace amc
