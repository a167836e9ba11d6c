#include "env/measure/fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "env/measure/sampler.h"

namespace amc {
namespace {

constexpr size_t kLayers = 0, kBytes = 1, kConstant = 2;
using Vector = std::array<double, 3>;
using Matrix = std::array<Vector, 3>;

constexpr Vector kPrior = {1, 0, 0};
constexpr Vector kLeast = {0.05, 0, -std::numeric_limits<double>::infinity()};
// Simulated versions of networks, 6 to 12 of them with 2% and 5% noise, are predicted best, and
// nearly the same, with 0.001 to 0.01; choosing by cross-validation did no better.
constexpr double kRidge = 0.003;  // per point

// The points' features, each divided by what was measured, in units in which all are about 1.
struct Scale {
  double us_per_byte = 0, us = 0;
  Vector Features(const FitPoint& point) const {
    return {point.layers_us / point.measured_us,
            point.other_bytes * us_per_byte / point.measured_us, us / point.measured_us};
  }
};

double Dot(const Vector& a, const Vector& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

// The least of x'Ax - 2b'x where the coordinates in `fixed` have their values; Gauss-Jordan with
// pivots on the diagonal, which is positive (A is positive definite).
Vector Minimize(const Matrix& a, const Vector& b, const std::array<bool, 3>& fixed,
                const Vector& values) {
  Matrix m = a;
  Vector x = b;
  for (size_t i = 0; i < 3; ++i) {
    if (!fixed[i]) continue;
    for (size_t j = 0; j < 3; ++j) {
      x[j] -= a[j][i] * values[i];
      m[i][j] = m[j][i] = 0;
    }
    m[i][i] = 1;
  }
  for (size_t i = 0; i < 3; ++i) {
    if (fixed[i]) x[i] = values[i];
  }
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j) {
      if (j == i) continue;
      const double factor = m[j][i] / m[i][i];
      for (size_t k = 0; k < 3; ++k) m[j][k] -= factor * m[i][k];
      x[j] -= factor * x[i];
    }
  }
  for (size_t i = 0; i < 3; ++i) x[i] /= m[i][i];
  return x;
}

// The best coefficients within bounds: of the few sets of bounds that may hold with equality, the
// one whose minimum is feasible and least.
Vector Solve(const std::vector<Vector>& features) {
  Matrix a{};
  Vector b{};
  const double weight = kRidge * static_cast<double>(features.size());
  for (size_t i = 0; i < 3; ++i) {
    a[i][i] += weight;
    b[i] += weight * kPrior[i];
    for (const Vector& x : features) {
      b[i] += x[i];
      for (size_t j = 0; j < 3; ++j) a[i][j] += x[i] * x[j];
    }
  }
  Vector best{};
  double least = std::numeric_limits<double>::infinity();
  for (const bool fix_layers : {false, true}) {
    for (const bool fix_bytes : {false, true}) {
      const Vector x = Minimize(a, b, {fix_layers, fix_bytes, false}, kLeast);
      if (x[kLayers] < kLeast[kLayers] || x[kBytes] < kLeast[kBytes]) continue;
      double value = -2 * Dot(b, x);
      for (size_t i = 0; i < 3; ++i) value += x[i] * Dot(a[i], x);
      if (value < least) {
        least = value;
        best = x;
      }
    }
  }
  return best;
}

}  // namespace

absl::StatusOr<LatencyFit> FitLatency(absl::Span<const FitPoint> points) {
  if (points.empty()) return absl::InvalidArgumentError("no networks to fit to");
  double layers = 0, bytes = 0, measured = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    const FitPoint& point = points[i];
    const bool finite = std::isfinite(point.layers_us) && std::isfinite(point.other_bytes) &&
                        std::isfinite(point.measured_us);
    if (!finite || point.layers_us <= 0 || point.measured_us <= 0 || point.other_bytes < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("network ", i, ": layers ", point.layers_us, " us, ", point.other_bytes,
                       " bytes, measured ", point.measured_us, " us: want times above 0"));
    }
    layers += point.layers_us;
    bytes += point.other_bytes;
    measured += point.measured_us;
  }
  Scale scale;
  scale.us_per_byte = bytes > 0 ? measured / bytes : 1;
  scale.us = measured / static_cast<double>(points.size());
  std::vector<Vector> features;
  for (const FitPoint& point : points) features.push_back(scale.Features(point));
  const Vector x = Solve(features);
  LatencyFit fit;
  fit.layers = x[kLayers];
  fit.byte_us = x[kBytes] * scale.us_per_byte;
  fit.constant_us = x[kConstant] * scale.us;
  return fit;
}

double Predict(const LatencyFit& fit, const FitPoint& point) {
  return fit.layers * point.layers_us + fit.byte_us * point.other_bytes + fit.constant_us;
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
