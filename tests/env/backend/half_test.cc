#include "env/backend/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "base/rng.h"

namespace amc {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// By the definition of the formats: (-1)^s 2^(e - bias) 1.f, without an implicit 1 below.
double Decode(uint32_t bits, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = bits >> (exponent_bits + fraction_bits) & 1 ? -1 : 1;
  const int exponent = bits >> fraction_bits & ((1 << exponent_bits) - 1);
  const double fraction = std::ldexp(bits & ((1 << fraction_bits) - 1), -fraction_bits);
  if (exponent == (1 << exponent_bits) - 1) {
    return fraction == 0 ? sign * kInf : std::numeric_limits<double>::quiet_NaN();
  }
  return exponent == 0 ? sign * std::ldexp(fraction, 1 - bias)
                       : sign * std::ldexp(1 + fraction, exponent - bias);
}

struct Format {
  const char* name;
  uint16_t (*from_float)(float);
  float (*to_float)(uint16_t);
  double (*rounding_error)(float);
  int exponent_bits, fraction_bits;
  uint32_t infinity;
};

class HalfTest : public ::testing::TestWithParam<Format> {};
INSTANTIATE_TEST_SUITE_P(
    Formats, HalfTest,
    ::testing::Values(Format{"fp16", FloatToFp16, Fp16ToFloat, Fp16RoundingError, 5, 10, 0x7c00},
                      Format{"bf16", FloatToBf16, Bf16ToFloat, Bf16RoundingError, 8, 7, 0x7f80}),
    [](const auto& info) { return info.param.name; });

TEST_P(HalfTest, EveryPatternDecodesAndComesBack) {
  const Format& format = GetParam();
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const double want = Decode(bits, format.exponent_bits, format.fraction_bits);
    const float value = format.to_float(bits);
    const uint16_t back = format.from_float(value);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      // The same NaN, made quiet.
      ASSERT_EQ(back, bits | 1u << (format.fraction_bits - 1)) << bits;
    } else {
      ASSERT_EQ(value, want) << bits;
      ASSERT_EQ(std::signbit(value), bits >= 0x8000) << bits;
      ASSERT_EQ(back, bits);
    }
  }
}

// Between every two neighbours: the middle goes to the even one, what is beside it to the nearer.
TEST_P(HalfTest, RoundsToNearestTiesToEven) {
  const Format& format = GetParam();
  for (uint32_t bits = 0; bits < format.infinity; ++bits) {
    const double low = format.to_float(bits);
    // Infinity stands where the next number would.
    const double high = bits + 1 == format.infinity ? 2 * low - format.to_float(bits - 1)
                                                    : format.to_float(bits + 1);
    const float middle = static_cast<float>((low + high) / 2);
    if (middle != (low + high) / 2) continue;  // bf16: beyond the least and the largest float
    const uint32_t even = bits % 2 == 0 ? bits : bits + 1;
    ASSERT_EQ(format.from_float(middle), even) << bits;
    ASSERT_EQ(format.from_float(-middle), even | 0x8000) << bits;
    ASSERT_EQ(format.from_float(std::nextafter(middle, 0.0f)), bits) << bits;
    ASSERT_EQ(format.from_float(std::nextafter(middle, kInf)), bits + 1) << bits;
  }
}

TEST_P(HalfTest, ErrorsStayWithinTheBoundAndReachIt) {
  const Format& format = GetParam();
  Rng rng(1);
  for (const float magnitude : {1e-7f, 3e-5f, 0.01f, 0.3f, 1.0f, 1.99f, 2.0f, 300.0f, 65000.0f}) {
    const double bound = format.rounding_error(magnitude);
    double largest = 0;
    for (int i = 0; i < 20000; ++i) {
      const float value = static_cast<float>(rng.Uniform(-magnitude, magnitude));
      largest = std::max<double>(
          largest, std::abs(format.to_float(format.from_float(value)) - double{value}));
    }
    EXPECT_LE(largest, bound) << magnitude;
    // Of values below a power of two the error is that of the interval below it.
    EXPECT_GE(largest,
              bound * (std::exp2(std::round(std::log2(magnitude))) == magnitude ? 0.4 : 0.8))
        << magnitude;
  }
}

TEST(HalfTest, KnownValues) {
  EXPECT_EQ(FloatToFp16(1.0f), 0x3c00);
  EXPECT_EQ(FloatToFp16(-2.0f), 0xc000);
  EXPECT_EQ(FloatToFp16(65504.0f), 0x7bff);
  EXPECT_EQ(FloatToFp16(65519.996f), 0x7bff);
  EXPECT_EQ(FloatToFp16(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToFp16(1e30f), 0x7c00);
  EXPECT_EQ(FloatToFp16(5.9604645e-8f), 0x0001);
  EXPECT_EQ(FloatToFp16(2.9802322e-8f), 0x0000);  // half of it: even is 0
  EXPECT_EQ(FloatToFp16(1.0f / 3), 0x3555);
  EXPECT_EQ(FloatToFp16(-kInf), 0xfc00);
  EXPECT_EQ(FloatToBf16(1.0f), 0x3f80);
  EXPECT_EQ(FloatToBf16(3.14159265f), 0x4049);
  EXPECT_EQ(FloatToBf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(FloatToBf16(std::bit_cast<float>(0x7f800001)), 0x7fc0);
}

}  // namespace
}  // namespace amc
