#include "env/backend/fixed_point.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"

namespace amc {
namespace {

constexpr double kLargest = std::numeric_limits<int16_t>::max();

double Scaled(float value, int fraction_bits) {
  return std::nearbyint(std::ldexp(static_cast<double>(value), fraction_bits));
}

}  // namespace

absl::StatusOr<int> FractionBits(absl::Span<const float> values) {
  float largest = 0;
  for (const float value : values) {
    if (!std::isfinite(value) || std::abs(Scaled(value, 0)) > kLargest) {
      return absl::FailedPreconditionError(
          absl::StrCat("the value ", value, " does not fit 16-bit fixed point"));
    }
    largest = std::max(largest, std::abs(value));
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
