#include "env/backend/fixed_point.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/rng.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(FixedPointTest, TakesTheFinestFormatThatFits) {
  EXPECT_EQ(*FractionBits({0.25f, -1}), 14);
  EXPECT_EQ(*FractionBits({0.999f}), 15);
  EXPECT_EQ(*FractionBits({0.99999f}), 14);  // 32767.67 rounds to 32768
  EXPECT_EQ(*FractionBits({32767.4f}), 0);
  EXPECT_EQ(*FractionBits({1e-20f}), kMaxFractionBits);
  EXPECT_EQ(*FractionBits({0, 0}), 15);
}

TEST(FixedPointTest, RefusesWhatDoesNotFit) {
  for (const float value : {32767.5f, -32767.6f, -1e30f, std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_EQ(FractionBits({1, value}).status().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_THAT(FractionBits({40000}).status().message(), HasSubstr("the value 40000 does not fit"));
}

TEST(FixedPointTest, RoundsToNearestEvenAndSaturates) {
  EXPECT_THAT(ToFixed({0.5f, 1.5f, -0.5f, -2.5f, 2.51f}, 0), ElementsAre(0, 2, 0, -2, 3));
  EXPECT_THAT(ToFixed({4, -4}, 14), ElementsAre(32767, -32768));
}

TEST(FixedPointTest, IsOffByLessThanTheRoundingError) {
  Rng rng(1);
  for (int round = 0; round < 1000; ++round) {
    const auto value = static_cast<float>(rng.Normal() * std::pow(10.0, rng.Uniform(-6, 3)));
    const int bits = FractionBits({value}).value();
    EXPECT_LE(std::abs(double{FromFixed(ToFixed(value, bits), bits)} - value), RoundingError(bits));
  }
  for (int fixed = -32768; fixed <= 32767; fixed += 5) {
    EXPECT_EQ(ToFixed(FromFixed(static_cast<int16_t>(fixed), 13), 13), fixed);
  }
}

}  // namespace
}  // namespace amc
