#include "base/statistics.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace amc {

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  const double at = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::ptrdiff_t>(at);
  std::nth_element(values.begin(), values.begin() + low, values.end());
  const double below = values[static_cast<size_t>(low)];
  if (low + 1 == static_cast<std::ptrdiff_t>(values.size())) return below;
  const double above = *std::min_element(values.begin() + low + 1, values.end());
  return below + (above - below) * (at - static_cast<double>(low));
}

double Median(std::vector<double> values) { return Quantile(std::move(values), 0.5); }

}  // namespace amc
