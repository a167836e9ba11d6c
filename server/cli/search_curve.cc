#include "server/cli/search_curve.h"

#include <cmath>

namespace amc {

void SearchCurve::Add(const v1::Episode& episode) {
  const bool measured = episode.state() != v1::EPISODE_STATE_INFEASIBLE;
  evaluations_ += episode.evaluations();
  work_ += measured && episode.measurement().work() > 0
               ? episode.measurement().work()
               : std::llround(episode.evaluations() * static_cast<double>(evaluation_work_));
  if (!measured || episode.kind() == v1::EPISODE_KIND_PROBE ||
      episode.kind() == v1::EPISODE_KIND_SCREENING) {
    return;
  }
  if (improvements_.empty() || episode.reward() > improvements_.back().reward) {
    improvements_.push_back(
        {.evaluations = evaluations_, .work = work_, .reward = episode.reward()});
  }
}

std::vector<CurvePoint> SearchCurve::Points() const {
  std::vector<CurvePoint> points = improvements_;
  if (!points.empty() && points.back().evaluations < evaluations_) {
    points.push_back({.evaluations = evaluations_, .work = work_, .reward = points.back().reward});
  }
  return points;
}

std::optional<double> RewardAt(const std::vector<CurvePoint>& curve, double evaluations) {
  std::optional<double> reward;
  for (const CurvePoint& point : curve) {
    if (point.evaluations > evaluations) break;
    reward = point.reward;
  }
  return reward;
}

}  // namespace amc
