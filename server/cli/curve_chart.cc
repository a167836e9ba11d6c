#include "server/cli/curve_chart.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace amc {
namespace {

constexpr int kAxisWidth = 9;  // of the numbers at its left

std::optional<double> MeanAt(const ChartLine& line, double evaluations) {
  double sum = 0;
  for (const std::vector<CurvePoint>& curve : line.curves) {
    const std::optional<double> reward = RewardAt(curve, evaluations);
    if (!reward) return std::nullopt;
    sum += *reward;
  }
  if (line.curves.empty()) return std::nullopt;
  return sum / static_cast<double>(line.curves.size());
}

// 'a' to 'z', then 'A' to 'Z', then the same again.
char MarkOf(size_t line) {
  return "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[line % 52];
}

// Reward by column; a column stands for the cost at its right edge.
using Heights = std::vector<std::optional<double>>;

Heights HeightsOf(const ChartLine& line, double longest, int columns) {
  Heights heights;
  const double width = longest / columns;
  for (int column = 0; column < columns; ++column) {
    const bool beyond = column * width >= line.limit;
    heights.push_back(beyond ? std::nullopt : MeanAt(line, (column + 1) * width));
  }
  return heights;
}

}  // namespace

std::string DrawChart(const std::vector<ChartLine>& lines, ChartSize size) {
  double longest = 0;
  for (const ChartLine& line : lines) longest = std::max(longest, line.limit);
  std::vector<Heights> all;
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const ChartLine& line : lines) {
    all.push_back(HeightsOf(line, longest, size.columns));
    for (const std::optional<double>& height : all.back()) {
      if (!height) continue;
      low = std::min(low, *height);
      high = std::max(high, *height);
    }
  }
  if (!(low <= high)) return "";
  std::vector<std::string> plot(static_cast<size_t>(size.rows),
                                std::string(static_cast<size_t>(size.columns), ' '));
  for (size_t line = lines.size(); line-- > 0;) {
    for (size_t column = 0; column < all[line].size(); ++column) {
      if (!all[line][column]) continue;
      const double share = high > low ? (*all[line][column] - low) / (high - low) : 0;
      const auto up = static_cast<size_t>(std::lround(share * (size.rows - 1)));
      plot[plot.size() - 1 - up][column] = MarkOf(line);
    }
  }
  std::string text;
  for (size_t row = 0; row < plot.size(); ++row) {
    const double value = high - (high - low) * static_cast<double>(row) / (size.rows - 1);
    const bool labelled = row == 0 || row + 1 == plot.size();
    plot[row].erase(plot[row].find_last_not_of(' ') + 1);
    absl::StrAppend(
        &text,
        labelled ? absl::StrFormat("%*.4f", kAxisWidth, value) : std::string(kAxisWidth, ' '), " |",
        plot[row], "\n");
  }
  const std::string end = absl::StrFormat("%.0f evaluations", longest);
  const int gap = std::max(1, size.columns - 1 - static_cast<int>(end.size()));
  absl::StrAppend(&text, std::string(kAxisWidth + 1, ' '), "+",
                  std::string(static_cast<size_t>(size.columns), '-'), "\n",
                  std::string(kAxisWidth + 2, ' '), "0", std::string(static_cast<size_t>(gap), ' '),
                  end, "\n\n");
  for (size_t line = 0; line < lines.size(); ++line) {
    absl::StrAppend(&text, std::string(kAxisWidth + 2, ' '), std::string(1, MarkOf(line)), "  ",
                    lines[line].label, "\n");
  }
  return text;
}

}  // namespace amc
