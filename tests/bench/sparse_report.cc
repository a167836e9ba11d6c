#include "tests/bench/sparse_report.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace amc::bench {
namespace {

struct Line {
  const char* kernel;
  const char* colour;
};
constexpr std::array<Line, 4> kLines = {
    {{"csr", "#0072b2"}, {"eigen", "#d55e00"}, {"xnnpack", "#009e73"}, {"xnnpack-dense", "#999"}}};

constexpr double kLeastSpeedup = 0.125, kMostSpeedup = 128;  // of the chart
constexpr int kPanelWidth = 300, kPanelHeight = 220, kMargin = 40, kPanelsPerRow = 3;

std::string Cells(const std::vector<double>& values) {
  std::string text;
  for (const double value : values) absl::StrAppendFormat(&text, " %7.2f", value);
  return text;
}

// Calls `visit(layer, kernel, index of the density)` for every time.
template <typename Visit>
void ForEachTime(const SparseReport& report, Visit visit) {
  for (const LayerTimes& layer : report.layers) {
    for (const KernelTimes& kernel : layer.kernels) {
      for (size_t d = 0; d < report.densities.size(); ++d) visit(layer, kernel, d);
    }
  }
}

// Of a panel whose upper left corner is at 0, 0.
double PlotX(const SparseReport& report, double density) {
  const double low = std::log(report.densities.front()), high = std::log(report.densities.back());
  const double at = high > low ? (std::log(density) - low) / (high - low) : 0.5;
  return kMargin + at * (kPanelWidth - kMargin - 10);
}

double PlotY(double speedup) {
  const double at = std::log(std::clamp(speedup, kLeastSpeedup, kMostSpeedup) / kLeastSpeedup) /
                    std::log(kMostSpeedup / kLeastSpeedup);
  return kPanelHeight - 30 - at * (kPanelHeight - 55);
}

std::string Panel(const SparseReport& report, const LayerTimes& layer) {
  std::string svg = absl::StrFormat("<text x=\"%d\" y=\"14\" font-weight=\"bold\">%s</text>\n",
                                    kMargin, layer.layer);
  for (double speedup = kLeastSpeedup; speedup <= kMostSpeedup; speedup *= 4) {
    absl::StrAppendFormat(&svg,
                          "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>"
                          "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
                          kMargin, kPanelWidth - 10, PlotY(speedup), PlotY(speedup), kMargin - 5,
                          PlotY(speedup) + 4, speedup);
  }
  absl::StrAppendFormat(&svg,
                        "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#000\"/>\n",
                        kMargin, kPanelWidth - 10, PlotY(1), PlotY(1));
  for (const double density : report.densities) {
    absl::StrAppendFormat(&svg, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n",
                          PlotX(report, density), kPanelHeight - 14, density);
  }
  for (const Line& line : kLines) {
    const KernelTimes* const kernel = layer.Find(line.kernel);
    if (kernel == nullptr) continue;
    absl::StrAppendFormat(
        &svg, "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"%s\" points=\"", line.colour);
    for (size_t d = 0; d < report.densities.size(); ++d) {
      absl::StrAppendFormat(&svg, "%.1f,%.1f ", PlotX(report, report.densities[d]),
                            PlotY(kernel->speedups[d]));
    }
    svg += "\"/>\n";
  }
  return svg;
}

}  // namespace

std::string BreakEven(const KernelTimes& kernel, const std::vector<double>& densities) {
  for (size_t d = 0; d < densities.size(); ++d) {
    if (kernel.speedups[d] > 1) continue;
    if (d == 0) return absl::StrFormat("<%g", densities.front());
    const double above = std::log(kernel.speedups[d - 1]), below = std::log(kernel.speedups[d]);
    const double steps = std::log(densities[d] / densities[d - 1]);
    return absl::StrFormat("%.3f", densities[d - 1] * std::exp(steps * above / (above - below)));
  }
  return absl::StrFormat(">%g", densities.back());
}

