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

double RewardOf(const RewardOptions& options, const Measurement& measurement) {
  switch (options.kind) {
    case RewardKind::kQuality:
      return QualityOf(options.metric, measurement);
    case RewardKind::kErrorLogMacs:
      return -ErrorOf(options.metric, measurement) * LogOf(measurement.cost.macs);
    case RewardKind::kErrorLogParams:
      return -ErrorOf(options.metric, measurement) * LogOf(measurement.cost.params);
  }
  return 0;
}

}  // namespace amc
