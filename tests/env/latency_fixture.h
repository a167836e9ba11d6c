// Latency tables for tests: times that somebody made up, with grids that cover a network.
#pragma once

#include <cmath>
#include <cstdint>

#include "base/rng.h"
#include "gtest/gtest.h"
#include "tests/env/cost/random_latency_table.h"

namespace amc {

// A table of all of a network's layers. More channels take longer on the whole, by their product,
// but every point is off by up to `noise` of itself, so that with noise the cost is not monotone.
inline LatencyTable MadeUpTable(const Graph& graph, double noise, uint64_t seed = 1) {
  const absl::StatusOr<Grouping> grouping = BuildGroups(graph);
  EXPECT_TRUE(grouping.ok()) << grouping.status();
  const absl::StatusOr<LatencyLayers> layers = ListLatencyLayers(graph, *grouping);
  EXPECT_TRUE(layers.ok()) << layers.status();
  LatencyTable table = amc::testing::RandomLatencyTable(*layers, seed);
  Rng rng(seed);
  for (LatencyRow& row : table.rows) {
    const double work = 5 + 0.05 * static_cast<double>(row.in) * std::sqrt(row.out);
    row.median_us = work * (1 + noise * rng.Uniform(-1, 1));
  }
  return table;
}

}  // namespace amc
