#include "env/reward.h"

#include <algorithm>
#include <cmath>

namespace amc {
namespace {

double ErrorOf(QualityMetric metric, const Measurement& measurement) {
  const double quality = QualityOf(metric, measurement);
  const bool is_fraction = metric == QualityMetric::kTop1 || metric == QualityMetric::kTop5;
  return is_fraction ? 1 - quality : -quality;
}

double LogOf(int64_t amount) { return std::log(static_cast<double>(std::max<int64_t>(1, amount))); }

}  // namespace

double QualityOf(QualityMetric metric, const Measurement& measurement) {
  switch (metric) {
    case QualityMetric::kTop1:
      return measurement.top1;
    case QualityMetric::kTop5:
      return measurement.top5;
    case QualityMetric::kNegativeKl:
      return -measurement.kl;
    case QualityMetric::kNegativeSoftKl:
      return -measurement.soft_kl;
  }
  return 0;
}

std::optional<Resource> WeighedResource(RewardKind kind) {
  switch (kind) {
    case RewardKind::kQuality:
      return std::nullopt;
    case RewardKind::kErrorLogMacs:
      return Resource::kMacs;
    case RewardKind::kErrorLogParams:
      return Resource::kParams;
    case RewardKind::kErrorLogLatency:
      return Resource::kLatency;
    case RewardKind::kErrorLogActivationBytes:
      return Resource::kActivationBytes;
    case RewardKind::kErrorLogModelBytes:
      return Resource::kModelBytes;
  }
  return std::nullopt;
}

double RewardOf(const RewardOptions& options, const Measurement& measurement, int64_t amount) {
  if (options.kind == RewardKind::kQuality) return QualityOf(options.metric, measurement);
  return 0 - ErrorOf(options.metric, measurement) * LogOf(amount);  // never -0
}

}  // namespace amc
