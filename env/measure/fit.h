// Fits what layers alone miss of whole networks' times (LatencyFit, env/cost/latency_table.h).
//
// Least squares on relative errors, (layers * sum + byte_us * bytes + channel_us * channels +
// constant_us) / measured - 1, with layers > 0, byte_us >= 0 and channel_us >= 0. The pruned
// versions of one network have layers, bytes and channels that shrink together, so that 6 to 12 of
// them hardly tell the coefficients apart: a small ridge draws them to 1, 0, 0, 0, what layers
// alone would predict.
//
// Why channels: what a layer takes in a network beyond what it takes alone goes with its channels
// rather than with its work. On ResNet-56 (20 networks to fit to, 20 others) median and 95th
// percentile of the errors fall from 3.6 and 6.4% to 2.0 and 4.4% (libtorch), from 1.3 and 4.4% to
// 1.0 and 2.9% (ONNX Runtime).
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
  double channels = 0;  // LatencyModel::ChannelsMade
};

// Errors are left unknown. InvalidArgument unless there is a point, all values are finite, bytes
// are at least 0 and times positive.
absl::StatusOr<LatencyFit> FitLatency(absl::Span<const FitPoint> points);

double Predict(const LatencyFit& fit, const FitPoint& point);

// Fills in networks, median_error and p95_error from networks that `fit` was not fitted to.
void SetErrors(LatencyFit& fit, absl::Span<const FitPoint> unseen);

}  // namespace amc
