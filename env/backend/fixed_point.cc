#include "env/backend/fixed_point.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "absl/strings/str_cat.h"

namespace amc {
namespace {

constexpr double kLargest = std::numeric_limits<int16_t>::max();

double Scaled(float value, int fraction_bits) {
  return std::nearbyint(static_cast<double>(value) * FixedPointOne(fraction_bits));
}

}  // namespace

absl::StatusOr<int> FractionBits(absl::Span<const float> values) {
  // As an integer a float without its sign is in the same order, infinity and NaN above the others.
  uint32_t bits_of_largest = 0;
  for (const float value : values) {
    bits_of_largest = std::max(bits_of_largest, std::bit_cast<uint32_t>(value) & 0x7fffffff);
  }
  const auto largest = std::bit_cast<float>(bits_of_largest);
  const auto fits = [](float value) {
    return std::abs(value) < kLargest + 0.5;  // which would round to an even 32768
  };
  if (!fits(largest)) {
    const float value = *std::find_if_not(values.begin(), values.end(), fits);
    return absl::FailedPreconditionError(
        absl::StrCat("the value ", value, " does not fit 16-bit fixed point"));
  }
  if (largest == 0) return 15;
  int bits = kMaxFractionBits;
  while (Scaled(largest, bits) > kLargest) --bits;
  return bits;
}

int16_t ToFixed(float value, int fraction_bits) {
  return static_cast<int16_t>(std::clamp(Scaled(value, fraction_bits), -kLargest - 1, kLargest));
}

std::vector<int16_t> ToFixed(absl::Span<const float> values, int fraction_bits) {
  std::vector<int16_t> fixed;
  fixed.reserve(values.size());
  for (const float value : values) fixed.push_back(ToFixed(value, fraction_bits));
  return fixed;
}

}  // namespace amc
