#include "env/backend/half.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace amc {
namespace {

constexpr uint32_t kInfinity = 0x7f800000;

// `value` without its lowest `count` bits, rounded to the nearest, ties to even; count >= 1.
uint32_t RoundBits(uint32_t value, int count) {
  const uint32_t half = uint32_t{1} << (count - 1);
  const uint32_t odd = value >> count & 1;
  return (value + half - 1 + odd) >> count;
}

// Half the distance of neighbours with `fraction` bits below 2^exponent, exponent >= `least`.
double HalfUlp(float magnitude, int fraction, int least) {
  const int exponent = magnitude > 0 ? std::max(std::ilogb(magnitude), least) : least;
  return std::ldexp(1.0, exponent - fraction - 1);
}

}  // namespace

uint16_t FloatToFp16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  uint32_t rounded = 0;
  if (magnitude > kInfinity) {
    rounded = 0x7e00 | (magnitude >> 13 & 0x3ff);
  } else if (magnitude >= 0x47800000) {  // 2^16
    rounded = 0x7c00;
  } else if (magnitude >= 0x38800000) {  // 2^-14, the least normal; a carry goes up to infinity
    rounded = RoundBits(magnitude - (uint32_t{127 - 15} << 23), 13);
  } else if (magnitude >= 0x33000000) {  // 2^-25, half the least subnormal
    const int exponent = static_cast<int>(magnitude >> 23);
    rounded = RoundBits((magnitude & 0x7fffff) | 0x800000, 126 - exponent);
  }
  return static_cast<uint16_t>(sign | rounded);
}

float Fp16ToFloat(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = bits >> 10 & 0x1f;
  const uint32_t fraction = bits & 0x3ff;
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(fraction), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  const uint32_t wide = exponent == 0x1f ? kInfinity : (exponent + 127 - 15) << 23;
  return std::bit_cast<float>(sign | wide | fraction << 13);
}

uint16_t FloatToBf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > kInfinity) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>(RoundBits(bits, 16));
}

float Bf16ToFloat(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

double Fp16RoundingError(float magnitude) { return HalfUlp(magnitude, 10, -14); }
double Bf16RoundingError(float magnitude) { return HalfUlp(magnitude, 7, -126); }

}  // namespace amc
