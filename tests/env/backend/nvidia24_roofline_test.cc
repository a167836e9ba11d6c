#include "env/backend/nvidia24_roofline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/rng.h"
#include "env/backend/nvidia24.h"
#include "tests/env/backend/simulated_layers.h"

namespace amc {
namespace {

using ::amc::testing::RandomConv;
using ::amc::testing::RandomInput;
using ::amc::testing::RandomLinear;

// 4096 x 4096 without values: what shapes alone decide.
LayerWeights Square(int64_t positions) {
  LayerWeights layer;
  layer.form = LayerForm::kMatMul;
  layer.outputs = layer.channels = 4096;
  layer.input_size = layer.output_size = {positions, 1};
  return layer;
}

constexpr int64_t kWeights = int64_t{4096} * 4096;
constexpr int64_t kDenseBytes = kWeights * 2, kSparseBytes = kDenseBytes * 9 / 16;

RooflineTime Time(int64_t positions, TensorCores cores) {
  return A100Time(Square(positions), cores == TensorCores::kDense ? kDenseBytes : kSparseBytes,
                  Nvidia24Type::kFp16, cores);
}

// 4096^2 * 65536 MACs = 1.0995e12 at 156e12 and 312e12 a second; 1.107e9 bytes take 543 us.
TEST(Nvidia24RooflineTest, ManyPositionsTakeTheTimeOfTheirMacs) {
  const RooflineTime dense = Time(65536, TensorCores::kDense);
  EXPECT_NEAR(dense.microseconds, 7048.15, 0.01);
  EXPECT_EQ(dense.cycles, 9937894);  // 1,410 a microsecond
  EXPECT_NEAR(Time(65536, TensorCores::kTwoOfFour).microseconds, 3524.08, 0.01);
}

// 33,554,432 bytes of weights (2:4: 18,874,368) and 16,384 of activations at 2,039e9 a second; the
// MACs take 0.1 us: 16.464 and 9.265 us.
TEST(Nvidia24RooflineTest, OnePositionTakesTheTimeOfItsBytes) {
  EXPECT_NEAR(Time(1, TensorCores::kDense).microseconds, 33570816 / 2039e3, 1e-9);
  EXPECT_NEAR(Time(1, TensorCores::kTwoOfFour).microseconds, 18890752 / 2039e3, 1e-9);
}

TEST(Nvidia24RooflineTest, Int8HalvesBothRoofs) {
  const auto time = [](int64_t positions) {
    return A100Time(Square(positions), kWeights, Nvidia24Type::kInt8, TensorCores::kDense)
        .microseconds;
  };
  EXPECT_DOUBLE_EQ(2 * time(65536), Time(65536, TensorCores::kDense).microseconds);
  EXPECT_DOUBLE_EQ(2 * time(1), Time(1, TensorCores::kDense).microseconds);
}

TEST(Nvidia24RooflineTest, TwoOfFourIsAtMostTwiceAsFast) {
  const auto ratio = [](int64_t positions) {
    return Time(positions, TensorCores::kDense).microseconds /
           Time(positions, TensorCores::kTwoOfFour).microseconds;
  };
  EXPECT_NEAR(ratio(1), 16.0 / 9, 1e-3);
  EXPECT_LT(ratio(1), 16.0 / 9);
  EXPECT_DOUBLE_EQ(ratio(65536), 2);
  for (int64_t positions = 1; positions < 100000; positions = positions * 5 / 4 + 1) {
    EXPECT_GT(ratio(positions), 1) << positions;
    EXPECT_LE(ratio(positions), 2) << positions;
  }
}

// 8 x 4 weights in 2 groups over 6 x 6 -> 4 x 4 positions: 8 * 4 * 9 * 16 MACs, few beside
// 2 * (8 * 4 * 9 + 8 * 36 + 8 * 16) bytes.
TEST(Nvidia24RooflineTest, LayersThatDoNotFitRunDense) {
  Rng rng(1);
  const LayerWeights grouped = RandomConv(
      {.outputs = 8, .channels = 4, .groups = 2, .kernel = {3, 3}, .input_size = {6, 6}}, 1, rng);
  const LayerInput input = RandomInput(grouped, 1, rng);
  EXPECT_EQ(Nvidia24Backend().Cost(grouped, input).status().code(),
            absl::StatusCode::kFailedPrecondition);
  const BackendCost cost = Nvidia24Backend().DenseCost(grouped, input).value();
  EXPECT_EQ(cost.nonzeros, 8 * 4 * 9);
  EXPECT_EQ(cost.bytes, 8 * 4 * 9 * 2);
  EXPECT_DOUBLE_EQ(cost.microseconds, (576 + 576 + 256) / 2039e3);
  EXPECT_EQ(cost.cycles, 1);
  EXPECT_EQ(Nvidia24Backend().DenseCost(grouped, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// What a search compares: the same layer dense, and with half of its weights zero.
TEST(Nvidia24RooflineTest, CostsFollowTheWeights) {
  Rng rng(2);
  const LayerWeights full = RandomLinear(256, 512, 1, rng);
  LayerWeights half = full;
  for (size_t i = 0; i < half.values.size(); ++i) half.values[i] *= i % 4 < 2;
  const LayerInput input = RandomInput(full, 1, rng);
  EXPECT_FALSE(Nvidia24Backend().CheckEligible(full).ok());
  const BackendCost dense = Nvidia24Backend().DenseCost(full, input).value();
  const BackendCost sparse = Nvidia24Backend().Cost(half, input).value();
  EXPECT_DOUBLE_EQ(dense.microseconds, (256 * 512 * 2 + 512 * 2 + 256 * 2) / 2039e3);
  EXPECT_DOUBLE_EQ(sparse.microseconds, (256 * 512 * 9 / 8 + 512 * 2 + 256 * 2) / 2039e3);
  EXPECT_EQ(sparse.nonzeros * 2, dense.nonzeros);
  // int8 has a scale of 4 bytes a row, and bytes for activations.
  const auto int8 = MakeNvidia24Backend(Nvidia24Type::kInt8);
  EXPECT_DOUBLE_EQ(int8->DenseCost(full, input)->microseconds,
                   (256 * 512 + 4 * 256 + 512 + 256) / 2039e3);
  EXPECT_DOUBLE_EQ(int8->Cost(half, input)->microseconds,
                   (256 * 512 * 5 / 8 + 4 * 256 + 512 + 256) / 2039e3);
}

}  // namespace
}  // namespace amc
