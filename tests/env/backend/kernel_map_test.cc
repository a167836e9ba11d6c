#include "env/backend/kernel_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <limits>

#include "base/rng.h"
#include "env/backend/output_order.h"
#include "tests/env/backend/sparse_points.h"

namespace amc {
namespace {

using ::amc::testing::RandomPoints;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int32_t kLeast = std::numeric_limits<int32_t>::min();
constexpr int32_t kMost = std::numeric_limits<int32_t>::max();

// Every output, every input, every offset.
KernelMap BruteForce(const Points& inputs, const Points& outputs, const KernelGeometry& geometry) {
  KernelMap map{inputs.size(), outputs.size()};
  const int64_t dimensions = inputs.dimensions;
  for (int64_t offset = 0; offset < geometry.volume(); ++offset) {
    int32_t size = 0;
    for (int64_t q = 0; q < outputs.size(); ++q) {
      for (int64_t p = 0; p < inputs.size(); ++p) {
        bool same = true;
        int64_t rest = offset;
        for (int64_t d = 0; d < dimensions; ++d) {
          const int64_t extent = geometry.kernel[d];
          const int64_t stride = geometry.stride.empty() ? 1 : geometry.stride[d];
          same = same &&
                 inputs.coordinates[p * dimensions + d] ==
                     stride * outputs.coordinates[q * dimensions + d] + rest % extent - extent / 2;
          rest /= extent;
        }
        if (!same) continue;
        map.entries.push_back({static_cast<int32_t>(p), static_cast<int32_t>(q)});
        ++size;
      }
    }
    map.sizes.push_back(size);
  }
  return map;
}

// The five points of the lecture on sparse convolutions, and its 11 maps.
TEST(KernelMapTest, LecturePoints) {
  const Points points{2, {0, 0, 1, 1, 1, 3, 2, 1, 3, 2}};
  const KernelGeometry geometry{{3, 3}};
  const auto map = BuildKernelMapByHash(points, points, geometry);
  ASSERT_TRUE(map.ok()) << map.status();
  EXPECT_THAT(map->sizes, ElementsAre(2, 0, 0, 1, 5, 1, 0, 0, 2));
  // W(-1, -1) takes (0, 0) to (1, 1) and (2, 1) to (3, 2); W(1, 0) takes (2, 1) to (1, 1).
  EXPECT_EQ(map->entries[0], (MapEntry{0, 1}));
  EXPECT_EQ(map->entries[1], (MapEntry{3, 4}));
  EXPECT_EQ(map->entries[8], (MapEntry{3, 1}));
  EXPECT_EQ(BuildKernelMapByMergeSort(points, points, geometry).value(), *map);
}

TEST(KernelMapTest, BothBuildersEqualBruteForceOnRandomPoints) {
  Rng rng(1);
  int64_t entries = 0;
  for (int round = 0; round < 300; ++round) {
    const auto dimensions = static_cast<int64_t>(1 + rng.Below(4));
    KernelGeometry geometry;
    for (int64_t d = 0; d < dimensions; ++d) {
      geometry.kernel.push_back(static_cast<int32_t>(1 + 2 * rng.Below(3)));
    }
    Points inputs = RandomPoints(dimensions, static_cast<int64_t>(rng.Below(40)), -4, 5, rng);
    Points outputs = inputs;
    if (round % 3 == 1) outputs = RandomPoints(dimensions, 30, -4, 5, rng);
    if (round % 3 == 2) {
      geometry.stride.assign(static_cast<size_t>(dimensions),
                             static_cast<int32_t>(1 + rng.Below(3)));
      outputs = Downsample(inputs, geometry.stride).value();
    }
    const KernelMap expected = BruteForce(inputs, outputs, geometry);
    const auto hashed = BuildKernelMapByHash(inputs, outputs, geometry);
    const auto merged = BuildKernelMapByMergeSort(inputs, outputs, geometry);
    ASSERT_TRUE(hashed.ok()) << hashed.status();
    ASSERT_TRUE(merged.ok()) << merged.status();
    EXPECT_EQ(*hashed, expected);
    EXPECT_EQ(*merged, expected);
    entries += expected.Starts().back();
  }
  EXPECT_GT(entries, 5000);
}

TEST(KernelMapTest, CoordinatesAtTheEndsOfTheirRangeDoNotWrap) {
  const Points points{1, {kMost, kLeast, kMost - 1}};
  const KernelGeometry geometry{{3}, {2}};
  const KernelMap expected = BruteForce(points, points, geometry);
  EXPECT_EQ(BuildKernelMapByHash(points, points, geometry).value(), expected);
  EXPECT_EQ(BuildKernelMapByMergeSort(points, points, geometry).value(), expected);
  EXPECT_THAT(BuildKernelMapByHash(points, points, {{3}})->sizes, ElementsAre(1, 3, 1));
}

TEST(KernelMapTest, RefusesPointsThatAreThereTwice) {
  const Points once{2, {1, 2, 3, 4}};
  const Points twice{2, {1, 2, 3, 4, 1, 2}};
  for (const auto& build : {BuildKernelMapByHash, BuildKernelMapByMergeSort}) {
    EXPECT_THAT(build(twice, once, {{3, 3}}).status().message(),
                HasSubstr("inputs: points 0 and 2 are both at (1, 2)"));
    EXPECT_THAT(build(once, twice, {{3, 3}}).status().message(),
                HasSubstr("outputs: points 0 and 2 are both at (1, 2)"));
  }
}

TEST(KernelMapTest, RefusesWhatIsNoLayer) {
  const Points points{2, {1, 2}};
  for (const auto& build : {BuildKernelMapByHash, BuildKernelMapByMergeSort}) {
    const auto message = [&](const Points& inputs, const KernelGeometry& geometry) {
      const auto map = build(inputs, points, geometry);
      EXPECT_EQ(map.status().code(), absl::StatusCode::kInvalidArgument);
      return std::string(map.status().message());
    };
    EXPECT_THAT(message(points, {{3, 2}}), HasSubstr("kernel (3, 2), want 2 odd extents"));
    EXPECT_THAT(message(points, {{3, -1}}), HasSubstr("kernel (3, -1)"));
    EXPECT_THAT(message(points, {{3}}), HasSubstr("kernel (3), want 2 odd"));
    EXPECT_THAT(message(points, {{kMost, kMost}}), HasSubstr("at most 65536 offsets"));
    EXPECT_THAT(message(points, {{3, 3}, {1, 0}}), HasSubstr("stride (1, 0), want 2"));
    EXPECT_THAT(message({5, {1, 2, 3, 4, 5}}, {{3, 3}}), HasSubstr("5 dimensions, want 1 to 4"));
    EXPECT_THAT(message({2, {1, 2, 3}}, {{3, 3}}), HasSubstr("3 coordinates of 2 dimensions"));
    EXPECT_THAT(message({1, {1}}, {{3, 3}}), HasSubstr("inputs have 1 dimensions, outputs 2"));
  }
}

TEST(KernelMapTest, DownsamplingRoundsDown) {
  const Points points{2, {-1, 3, -2, 2, 0, 0, 1, 1, kLeast, kMost}};
  const auto coarse = Downsample(points, {2, 2});
  ASSERT_TRUE(coarse.ok()) << coarse.status();
  EXPECT_THAT(coarse->coordinates, ElementsAre(kLeast / 2, kMost / 2, -1, 1, 0, 0));
}

// A map whose outputs have the given neighbours; which inputs they are does not matter here.
KernelMap MapOf(const std::vector<uint64_t>& masks, int offsets) {
  const auto points = static_cast<int64_t>(masks.size());
  KernelMap map{points, points};
  for (int offset = 0; offset < offsets; ++offset) {
    int32_t size = 0;
    for (int32_t q = 0; q < points; ++q) {
      if (offset >= 64 || (masks[q] >> offset & 1) == 0) continue;
      map.entries.push_back({q, q});
      ++size;
    }
    map.sizes.push_back(size);
  }
  return map;
}

// The example of TorchSparse++'s section 3.2: eight outputs, nine offsets, tiles of four.
TEST(OutputOrderTest, RedundantComputationOfThePaper) {
  const KernelMap map = MapOf({25, 58, 52, 464, 17, 20, 272, 80}, 9);
  const auto redundant = [&](int64_t splits) {
    const auto order = OrderOutputs(map, {.splits = splits, .tile = 4});
    EXPECT_EQ(order->maps, 22);
    return order->redundant();
  };
  EXPECT_EQ(redundant(0), 34);
  EXPECT_EQ(redundant(1), 26);
  EXPECT_EQ(redundant(3), 22);
  const OutputOrder sorted = OrderOutputs(map, {.splits = 1, .tile = 4}).value();
  EXPECT_THAT(sorted.splits[0][0].outputs, ElementsAre(3, 6, 7, 1));
  EXPECT_THAT(sorted.splits[0][1].outputs, ElementsAre(2, 0, 5, 4));
  EXPECT_THAT(sorted.splits[0][1].offsets, ElementsAre(0, 2, 3, 4, 5));
}

TEST(OutputOrderTest, TilesOfOneComputeNothingIdle) {
  Rng rng(2);
  const Points points = RandomPoints(3, 200, 0, 8, rng);
  const KernelMap map = BuildKernelMapByHash(points, points, {{3, 3, 3}}).value();
  for (const int64_t splits : {0, 1, 2, 27}) {
    EXPECT_EQ(OrderOutputs(map, {.splits = splits, .tile = 1})->redundant(), 0);
  }
  // One offset in each split: its outputs come first, so only the last tile is partly idle.
  const auto order = OrderOutputs(map, {.splits = 27, .tile = 16});
  int64_t padding = 0;
  for (const int32_t size : map.sizes) padding += (size + 15) / 16 * 16 - size;
  EXPECT_EQ(order->redundant(), padding);
}

TEST(OutputOrderTest, EveryOutputIsInOneTileOfEachSplit) {
  Rng rng(3);
  const Points points = RandomPoints(2, 90, 0, 12, rng);
  const KernelMap map = BuildKernelMapByHash(points, points, {{5, 5}}).value();
  const auto order = OrderOutputs(map, {.splits = 4, .tile = 7});
  ASSERT_TRUE(order.ok()) << order.status();
  ASSERT_EQ(order->splits.size(), 4u);
  for (const auto& tiles : order->splits) {
    std::vector<int> seen(static_cast<size_t>(map.outputs));
    for (const auto& tile : tiles) {
      for (const int32_t output : tile.outputs) ++seen[output];
    }
    EXPECT_EQ(seen, std::vector<int>(seen.size(), 1));
  }
}

TEST(OutputOrderTest, RefusesSplitsThatNoMaskHolds) {
  const KernelMap map = MapOf({1, 2}, 65);
  EXPECT_THAT(OrderOutputs(map, {.splits = 1}).status().message(),
              HasSubstr("1 splits of 65 offsets"));
  EXPECT_TRUE(OrderOutputs(map, {.splits = 2}).ok());
  EXPECT_FALSE(OrderOutputs(map, {.splits = 66}).ok());
  EXPECT_FALSE(OrderOutputs(map, {.splits = 2, .tile = 0}).ok());
}

}  // namespace
}  // namespace amc
