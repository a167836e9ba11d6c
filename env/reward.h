// From a measurement to the number that the agent maximises.
#pragma once

#include "env/evaluator.h"

namespace amc {

enum class QualityMetric { kTop1 = 1, kTop5 = 2, kNegativeKl = 3, kNegativeSoftKl = 4 };
// What the quality is weighed against (paper section 3.3): under a budget nothing, R = quality;
// without one R_FLOPs = -error * ln(MACs), R_Param = -error * ln(parameters).
enum class RewardKind { kQuality = 1, kErrorLogMacs = 2, kErrorLogParams = 3 };

struct RewardOptions {
  QualityMetric metric = QualityMetric::kTop1;
  RewardKind kind = RewardKind::kQuality;
};

// top-1 or top-5 as a fraction, or minus a KL. Larger is better.
double QualityOf(QualityMetric metric, const Measurement& measurement);
// Of a feasible measurement: error = 1 - top-k, or KL.
double RewardOf(const RewardOptions& options, const Measurement& measurement);

}  // namespace amc
