#include "server/cli/report.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/cli/budget_text.h"
#include "server/cli/built_table_text.h"
#include "server/cli/format.h"
#include "server/cli/latency_text.h"
#include "server/cli/table.h"

namespace amc {
namespace {

constexpr int kBarWidth = 30;

std::string RatioOf(double after, double before) {
  return before > 0 ? Percent(after / before) : "";
}

std::string CountRatio(int64_t after, int64_t before) {
  return RatioOf(static_cast<double>(after), static_cast<double>(before));
}

std::string Points(double after, double before) {
  return absl::StrFormat("%+.2f points", 100 * (after - before));
}

}  // namespace

std::string EpisodeNote(const v1::Episode& episode) {
  std::vector<std::string> notes;
  if (!episode.note().empty()) notes.push_back(episode.note());
  if (episode.reused()) notes.emplace_back("reused");
  if (episode.state() == v1::EPISODE_STATE_INFEASIBLE) {
    notes.push_back(absl::StrCat("infeasible: ", episode.infeasible()));
  }
  return absl::StrJoin(notes, ", ");
}

std::string PreserveRatioBars(const google::protobuf::RepeatedPtrField<v1::Step>& steps) {
  size_t width = 0;
  for (const v1::Step& step : steps) width = std::max(width, DisplayWidth(step.group()));
  std::string text;
  for (const v1::Step& step : steps) {
    const double ratio = step.channels() > 0 ? static_cast<double>(step.kept()) /
                                                   static_cast<double>(step.channels())
                                             : 1;
    absl::StrAppend(
        &text, step.group(), std::string(width - DisplayWidth(step.group()), ' '), "  ",
        Bar(ratio, kBarWidth),
        absl::StrFormat("  %3.0f%%  %d of %d\n", 100 * ratio, step.kept(), step.channels()));
  }
  return text;
}

std::string ResultText(const v1::Job& job) {
  const v1::JobResult& result = job.result();
  if (result.has_table()) {
    return BuiltTableText("table", result.table(), job.spec().build().tolerance(),
                          job.spec().model());
  }
  const v1::Measurement& before = result.original();
  const v1::Measurement& after = result.compressed();
  Table table({{""},
               {"before", Align::kRight},
               {"after", Align::kRight},
               {"after / before", Align::kRight}});
  table.AddRow({"MACs", HumanCount(before.cost().macs()), HumanCount(after.cost().macs()),
                CountRatio(after.cost().macs(), before.cost().macs())});
  table.AddRow({"parameters", HumanCount(before.cost().params()), HumanCount(after.cost().params()),
                CountRatio(after.cost().params(), before.cost().params())});
  table.AddRow({"file size", HumanBytes(result.original_bytes()),
                HumanBytes(result.compressed_bytes()),
                CountRatio(result.compressed_bytes(), result.original_bytes())});
  for (const v1::ResourceUse& use : result.uses()) {
    if (use.resource() == v1::RESOURCE_MACS || use.resource() == v1::RESOURCE_PARAMS) continue;
    table.AddRow({ResourceTitle(use.resource()), AmountOf(use.resource(), use.original()),
                  AmountOf(use.resource(), use.compressed()),
                  CountRatio(use.compressed(), use.original())});
  }
  table.AddRow({"test accuracy, top-1", Percent(before.top1(), 2), Percent(after.top1(), 2),
                Points(after.top1(), before.top1())});
  const v1::LatencyCheck& latency = result.latency();
  if (latency.measured_us() > 0) {
    const auto ms = [](double us) { return absl::StrFormat("%.4g ms", us / 1000); };
    table.AddRow({"latency, measured", ms(latency.measured_original_us()),
                  ms(latency.measured_us()),
                  RatioOf(latency.measured_us(), latency.measured_original_us())});
  }
  table.AddRow({result.has_latency() ? "libtorch, 1 image" : "measured latency, 1 image",
                absl::StrFormat("%.2f ms", result.original_latency_ms()),
                absl::StrFormat("%.2f ms", result.compressed_latency_ms()),
                RatioOf(result.compressed_latency_ms(), result.original_latency_ms())});
  return absl::StrCat(table.ToString(), "\n",
                      result.has_latency() ? LatencyCheckText(latency) + "\n" : "",
                      "Test accuracy on ", after.images(),
                      " images that the search never saw. What each group keeps:\n\n",
                      PreserveRatioBars(result.steps()));
}

}  // namespace amc
