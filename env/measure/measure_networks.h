// Times whole networks against one another: what tables are fitted to and judged by.
#pragma once

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/graph/graph.h"
#include "env/measure/build_table.h"
#include "env/measure/runtime.h"

namespace amc {

struct NetworkTime {
  double median_us = 0;
  double spread_us = 0;  // interquartile range of single runs
  // |a - b| / mean of the medians of two independent measurements, each of which came within the
  // tolerance: about the least error that any prediction can have.
  double repeatability = 0;
  bool stable = false;
};

// In the order of `networks`. Networks beyond the options' bounds (of weights, tens of times
// theirs) are loaded set by set, each timed in the same references. Errors name the network.
absl::StatusOr<std::vector<NetworkTime>> MeasureNetworks(
    Runtime& runtime, absl::Span<const Graph> networks, const MeasureOptions& options,
    const std::function<void(size_t done, size_t total)>& progress);

}  // namespace amc
