#include "env/backend/sparse_conv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "tests/env/backend/sparse_points.h"

namespace amc {
namespace {

using ::amc::testing::RandomPoints;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int32_t kSide = 6;

// Small integers, whose sums are exact in whatever order.
std::vector<float> RandomIntegers(int64_t count, double density, Rng& rng) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) {
    const auto value = static_cast<float>(rng.Below(15)) - 7;
    values.push_back(rng.Uniform() < density ? value : 0.0f);
  }
  return values;
}

// A dense convolution of the grid [0, kSide)^3 or ^2 with zeros around, at the points.
std::vector<float> DenseConvolution(const Points& points, int32_t kernel, int64_t channels,
                                    int64_t outputs, const std::vector<float>& weights,
                                    const std::vector<float>& features) {
  const bool flat = points.dimensions == 2;
  const auto cell = [&](int64_t x, int64_t y, int64_t z) { return (z * kSide + y) * kSide + x; };
  const auto at = [&](int64_t i, int64_t d) {
    return d < points.dimensions ? points.coordinates[i * points.dimensions + d] : 0;
  };
  std::vector<float> grid(static_cast<size_t>(kSide * kSide * kSide * channels));
  for (int64_t i = 0; i < points.size(); ++i) {
    for (int64_t c = 0; c < channels; ++c) {
      grid[cell(at(i, 0), at(i, 1), at(i, 2)) * channels + c] = features[i * channels + c];
    }
  }
  const int32_t r = kernel / 2, depth = flat ? 0 : r;
  std::vector<float> result(static_cast<size_t>(points.size() * outputs));
  for (int64_t i = 0; i < points.size(); ++i) {
    int64_t k = 0;
    for (int32_t dz = -depth; dz <= depth; ++dz) {
      for (int32_t dy = -r; dy <= r; ++dy) {
        for (int32_t dx = -r; dx <= r; ++dx, ++k) {
          const int64_t x = at(i, 0) + dx, y = at(i, 1) + dy, z = at(i, 2) + dz;
          if (std::min({x, y, z}) < 0 || std::max({x, y, z}) >= kSide) continue;
          for (int64_t c = 0; c < channels; ++c) {
            for (int64_t o = 0; o < outputs; ++o) {
              result[i * outputs + o] +=
                  grid[cell(x, y, z) * channels + c] * weights[(k * channels + c) * outputs + o];
            }
          }
        }
      }
    }
  }
  return result;
}

TEST(SparseConvTest, EqualsTheDenseConvolutionAtTheOutputs) {
  Rng rng(1);
  for (int round = 0; round < 60; ++round) {
    const auto dimensions = static_cast<int64_t>(2 + rng.Below(2));
    const auto kernel = static_cast<int32_t>(1 + 2 * rng.Below(3));
    const auto channels = static_cast<int64_t>(1 + rng.Below(5));
    const auto outputs = static_cast<int64_t>(1 + rng.Below(6));
    const KernelGeometry geometry{std::vector<int32_t>(static_cast<size_t>(dimensions), kernel)};
    const Points points = RandomPoints(dimensions, 40, 0, kSide, rng);
    std::vector<float> values =
        RandomIntegers(geometry.volume() * channels * outputs, round % 2 == 0 ? 1 : 0.1, rng);
    const std::vector<float> features = RandomIntegers(points.size() * channels, 1, rng);
    const auto weights = SparseConvWeights::Create(geometry.volume(), channels, outputs, values);
    ASSERT_TRUE(weights.ok()) << weights.status();
    const KernelMap map = BuildKernelMapByMergeSort(points, points, geometry).value();
    const std::vector<float> expected =
        DenseConvolution(points, kernel, channels, outputs, values, features);
    for (const GroupingOptions& grouping : {GroupingOptions{0, 0}, {0.5, 10}, {1, 1000}}) {
      EXPECT_EQ(GatherMatmulScatter(*weights, map, GroupOffsets(map, grouping), features).value(),
                expected);
    }
    for (const int64_t splits : {0, 1, 2}) {
      const OrderOptions options{.splits = geometry.volume() > 64 ? splits + 2 : splits, .tile = 5};
      if (options.splits > geometry.volume()) continue;
      const auto order = OrderOutputs(map, options);
      ASSERT_TRUE(order.ok()) << order.status();
      EXPECT_EQ(ImplicitMatmul(*weights, map, *order, features).value(), expected);
    }
  }
}

