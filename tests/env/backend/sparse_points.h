// Random sparse points for tests.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "base/rng.h"
#include "env/backend/kernel_map.h"

namespace amc::testing {

// At most `count` different points of [low, high)^dimensions, in random order.
inline Points RandomPoints(int64_t dimensions, int64_t count, int32_t low, int32_t high, Rng& rng) {
  std::set<std::vector<int32_t>> places;
  for (int64_t i = 0; i < count; ++i) {
    std::vector<int32_t> place;
    for (int64_t d = 0; d < dimensions; ++d) {
      place.push_back(low + static_cast<int32_t>(rng.Below(static_cast<uint64_t>(high - low))));
    }
    places.insert(place);
  }
  const std::vector<std::vector<int32_t>> sorted(places.begin(), places.end());
  Points points{dimensions};
  for (const int64_t i : rng.Permutation(static_cast<int64_t>(sorted.size()))) {
    points.coordinates.insert(points.coordinates.end(), sorted[i].begin(), sorted[i].end());
  }
  return points;
}

}  // namespace amc::testing
