#include "server/cli/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/cli/format.h"
#include "server/cli/table.h"

namespace amc {
namespace {

double RatioOf(const SensitivityCurve& curve, const SensitivityPoint& point) {
  return static_cast<double>(point.kept) / static_cast<double>(curve.channels);
}

// The groups that a probe cuts, by their places in its policy.
std::vector<int> CutPlaces(const v1::Episode& episode) {
  std::vector<int> places;
  for (int i = 0; i < episode.steps_size(); ++i) {
    if (episode.steps(i).kept() < episode.steps(i).channels()) places.push_back(i);
  }
  return places;
}

// Keeps what was measured on more images.
void Take(const v1::Measurement& measurement, v1::Measurement& kept) {
  if (measurement.images() >= kept.images()) kept = measurement;
}

double Height(double kl) { return std::sqrt(std::max(kl, 0.0)); }

}  // namespace

std::vector<SensitivityCurve> SensitivityCurves(const std::vector<v1::Episode>& episodes) {
  struct Group {
    int64_t channels = 0;
    std::map<int64_t, v1::Measurement, std::greater<>> points;  // by kept channels
  };
  std::map<std::pair<int, std::string>, Group> groups;  // by place in the policy
  v1::Measurement whole;
  for (const v1::Episode& episode : episodes) {
    if (episode.kind() != v1::EPISODE_KIND_PROBE ||
        episode.state() == v1::EPISODE_STATE_INFEASIBLE) {
      continue;
    }
    const std::vector<int> cut = CutPlaces(episode);
    if (cut.empty()) Take(episode.measurement(), whole);
    if (cut.size() != 1) continue;
    const v1::Step& step = episode.steps(cut[0]);
    Group& group = groups[{cut[0], step.group()}];
    group.channels = step.channels();
    Take(episode.measurement(), group.points[step.kept()]);
  }
  std::vector<SensitivityCurve> curves;
  for (const auto& [key, group] : groups) {
    SensitivityCurve& curve = curves.emplace_back();
    curve.group = key.second;
    curve.channels = group.channels;
    if (whole.images() > 0) curve.points.push_back({group.channels, whole});
    for (const auto& [kept, measurement] : group.points)
      curve.points.push_back({kept, measurement});
  }
  return curves;
}

std::string SensitivityText(const std::vector<SensitivityCurve>& curves) {
  double highest = 0;
  for (const SensitivityCurve& curve : curves) {
    for (const SensitivityPoint& point : curve.points) {
      highest = std::max(highest, Height(point.measurement.kl()));
    }
  }
  Table table({{"group"}, {"channels", Align::kRight}, {"KL"}, {"kept: KL"}});
  for (const SensitivityCurve& curve : curves) {
    std::vector<double> heights;
    std::vector<std::string> points;
    for (const SensitivityPoint& point : curve.points) {
      if (point.kept == curve.channels) continue;
      heights.push_back(Height(point.measurement.kl()));
      points.push_back(
          absl::StrFormat("%3.0f%%: %-8.3g", 100 * RatioOf(curve, point), point.measurement.kl()));
    }
    table.AddRow({curve.group, absl::StrCat(curve.channels), SparkLine(heights, 0, highest),
                  absl::StrJoin(points, "  ")});
  }
  return table.ToString();
}

std::string SensitivityJson(const std::vector<SensitivityCurve>& curves) {
  std::string text;
  for (const SensitivityCurve& curve : curves) {
    std::vector<std::string> points;
    for (const SensitivityPoint& point : curve.points) {
      const v1::Measurement& measured = point.measurement;
      points.push_back(absl::StrCat(
          "{\"kept\": ", point.kept, ", \"ratio\": ", RoundTrip(RatioOf(curve, point)),
          ", \"kl\": ", RoundTrip(measured.kl()), ", \"top1\": ", RoundTrip(measured.top1()),
          ", \"top5\": ", RoundTrip(measured.top5()), ", \"loss\": ", RoundTrip(measured.loss()),
          ", \"images\": ", measured.images(), "}"));
    }
    absl::StrAppend(&text, "{\"group\": ", JsonQuote(curve.group),
                    ", \"channels\": ", curve.channels, ", \"points\": [",
                    absl::StrJoin(points, ", "), "]}\n");
  }
  return text;
}

}  // namespace amc
