#include "env/backend/kernel_map.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr int64_t kMaxDimensions = 4;
constexpr int64_t kMaxOffsets = int64_t{1} << 16;
constexpr int64_t kMaxPoints = std::numeric_limits<int32_t>::max();
constexpr int32_t kNoInput = -1;

// 64 bits hold any 32-bit coordinate times a stride, plus an offset. Dimensions that are not there
// are 0.
using Place = std::array<int64_t, kMaxDimensions>;

absl::Status CheckPoints(const Points& points, absl::string_view name) {
  if (points.dimensions < 1 || points.dimensions > kMaxDimensions) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", points.dimensions, " dimensions, want 1 to ", kMaxDimensions));
  }
  const auto count = static_cast<int64_t>(points.coordinates.size());
  if (count % points.dimensions != 0 || points.size() > kMaxPoints) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", count, " coordinates of ", points.dimensions,
                     " dimensions, want whole points, at most ", kMaxPoints));
  }
  return absl::OkStatus();
}

absl::Status CheckStride(const std::vector<int32_t>& stride, int64_t dimensions) {
  if (static_cast<int64_t>(stride.size()) != dimensions ||
      std::any_of(stride.begin(), stride.end(), [](int32_t s) { return s < 1; })) {
    return absl::InvalidArgumentError(absl::StrCat("stride (", absl::StrJoin(stride, ", "),
                                                   "), want ", dimensions, " of at least 1"));
  }
  return absl::OkStatus();
}

absl::Status CheckGeometry(const KernelGeometry& geometry, int64_t dimensions) {
  int64_t volume = 1;
  for (const int32_t extent : geometry.kernel) {
    if (extent < 1 || extent % 2 == 0) volume = kMaxOffsets + 1;
    volume = std::min(volume * std::max(extent, 1), kMaxOffsets + 1);
  }
  if (static_cast<int64_t>(geometry.kernel.size()) != dimensions || volume > kMaxOffsets) {
    return absl::InvalidArgumentError(
        absl::StrCat("kernel (", absl::StrJoin(geometry.kernel, ", "), "), want ", dimensions,
                     " odd extents and at most ", kMaxOffsets, " offsets"));
  }
  if (geometry.stride.empty()) return absl::OkStatus();
  return CheckStride(geometry.stride, dimensions);
}

absl::Status CheckLayer(const Points& inputs, const Points& outputs,
                        const KernelGeometry& geometry) {
  AMC_RETURN_IF_ERROR(CheckPoints(inputs, "inputs"));
  AMC_RETURN_IF_ERROR(CheckPoints(outputs, "outputs"));
  if (inputs.dimensions != outputs.dimensions) {
    return absl::InvalidArgumentError(absl::StrCat("inputs have ", inputs.dimensions,
                                                   " dimensions, outputs ", outputs.dimensions));
  }
  return CheckGeometry(geometry, inputs.dimensions);
}

Place PlaceOf(const Points& points, int64_t i) {
  Place place{};
  for (int64_t d = 0; d < points.dimensions; ++d) {
    place[d] = points.coordinates[static_cast<size_t>(i * points.dimensions + d)];
  }
  return place;
}

// stride * q of every output q.
std::vector<Place> ScaledPlaces(const Points& points, const std::vector<int32_t>& stride) {
  std::vector<Place> places(static_cast<size_t>(points.size()));
  for (int64_t i = 0; i < points.size(); ++i) {
    places[i] = PlaceOf(points, i);
    for (size_t d = 0; d < stride.size(); ++d) places[i][d] *= stride[d];
  }
  return places;
}

Place Plus(Place place, const Place& offset) {
  for (size_t d = 0; d < place.size(); ++d) place[d] += offset[d];
  return place;
}

// The kernel's offsets, x fastest.
std::vector<Place> Offsets(const KernelGeometry& geometry) {
  std::vector<Place> offsets(static_cast<size_t>(geometry.volume()));
  for (size_t i = 0; i < offsets.size(); ++i) {
    auto rest = static_cast<int64_t>(i);
    for (size_t d = 0; d < geometry.kernel.size(); ++d) {
      offsets[i][d] = rest % geometry.kernel[d] - geometry.kernel[d] / 2;
      rest /= geometry.kernel[d];
    }
  }
  return offsets;
}

absl::Status Twice(absl::string_view name, const Points& points, int64_t first, int64_t second) {
  const auto begin = points.coordinates.begin() + first * points.dimensions;
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": points ", std::min(first, second), " and ", std::max(first, second),
                   " are both at (", absl::StrJoin(begin, begin + points.dimensions, ", "), ")"));
}

using PlaceIndex = absl::flat_hash_map<Place, int32_t>;

absl::StatusOr<PlaceIndex> Index(const Points& points, absl::string_view name) {
  PlaceIndex index;
  index.reserve(static_cast<size_t>(points.size()));
  for (int64_t i = 0; i < points.size(); ++i) {
    const auto [found, fresh] = index.emplace(PlaceOf(points, i), static_cast<int32_t>(i));
    if (!fresh) return Twice(name, points, found->second, i);
  }
  return index;
}

