// Order statistics of small samples.
#pragma once

#include <vector>

namespace amc {

// A quantile, 0 <= q <= 1, by linear interpolation between order statistics; 0 of no values.
double Quantile(std::vector<double> values, double q);
double Median(std::vector<double> values);

}  // namespace amc
