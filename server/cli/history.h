// A job's episodes as lines of text that can be compared byte for byte.
#pragma once

#include <string>

#include "amc/v1/model.pb.h"

namespace amc {

// One line of JSON with what a job's spec and numerics id determine, and nothing else: number,
// note, steps (group, action, executed, kept), policy, cost, measurement, reward. No times, workers
// or attempts. Numbers are JSON numbers; doubles have as many digits as read back to the same bits.
// The order of the fields is fixed.
std::string CanonicalLine(const v1::Episode& episode);

}  // namespace amc
