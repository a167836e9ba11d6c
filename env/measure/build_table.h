// Measures the rows of a latency table: which points a network needs, and how long they take.
//
// A point is timed as layer_network.h says, together with its baseline, which is subtracted: the
// runtime's call, layouts at a network's edges and, on small layers, most of what a clock would
// show. What is left is never below kLeastMicroseconds.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "env/cost/latency_layers.h"
#include "env/cost/latency_table.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"
#include "env/measure/channel_grid.h"
#include "env/measure/runtime.h"
#include "env/measure/sampler.h"

namespace amc {

inline constexpr double kLeastMicroseconds = 0.05;

struct TablePoint {
  LatencyLayer layer;  // of its kind, the first in the graph
  int64_t in = 0, out = 0;
};

// The points that `so_far` lacks of full grids for all layers of the graph, sorted by kind, in,
// out. Each axis of a grid goes from the fewest channels that a layer of the kind can keep to the
// most that one has originally, with every layer's original count in it and, of grouped
// convolutions, multiples of the groups. An axis of `so_far` that covers that is left as it is, and
// another one grows. Works on weightless graphs; errors of ListLatencyLayers.
absl::StatusOr<std::vector<TablePoint>> PlanTable(const Graph& graph, const Grouping& grouping,
                                                  const LatencyTable& so_far,
                                                  size_t max_grid_points = kMaxGridPoints,
                                                  int64_t channel_multiple = 1);

// A plan, sorted as PlanTable's, in parts that can be measured apart: each of one kind, and cut
// between two input counts, whose points share a baseline, once it has `most` points.
std::vector<absl::Span<const TablePoint>> SplitPlan(absl::Span<const TablePoint> points,
                                                    size_t most);

struct MeasureOptions {
  SamplerOptions sampler = {};  // max_time: of each set that is loaded together
  // What is loaded together and timed against one another, baselines included.
  int64_t max_networks = 32;
  int64_t max_weight_bytes = int64_t{256} << 20;  // at least one network
};

struct MeasuredRows {
  std::vector<LatencyRow> rows;  // in the order of the points
  int64_t unstable = 0;          // rows that did not come within the tolerance
};

// `points` are PlanTable's of `graph`, or some of them: those of one kind make a part of a table
// that can be kept. Errors name the layer.
absl::StatusOr<MeasuredRows> MeasurePoints(
    Runtime& runtime, const Graph& graph, absl::Span<const TablePoint> points,
    const MeasureOptions& options, const std::function<void(size_t done, size_t total)>& progress);

// A sampler on `runtime`. Its reference is `graph` if there has been none yet: neighbours slow some
// networks down more than others (here a convolution by 22% while ResNet-20 lost 13%), so a network
// is best timed against itself, and its layers, in the sum, too. Where `graph` cannot be run (no
// weights, an operator refused), it is MakeReferenceNetwork.
absl::StatusOr<Sampler> MakeSampler(Runtime& runtime, const Graph& graph,
                                    const SamplerOptions& options);
// Microseconds of the reference: of the first measurement, which this one is if there was none.
double ReferenceUs(Runtime& runtime, const Sampler& sampler);

// Bytes of the graph's constants.
int64_t WeightBytes(const Graph& graph);

}  // namespace amc
