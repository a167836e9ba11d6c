#include "env/measure/channel_grid.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/log.h"

namespace amc {
namespace {

constexpr int64_t kManyChannels = 64;

// At most `count` of first..last, growing by nearly equal factors, with both ends.
std::set<int64_t> GeometricSteps(int64_t first, int64_t last, size_t count) {
  std::set<int64_t> steps;
  if (first > last || count == 0) return steps;
  const double ratio = static_cast<double>(last) / static_cast<double>(first);
  for (size_t i = 0; i < count; ++i) {
    const double share = count == 1 ? 1 : static_cast<double>(i) / static_cast<double>(count - 1);
    steps.insert(std::llround(static_cast<double>(first) * std::pow(ratio, share)));
  }
  // Roundings that fell together leave room, which the smallest missing ones fill.
  for (int64_t step = first; step <= last && steps.size() < count; ++step) steps.insert(step);
  return steps;
}

}  // namespace

std::vector<int64_t> ChannelGrid(int64_t channels, int64_t smallest, size_t max_points,
                                 int64_t multiple) {
  AMC_CHECK(smallest >= 1 && smallest <= channels && max_points >= 2 && multiple >= 1)
      << channels << " channels from " << smallest << " in " << max_points
      << " points, multiples of " << multiple;
  const auto round_up = [multiple](int64_t count) {
    return (count + multiple - 1) / multiple * multiple;
  };
  smallest = std::min(round_up(smallest), channels);
  std::set<int64_t> points = {smallest, channels};
  const int64_t block = round_up(channels <= kManyChannels ? 8 : 16);
  // Steps with smallest <= k * block < channels; each has two points.
  const int64_t first = (smallest + block - 1) / block;
  const int64_t last = (channels - 1) / block;
  for (const int64_t step : GeometricSteps(first, last, (max_points - 2) / 2)) {
    points.insert(step * block);
    points.insert(std::min(step * block + multiple, channels));
  }
  return {points.begin(), points.end()};
}

}  // namespace amc