const KernelTimes* LayerTimes::Find(absl::string_view kernel) const {
  for (const KernelTimes& times : kernels) {
    if (times.kernel == kernel) return &times;
  }
  return nullptr;
}

std::string ToTable(const SparseReport& report) {
  std::string text = absl::StrFormat("%-24s %-14s", "density", "");
  text += Cells(report.densities) + "  even at\n";
  for (const LayerTimes& layer : report.layers) {
    absl::StrAppendFormat(&text, "%-24s dense %8.1f us\n", layer.layer, layer.dense_us);
    for (const KernelTimes& kernel : layer.kernels) {
      absl::StrAppendFormat(&text, "%-24s %-14s%s  %7s\n", "", kernel.kernel,
                            Cells(kernel.speedups), BreakEven(kernel, report.densities));
    }
    const KernelTimes* const csr = layer.Find("csr");
    const KernelTimes* const eigen = layer.Find("eigen");
    if (csr == nullptr || eigen == nullptr) continue;
    std::vector<double> ratios;
    for (size_t d = 0; d < report.densities.size(); ++d) {
      ratios.push_back(csr->speedups[d] / eigen->speedups[d]);
    }
    absl::StrAppendFormat(&text, "%-24s %-14s%s\n", "", "csr / eigen", Cells(ratios));
  }
  return text;
}

std::string ToCsv(const SparseReport& report) {
  std::string text = "layer,rows,columns,vectors,kernel,density,us,dense_us,speedup\n";
  ForEachTime(report, [&](const LayerTimes& layer, const KernelTimes& kernel, size_t d) {
    absl::StrAppendFormat(&text, "%s,%d,%d,%d,%s,%g,%.3f,%.3f,%.4f\n", layer.layer, layer.rows,
                          layer.columns, layer.vectors, kernel.kernel, report.densities[d],
                          layer.dense_us / kernel.speedups[d], layer.dense_us, kernel.speedups[d]);
  });
  return text;
}

std::string ToJson(const SparseReport& report) {
  std::vector<std::string> times;
  ForEachTime(report, [&](const LayerTimes& layer, const KernelTimes& kernel, size_t d) {
    times.push_back(absl::StrFormat(
        "    {\"layer\": \"%s\", \"rows\": %d, \"columns\": %d, \"vectors\": %d, \"kernel\": "
        "\"%s\", \"density\": %g, \"us\": %.3f, \"dense_us\": %.3f, \"speedup\": %.4f}",
        layer.layer, layer.rows, layer.columns, layer.vectors, kernel.kernel, report.densities[d],
        layer.dense_us / kernel.speedups[d], layer.dense_us, kernel.speedups[d]));
  });
  return absl::StrCat("{\n  \"device\": \"", report.device, "\",\n  \"times\": [\n",
                      absl::StrJoin(times, ",\n"), "\n  ]\n}\n");
}

std::string ToSvg(const SparseReport& report) {
  const auto panels = static_cast<int>(report.layers.size());
  const int width = kPanelWidth * std::min(panels, kPanelsPerRow);
  const int rows = (panels + kPanelsPerRow - 1) / kPanelsPerRow;
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
      "font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%%\" height=\"100%%\" "
      "fill=\"#fff\"/>\n<text x=\"%d\" y=\"16\">Speed relative to dense, by density of the weights"
      " (one thread)</text>\n",
      width, rows * kPanelHeight + 45, kMargin);
  int x = kMargin;
  for (const Line& line : kLines) {
    absl::StrAppendFormat(&svg, "<text x=\"%d\" y=\"34\" fill=\"%s\">%s</text>\n", x, line.colour,
                          line.kernel);
    x += 70;
  }
  for (int i = 0; i < panels; ++i) {
    absl::StrAppendFormat(&svg, "<g transform=\"translate(%d,%d)\">\n%s</g>\n",
                          i % kPanelsPerRow * kPanelWidth, 45 + i / kPanelsPerRow * kPanelHeight,
                          Panel(report, report.layers[i]));
  }
  return svg + "</svg>\n";
}

}  // namespace amc::bench
