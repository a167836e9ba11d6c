#include "env/measure/fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "env/measure/sampler.h"

namespace amc {
namespace {

constexpr size_t kLayers = 0, kBytes = 1, kChannels = 2, kConstant = 3;
constexpr size_t kSize = 4;
using Vector = std::array<double, kSize>;
using Matrix = std::array<Vector, kSize>;

constexpr Vector kPrior = {1, 0, 0, 0};
constexpr size_t kBounded = 3;  // the constant may be anything
constexpr Vector kLeast = {0.05, 0, 0, -std::numeric_limits<double>::infinity()};
// Simulated versions of networks, 6 to 12 of them with 2% and 5% noise, are predicted best, and
// nearly the same, with 0.001 to 0.01; choosing by cross-validation did no better.
constexpr double kRidge = 0.003;  // per point

// The points' features, each divided by what was measured, in units in which all are about 1.
struct Scale {
  double us_per_byte = 0, us_per_channel = 0, us = 0;
  Vector Features(const FitPoint& point) const {
    return {point.layers_us / point.measured_us,
            point.other_bytes * us_per_byte / point.measured_us,
            point.channels * us_per_channel / point.measured_us, us / point.measured_us};
  }
};

double Dot(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// The least of x'Ax - 2b'x where the coordinates in `fixed` have their values; Gauss-Jordan with
// pivots on the diagonal, which is positive (A is positive definite).
Vector Minimize(const Matrix& a, const Vector& b, const std::array<bool, kSize>& fixed,
                const Vector& values) {
  Matrix m = a;
  Vector x = b;
  for (size_t i = 0; i < kSize; ++i) {
    if (!fixed[i]) continue;
    for (size_t j = 0; j < kSize; ++j) {
      x[j] -= a[j][i] * values[i];
      m[i][j] = m[j][i] = 0;
    }
    m[i][i] = 1;
  }
  for (size_t i = 0; i < kSize; ++i) {
    if (fixed[i]) x[i] = values[i];
  }
  for (size_t i = 0; i < kSize; ++i) {
    for (size_t j = 0; j < kSize; ++j) {
      if (j == i) continue;
      const double factor = m[j][i] / m[i][i];
      for (size_t k = 0; k < kSize; ++k) m[j][k] -= factor * m[i][k];
      x[j] -= factor * x[i];
    }
  }
  for (size_t i = 0; i < kSize; ++i) x[i] /= m[i][i];
  return x;
}

// The best coefficients within bounds: of the few sets of bounds that may hold with equality, the
// one whose minimum is feasible and least.
Vector Solve(const std::vector<Vector>& features) {
  Matrix a{};
  Vector b{};
  const double weight = kRidge * static_cast<double>(features.size());
  for (size_t i = 0; i < kSize; ++i) {
    a[i][i] += weight;
    b[i] += weight * kPrior[i];
    for (const Vector& x : features) {
      b[i] += x[i];
      for (size_t j = 0; j < kSize; ++j) a[i][j] += x[i] * x[j];
    }
  }
  Vector best{};
  double least = std::numeric_limits<double>::infinity();
  for (size_t set = 0; set < size_t{1} << kBounded; ++set) {
    std::array<bool, kSize> fixed{};
    for (size_t i = 0; i < kBounded; ++i) fixed[i] = (set >> i & 1) != 0;
    const Vector x = Minimize(a, b, fixed, kLeast);
    bool feasible = true;
    for (size_t i = 0; i < kBounded; ++i) feasible = feasible && x[i] >= kLeast[i];
    if (!feasible) continue;
    double value = -2 * Dot(b, x);
    for (size_t i = 0; i < kSize; ++i) value += x[i] * Dot(a[i], x);
    if (value < least) {
      least = value;
      best = x;
    }
  }
  return best;
}

}  // namespace

absl::StatusOr<LatencyFit> FitLatency(absl::Span<const FitPoint> points) {
  if (points.empty()) return absl::InvalidArgumentError("no networks to fit to");
  double layers = 0, bytes = 0, channels = 0, measured = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    const FitPoint& point = points[i];
    const bool finite = std::isfinite(point.layers_us) && std::isfinite(point.other_bytes) &&
                        std::isfinite(point.channels) && std::isfinite(point.measured_us);
    if (!finite || point.layers_us <= 0 || point.measured_us <= 0 || point.other_bytes < 0 ||
        point.channels < 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "network ", i, ": layers ", point.layers_us, " us, ", point.other_bytes, " bytes, ",
          point.channels, " channels, measured ", point.measured_us, " us: want times above 0"));
    }
    layers += point.layers_us;
    bytes += point.other_bytes;
    channels += point.channels;
    measured += point.measured_us;
  }
  Scale scale;
  scale.us_per_byte = bytes > 0 ? measured / bytes : 1;
  scale.us_per_channel = channels > 0 ? measured / channels : 1;
  scale.us = measured / static_cast<double>(points.size());
  std::vector<Vector> features;
  for (const FitPoint& point : points) features.push_back(scale.Features(point));
  const Vector x = Solve(features);
  LatencyFit fit;
  fit.layers = x[kLayers];
  fit.byte_us = x[kBytes] * scale.us_per_byte;
  fit.channel_us = x[kChannels] * scale.us_per_channel;
  fit.constant_us = x[kConstant] * scale.us;
  return fit;
}

double Predict(const LatencyFit& fit, const FitPoint& point) {
  return fit.layers * point.layers_us + fit.byte_us * point.other_bytes +
         fit.channel_us * point.channels + fit.constant_us;
}

void SetErrors(LatencyFit& fit, absl::Span<const FitPoint> unseen) {
  std::vector<double> errors;
  for (const FitPoint& point : unseen) {
    errors.push_back(std::abs(Predict(fit, point) / point.measured_us - 1));
  }
  fit.networks = static_cast<int64_t>(unseen.size());
  fit.median_error = Median(errors);
  fit.p95_error = Quantile(std::move(errors), 0.95);
}

}  // namespace amc
