// 16-bit fixed point, in which EIE, Cambricon-X and Cnvlutin compute.
//
// A value v stands as the integer round(v * 2^f), where f, the number of fraction bits, is its Q
// format (Q1.14 has f = 14). The papers publish no Q formats: ours is one for each layer's weights,
// the finest that the largest of them fits, and stands in the file.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace amc {

inline constexpr int kMaxFractionBits = 30;

// 1 with these fraction bits, as an integer: exact as a float too.
constexpr int32_t FixedPointOne(int fraction_bits) { return int32_t{1} << fraction_bits; }

// The most fraction bits, 0 to kMaxFractionBits, with which all values fit; 15 if all are zero.
// FailedPrecondition if one is not finite or rounds to more than 32767.
absl::StatusOr<int> FractionBits(absl::Span<const float> values);

// To the nearest, ties to even; what does not fit becomes the largest that does.
int16_t ToFixed(float value, int fraction_bits);
std::vector<int16_t> ToFixed(absl::Span<const float> values, int fraction_bits);

// The largest difference that rounding makes to a value that fits.
inline double RoundingError(int fraction_bits) { return std::ldexp(0.5, -fraction_bits); }

// Exact.
inline float FromFixed(int16_t value, int fraction_bits) {
  return static_cast<float>(value) / static_cast<float>(FixedPointOne(fraction_bits));
}

}  // namespace amc
