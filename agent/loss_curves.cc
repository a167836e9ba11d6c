#include "agent/loss_curves.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace amc {
namespace {

// Between the mildest measured point and the whole group, where nothing says how steep it is.
constexpr double kLeastExponent = 1, kMostExponent = 2;
constexpr double kInfeasible = 10;  // times the worst feasible loss
constexpr double kFloor = 0.01;     // of the average loss per u
constexpr double kNothing = 1e-9;   // where no loss was measured at all

double PrunedShare(int64_t kept, int64_t channels) {
  return static_cast<double>(channels) / static_cast<double>(kept) - 1;
}

struct CurvePoint {
  double u = 0, loss = 0;  // u > 0
};

// Makes losses rise with u, each the mean of as few neighbours as that takes (Robertson, Wright and
// Dykstra 1988, section 1.2).
void MakeMonotone(std::vector<CurvePoint>& points) {
  struct Block {
    double sum = 0;
    int size = 0;
    double mean() const { return sum / size; }
  };
  std::vector<Block> blocks;
  for (const CurvePoint& point : points) {
    blocks.push_back({point.loss, 1});
    while (blocks.size() > 1 && blocks.back().mean() < blocks[blocks.size() - 2].mean()) {
      const Block last = blocks.back();
      blocks.pop_back();
      blocks.back().sum += last.sum;
      blocks.back().size += last.size;
    }
  }
  size_t i = 0;
  for (const Block& block : blocks) {
    for (int n = 0; n < block.size; ++n) points[i++].loss = block.mean();
  }
}

// The power law through two points.
double Exponent(const CurvePoint& a, const CurvePoint& b) {
  return std::log(b.loss / a.loss) / std::log(b.u / a.u);
}

// `points` ascend in u and in loss, all positive.
double Interpolate(const std::vector<CurvePoint>& points, double u) {
  const auto above =
      std::lower_bound(points.begin(), points.end(), u,
                       [](const CurvePoint& p, double value) { return p.u < value; });
  if (above != points.end() && above->u == u) return above->loss;
  const size_t i = above - points.begin();
  const CurvePoint& from = points[i == 0 ? 0 : i - 1];
  double exponent = kLeastExponent;
  if (points.size() > 1) {
    const size_t low = std::clamp<size_t>(i, 1, points.size() - 1) - 1;
    exponent = Exponent(points[low], points[low + 1]);
    if (i == 0 || i == points.size()) {
      exponent = std::clamp(exponent, kLeastExponent, kMostExponent);
    }
  }
  return from.loss * std::pow(u / from.u, exponent);
}

}  // namespace

LossCurves::LossCurves(const Lattice& lattice) {
  for (size_t g = 0; g < lattice.num_groups(); ++g) {
    const absl::Span<const int64_t> choices = lattice.choices(g);
    choices_.emplace_back(choices.begin(), choices.end());
    losses_.emplace_back(choices.size(), 0.0);
  }
}

LossCurves LossCurves::Fit(const Lattice& lattice, absl::Span<const LossPoint> points) {
  LossCurves curves(lattice);
  double worst = 0;
  for (const LossPoint& point : points) {
    if (!point.infeasible) worst = std::max(worst, point.loss);
  }
  const double infeasible = kInfeasible * (worst > 0 ? worst : 1);

  // Sum and number of what was measured, by group and u.
  std::vector<std::map<double, std::pair<double, int>>> measured(lattice.num_groups());
  double slopes = 0;
  int feasible = 0;
  for (const LossPoint& point : points) {
    const double u = PrunedShare(point.kept, lattice.choices(point.group).back());
    if (u <= 0) continue;
    auto& [sum, number] = measured[point.group][u];
    sum += point.infeasible ? infeasible : point.loss;
    ++number;
    if (point.infeasible) continue;
    slopes += std::max(0.0, point.loss) / u;
    ++feasible;
  }
  const double slope = slopes > 0 ? slopes / feasible : kNothing;

  for (size_t g = 0; g < lattice.num_groups(); ++g) {
    std::vector<CurvePoint> curve;
    for (const auto& [u, outcome] : measured[g])
      curve.push_back({u, outcome.first / outcome.second});
    MakeMonotone(curve);
    for (CurvePoint& point : curve) {
      point.loss = std::max(point.loss, 0.0) + kFloor * slope * point.u;
    }
    if (curve.empty()) curve.push_back({.u = 1, .loss = slope});
    const std::vector<int64_t>& choices = curves.choices_[g];
    for (size_t i = 0; i + 1 < choices.size(); ++i) {
      curves.losses_[g][i] = Interpolate(curve, PrunedShare(choices[i], choices.back()));
    }
  }
  return curves;
}

LossCurves LossCurves::Prior(const Lattice& lattice) {
  LossCurves curves(lattice);
  for (size_t g = 0; g < curves.choices_.size(); ++g) {
    const std::vector<int64_t>& choices = curves.choices_[g];
    for (size_t i = 0; i < choices.size(); ++i) {
      curves.losses_[g][i] = PrunedShare(choices[i], choices.back());
    }
  }
  return curves;
}

double LossCurves::Loss(size_t group, int64_t kept) const {
  const std::vector<int64_t>& choices = choices_[group];
  const auto at = std::lower_bound(choices.begin(), choices.end(), kept);
  return losses_[group][std::min<size_t>(at - choices.begin(), choices.size() - 1)];
}

double LossCurves::Sum(absl::Span<const int64_t> kept) const {
  double sum = 0;
  for (size_t g = 0; g < kept.size(); ++g) sum += Loss(g, kept[g]);
  return sum;
}

}  // namespace amc