absl::StatusOr<std::vector<int32_t>> SortedOrder(const Points& points, absl::string_view name) {
  const std::vector<Place> places = ScaledPlaces(points, {});
  std::vector<int32_t> order(places.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int32_t a, int32_t b) { return places[a] < places[b]; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (places[order[i - 1]] == places[order[i]]) {
      return Twice(name, points, order[i - 1], order[i]);
    }
  }
  return order;
}

// Adds one offset's entries: `inputs` has the input of every output or kNoInput.
absl::Status Append(const std::vector<int32_t>& inputs, KernelMap& map) {
  const size_t before = map.entries.size();
  for (size_t q = 0; q < inputs.size(); ++q) {
    if (inputs[q] != kNoInput) map.entries.push_back({inputs[q], static_cast<int32_t>(q)});
  }
  if (map.entries.size() > static_cast<size_t>(kMaxPoints)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a kernel map of more than ", kMaxPoints, " entries"));
  }
  map.sizes.push_back(static_cast<int32_t>(map.entries.size() - before));
  return absl::OkStatus();
}

}  // namespace

int64_t KernelGeometry::volume() const {
  return std::accumulate(kernel.begin(), kernel.end(), int64_t{1}, std::multiplies<>());
}

std::vector<int64_t> KernelMap::Starts() const {
  std::vector<int64_t> starts = {0};
  for (const int32_t size : sizes) starts.push_back(starts.back() + size);
  return starts;
}

absl::StatusOr<KernelMap> BuildKernelMapByHash(const Points& inputs, const Points& outputs,
                                               const KernelGeometry& geometry) {
  AMC_RETURN_IF_ERROR(CheckLayer(inputs, outputs, geometry));
  AMC_ASSIGN_OR_RETURN(const PlaceIndex index, Index(inputs, "inputs"));
  AMC_RETURN_IF_ERROR(Index(outputs, "outputs").status());
  const std::vector<Place> scaled = ScaledPlaces(outputs, geometry.stride);
  KernelMap map{inputs.size(), outputs.size()};
  std::vector<int32_t> found(scaled.size());
  for (const Place& offset : Offsets(geometry)) {
    for (size_t q = 0; q < scaled.size(); ++q) {
      const auto entry = index.find(Plus(scaled[q], offset));
      found[q] = entry == index.end() ? kNoInput : entry->second;
    }
    AMC_RETURN_IF_ERROR(Append(found, map));
  }
  return map;
}

absl::StatusOr<KernelMap> BuildKernelMapByMergeSort(const Points& inputs, const Points& outputs,
                                                    const KernelGeometry& geometry) {
  AMC_RETURN_IF_ERROR(CheckLayer(inputs, outputs, geometry));
  AMC_ASSIGN_OR_RETURN(const std::vector<int32_t> input_order, SortedOrder(inputs, "inputs"));
  AMC_ASSIGN_OR_RETURN(const std::vector<int32_t> output_order, SortedOrder(outputs, "outputs"));
  const std::vector<Place> places = ScaledPlaces(inputs, {});
  // Scaling and shifting all outputs alike leaves their order as it is.
  const std::vector<Place> scaled = ScaledPlaces(outputs, geometry.stride);
  KernelMap map{inputs.size(), outputs.size()};
  std::vector<int32_t> found(scaled.size());
  for (const Place& offset : Offsets(geometry)) {
    std::fill(found.begin(), found.end(), kNoInput);
    size_t p = 0;
    for (const int32_t q : output_order) {
      const Place wanted = Plus(scaled[q], offset);
      while (p < input_order.size() && places[input_order[p]] < wanted) ++p;
      if (p == input_order.size()) break;
      if (places[input_order[p]] == wanted) found[q] = input_order[p];
    }
    AMC_RETURN_IF_ERROR(Append(found, map));
  }
  return map;
}

absl::StatusOr<Points> Downsample(const Points& points, const std::vector<int32_t>& stride) {
  AMC_RETURN_IF_ERROR(CheckPoints(points, "points"));
  AMC_RETURN_IF_ERROR(CheckStride(stride, points.dimensions));
  std::set<Place> places;
  for (int64_t i = 0; i < points.size(); ++i) {
    Place place = PlaceOf(points, i);
    for (int64_t d = 0; d < points.dimensions; ++d) {
      const int64_t below = place[d] % stride[d] < 0 ? 1 : 0;
      place[d] = place[d] / stride[d] - below;
    }
    places.insert(place);
  }
  Points result{points.dimensions};
  for (const Place& place : places) {
    for (int64_t d = 0; d < points.dimensions; ++d) {
      result.coordinates.push_back(static_cast<int32_t>(place[d]));
    }
  }
  return result;
}

}  // namespace amc
