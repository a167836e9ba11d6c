// Fits what layers alone miss of whole networks' times (LatencyFit, env/cost/latency_table.h).
//
// Least squares on relative errors, (layers * sum + byte_us * bytes + constant_us) / measured - 1,
// with layers > 0 and byte_us >= 0. The pruned versions of one network have layers and bytes that
// shrink together, so that 6 to 12 of them hardly tell the coefficients apart: a small ridge draws
// them to 1, 0, 0, what layers alone would predict.
#pragma once

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/cost/latency_table.h"

namespace amc {

// A whole network: what the table says of it, and how long it took.
struct FitPoint {
  double layers_us = 0;    // LatencyModel::SumOfLayersUs
  double other_bytes = 0;  // LatencyModel::OtherBytes
  double measured_us = 0;
};

// Errors are left unknown. InvalidArgument unless there is a point, all values are finite, bytes
// are at least 0 and times positive.
absl::StatusOr<LatencyFit> FitLatency(absl::Span<const FitPoint> points);

double Predict(const LatencyFit& fit, const FitPoint& point);

// Fills in networks, median_error and p95_error from networks that `fit` was not fitted to.
void SetErrors(LatencyFit& fit, absl::Span<const FitPoint> unseen);

}  // namespace amc
