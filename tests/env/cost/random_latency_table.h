// Latency tables for tests and benchmarks: of every layer that a network has, with random times.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "env/cost/latency_layers.h"
#include "env/cost/latency_table.h"

namespace amc::testing {

inline LatencyTable EmptyLatencyTable() {
  LatencyTable table;
  table.setting = {.device = "Test CPU, 2 cores", .runtime = "libtorch", .version = "1.13.1"};
  table.date = "2026-11-20T22:15:01Z";
  table.tolerance = 0.02;
  return table;
}

// For every kind a grid of up to `points` random channel counts a side, the last of which is
// the most that a layer has.
inline LatencyTable RandomLatencyTable(const LatencyLayers& layers, uint64_t seed, int points = 6) {
  Rng rng(seed);
  struct Kind {
    bool depthwise = false;
    int64_t in = 1, out = 1;
  };
  std::map<std::string, Kind> kinds;
  const auto channels = layers.extents.channels();
  for (const LatencyLayer& layer : layers.layers) {
    Kind& kind = kinds[layer.kind];
    kind.depthwise = layer.depthwise;
    kind.in = std::max(kind.in, layers.extents.Length(layer.in, channels));
    kind.out = std::max(kind.out, layers.extents.Length(layer.out, channels));
  }
  const auto some = [&rng, points](int64_t most) {
    std::set<int64_t> counts = {most};
    for (int i = 1; i < points; ++i) {
      counts.insert(1 + static_cast<int64_t>(rng.Below(static_cast<uint64_t>(most))));
    }
    return counts;
  };
  LatencyTable table = EmptyLatencyTable();
  for (const auto& [name, kind] : kinds) {
    const std::set<int64_t> outs = some(kind.out);
    for (const int64_t in : some(kind.in)) {
      for (const int64_t out : kind.depthwise ? std::set<int64_t>{in} : outs) {
        table.rows.push_back({name, in, out, rng.Uniform(1, 100), rng.Uniform()});
      }
    }
  }
  return table;
}

}  // namespace amc::testing