TEST(SparseConvTest, KeepsNoZeroRowsColumnsAndOffsets) {
  // Offsets 0 and 2 of 1-D weights are left: channel 1 of 2, outputs 0 and 2 of 3; and all.
  const auto weights = SparseConvWeights::Create(3, 2, 3,
                                                 {0, 0, 0, 4, 0, 5,  //
                                                  0, 0, 0, 0, 0, 0,  //
                                                  1, 0, 2, 0, 3, 0});
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_THAT(weights->slices()[0].channels, ElementsAre(1));
  EXPECT_THAT(weights->slices()[0].outputs, ElementsAre(0, 2));
  EXPECT_THAT(weights->slices()[0].values, ElementsAre(4, 5));
  EXPECT_TRUE(weights->slices()[1].values.empty());
  EXPECT_EQ(weights->values(), 8);
  EXPECT_EQ(weights->bytes(), 4 * (8 + 3 + 0 + 5 + 3 * 2));
}

TEST(SparseConvTest, RefusesWhatDoesNotFitTogether) {
  EXPECT_THAT(SparseConvWeights::Create(2, 2, 2, {1, 2, 3}).status().message(),
              HasSubstr("3 weights, want 2 x 2 x 2"));
  EXPECT_FALSE(SparseConvWeights::Create(0, 2, 2, {}).ok());
  EXPECT_FALSE(SparseConvWeights::Create(int64_t{1} << 62, 2, 2, {}).ok());
  const Points points{1, {0, 1}};
  const KernelMap map = BuildKernelMapByHash(points, points, {{3}}).value();
  const auto weights = SparseConvWeights::Create(3, 1, 1, {1, 2, 3}).value();
  EXPECT_FALSE(GatherMatmulScatter(weights, map, GroupOffsets(map, {}), {{1.0f}}).ok());
  const auto other = SparseConvWeights::Create(1, 1, 1, {1}).value();
  EXPECT_FALSE(GatherMatmulScatter(other, map, GroupOffsets(map, {}), {{1.0f, 2.0f}}).ok());
}

KernelMap MapOfSizes(const std::vector<int32_t>& sizes) {
  KernelMap map{100, 100};
  for (const int32_t size : sizes) {
    for (int32_t i = 0; i < size; ++i) map.entries.push_back({i, i});
    map.sizes.push_back(size);
  }
  return map;
}

// By hand: the pairs (0, 8), (1, 7), (2, 6), (3, 5) have 20, 18, 9 and 10 entries.
TEST(SparseConvTest, GroupsOffsetsOfLikeSizes) {
  const KernelMap map = MapOfSizes({20, 18, 9, 10, 100, 10, 9, 18, 20});
  const MatmulGroup centre{{4}};
  EXPECT_THAT(GroupOffsets(map, {.epsilon = 0.2, .mm_threshold = 15}),
              ElementsAre(centre, MatmulGroup{{0, 8, 1, 7}}, MatmulGroup{{2, 6, 3, 5}, 10}));
  EXPECT_THAT(GroupOffsets(map, {.epsilon = 0, .mm_threshold = 0}),
              ElementsAre(centre, MatmulGroup{{0, 8}}, MatmulGroup{{1, 7}}, MatmulGroup{{2, 6}},
                          MatmulGroup{{3, 5}}));
  // 1 - 9 / 20 = 0.55 is the whole layer's.
  EXPECT_THAT(GroupOffsets(map, {.epsilon = 0.55, .mm_threshold = 1000}),
              ElementsAre(centre, MatmulGroup{{0, 8, 1, 7, 2, 6, 3, 5}, 20}));
  EXPECT_EQ(GroupOffsets(map, {.epsilon = 0.54, .mm_threshold = 1000}).size(), 3u);
}

TEST(SparseConvTest, GroupsLeaveEmptyOffsetsOut) {
  KernelMap map = MapOfSizes({3, 0, 5, 0, 3});
  // The centre does not map every point onto itself, so it is grouped like the others.
  EXPECT_THAT(GroupOffsets(map, {.epsilon = 0.1}),
              ElementsAre(MatmulGroup{{0, 4}}, MatmulGroup{{2}}));
}

}  // namespace
}  // namespace amc
