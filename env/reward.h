// From a measurement to the number that the agent maximises.
#pragma once

#include <cstdint>
#include <optional>

#include "env/cost/cost_model.h"
#include "env/evaluator.h"

namespace amc {

enum class QualityMetric { kTop1 = 1, kTop5 = 2, kNegativeKl = 3, kNegativeSoftKl = 4 };
// What the error is weighed against (paper section 3.3). Under a budget, most often, nothing:
// R = quality. Without one R_FLOPs = -error * ln(MACs), R_Param = -error * ln(parameters), and
// alike for what else a network costs: R = -error * ln(amount), latency in nanoseconds.
enum class RewardKind {
  kQuality = 1,
  kErrorLogMacs = 2,
  kErrorLogParams = 3,
  kErrorLogLatency = 4,
  kErrorLogActivationBytes = 5,
  kErrorLogModelBytes = 6,
};
// The resource whose amount that is; none for kQuality.
std::optional<Resource> WeighedResource(RewardKind kind);

struct RewardOptions {
  QualityMetric metric = QualityMetric::kTop1;
  RewardKind kind = RewardKind::kQuality;
};

// top-1 or top-5 as a fraction, or minus a KL. Larger is better.
double QualityOf(QualityMetric metric, const Measurement& measurement);
// Of a feasible measurement: error = 1 - top-k, or KL. `amount` is what the measured policy costs
// of WeighedResource(options.kind), exactly; kQuality asks for none.
double RewardOf(const RewardOptions& options, const Measurement& measurement, int64_t amount = 0);

}  // namespace amc
