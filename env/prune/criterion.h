// Which channels of a group go first: one score per channel, larger is worth keeping.
//
// l1 and l2 look at the weights that make a channel, energy at what its consumers make of it,
// greedy at what they could not make up for without it. Energy and greedy need the activations'
// moments (torch_elimination.h); the two here are arithmetic on weights.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"
#include "env/prune/surgery.h"

namespace amc {

// Norm (`order` 1 or 2) of the slices of the producers' weights that make each channel of `group`,
// summed over producers in quadrature. Channels without a producer score 0.
absl::StatusOr<std::vector<double>> WeightNorms(const Graph& graph, const Grouping& grouping,
                                                size_t group, int order);

// The `kept` best channels of `group`, ascending; the same number from each of its cells, the lower
// index on ties. `kept` is a positive multiple of the cells.
std::vector<int32_t> SelectChannels(const PruneGroup& group, absl::Span<const double> scores,
                                    int64_t kept);

// InvalidArgument unless `kept` has one count per group, each from 1 to its channels and divisible
// by its cells; the message names the group and both counts.
absl::Status CheckKept(const Grouping& grouping, absl::Span<const int64_t> kept);

}  // namespace amc
