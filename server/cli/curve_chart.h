// Curves of several searches as a chart of text: reward upwards, evaluations spent to the right.
#pragma once

#include <string>
#include <vector>

#include "server/cli/search_curve.h"

namespace amc {

struct ChartLine {
  std::string label;
  double limit = 0;                             // evaluations where it ends
  std::vector<std::vector<CurvePoint>> curves;  // by seed; the line is their mean
};

struct ChartSize {
  int columns = 64, rows = 14;  // of the plot, at least 2 each
};

// Lines are drawn as 'a', 'b', ... in their order, the earlier ones over the later ones; each from
// where all of its seeds have a candidate. Empty if there is none.
std::string DrawChart(const std::vector<ChartLine>& lines, ChartSize size = {});

}  // namespace amc
