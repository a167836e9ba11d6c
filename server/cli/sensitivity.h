// A job's sensitivity probes as curves: what the network loses when one group alone is cut.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "amc/v1/model.pb.h"

namespace amc {

struct SensitivityPoint {
  int64_t kept = 0;             // channels
  v1::Measurement measurement;  // of the network with this group cut, the others whole
};

struct SensitivityCurve {
  std::string group;
  int64_t channels = 0;  // of the original
  // By kept channels, the most first: all of them, if the whole network was measured too.
  std::vector<SensitivityPoint> points;
};

// The curves of the episodes that are probes and were measured, by the order in which groups come
// in their policies. Of several probes at one point the one on the most images counts. Episodes
// need their steps.
std::vector<SensitivityCurve> SensitivityCurves(const std::vector<v1::Episode>& episodes);

// A line a group: name, channels, a spark line of the KL divergence on a scale common to all groups
// (the square root, as small losses are what a search weighs), and the points.
std::string SensitivityText(const std::vector<SensitivityCurve>& curves);

// A JSON object a line and group: {group, channels, points: [{kept, ratio, kl, top1, top5, loss,
// images}]}.
std::string SensitivityJson(const std::vector<SensitivityCurve>& curves);

}  // namespace amc
