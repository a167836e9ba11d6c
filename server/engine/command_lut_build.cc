// lut build: measures the layers of a network on a runtime of this machine, and whole networks to
// tell what layers alone miss. What is measured is in the file after every kind of layer, so that
// an interrupted build goes on.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "env/graph/onnx_import.h"
#include "env/latency_calibration.h"
#include "env/measure/build_table.h"
#include "env/measure/runtime.h"
#include "server/cli/built_table_text.h"
#include "server/cli/exit_status.h"
#include "server/cli/json.h"
#include "server/cli/progress.h"
#include "server/engine/commands.h"
#include "server/rpc/latency_convert.h"

namespace amc {
namespace {

std::string Today() { return absl::FormatTime("%Y-%m-%d", absl::Now(), absl::UTCTimeZone()); }

// The table that is in the file already, or an empty one of the runtime's setting.
absl::StatusOr<LatencyTable> Begin(const LutBuildArgs& args, const LatencySetting& setting) {
  LatencyTable table{.setting = setting, .date = Today(), .tolerance = args.tolerance};
  std::error_code error;
  if (!std::filesystem::exists(args.output, error)) return table;
  AMC_ASSIGN_OR_RETURN(const std::string text, ReadFile(args.output));
  absl::StatusOr<LatencyTable> found = ReadLatencyCsv(text);
  AMC_RETURN_IF_ERROR(Annotate(found.status(), args.output));
  absl::StatusOr<LatencyTable> extended = ExtendLatencyTable(*found, table);
  if (!extended.ok()) {
    return WithHint(Annotate(extended.status(), args.output),
                    "Give this table another -o, or remove the old one.");
  }
  return extended;
}

class Builder {
 public:
  Builder(const LutBuildArgs& args, Runtime& runtime, const Graph& graph, const Grouping& grouping,
          LatencyTable table)
      : args_(args),
        runtime_(runtime),
        graph_(graph),
        grouping_(grouping),
        table_(std::move(table)) {
    measure_.sampler.tolerance = args.tolerance;
    measure_.sampler.seed = args.seed;
  }

  // Kind by kind.
  absl::Status MeasureLayers() {
    AMC_ASSIGN_OR_RETURN(const std::vector<TablePoint> points,
                         PlanTable(graph_, grouping_, table_, static_cast<size_t>(args_.points),
                                   args_.channel_multiple));
    measured_ = static_cast<int64_t>(points.size());
    size_t before = 0;
    for (const absl::Span<const TablePoint> kind : SplitPlan(points, points.size())) {
      const auto show = [&](size_t done, size_t) {
        Show("measuring layers", before + done, points.size(), eta_);
      };
      AMC_ASSIGN_OR_RETURN(const MeasuredRows rows,
                           MeasurePoints(runtime_, graph_, kind, measure_, show));
      unstable_ += rows.unstable;
      AMC_RETURN_IF_ERROR(Add({.setting = table_.setting, .date = Today(), .rows = rows.rows}));
      before += kind.size();
    }
    return absl::OkStatus();
  }

  absl::Status FitWholeNetworks(const std::string& model) {
    CalibrationOptions options{.fitted = args_.networks,
                               .unseen = args_.unseen,
                               .seed = args_.seed,
                               .channel_multiple = args_.channel_multiple,
                               .measure = measure_};
    EtaMeter eta;
    AMC_ASSIGN_OR_RETURN(const LatencyFit fit,
                         CalibrateLatency(runtime_, graph_, grouping_, table_, model, options,
                                          [&](size_t done, size_t total) {
                                            Show("measuring whole networks", done, total, eta);
                                          }));
    return Add({.setting = table_.setting, .date = Today(), .fits = {fit}});
  }

  void Finish() { line_.Finish(); }
  const LatencyTable& table() const { return table_; }
  int64_t measured() const { return measured_; }
  int64_t unstable() const { return unstable_; }

 private:
  void Show(const std::string& what, size_t done, size_t total, EtaMeter& eta) {
    line_.Show(absl::StrCat(what, " ", done, "/", total, "  ",
                            eta.Eta(static_cast<double>(done), static_cast<double>(total))));
  }

  absl::Status Add(LatencyTable more) {
    more.tolerance = args_.tolerance;
    AMC_ASSIGN_OR_RETURN(table_, ExtendLatencyTable(table_, more));
    return WriteFileAtomically(args_.output, WriteLatencyCsv(table_));
  }

  const LutBuildArgs& args_;
  Runtime& runtime_;
  const Graph& graph_;
  const Grouping& grouping_;
  LatencyTable table_;
  MeasureOptions measure_;
  ProgressLine line_;
  EtaMeter eta_;
  int64_t measured_ = 0, unstable_ = 0;
};

}  // namespace

absl::Status RunLutBuild(const LutBuildArgs& args) {
  AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(args.model));
  const absl::StatusOr<Graph> graph = ImportOnnx(bytes);
  AMC_RETURN_IF_ERROR(Annotate(graph.status(), args.model));
  AMC_ASSIGN_OR_RETURN(const Grouping grouping, BuildGroups(*graph));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Runtime> runtime,
                       CreateRuntime(args.runtime, {.threads = args.threads, .batch = args.batch}));
  AMC_ASSIGN_OR_RETURN(LatencyTable table, Begin(args, runtime->setting()));
  const std::string model = Sha256Hex(bytes);
  Builder builder(args, *runtime, *graph, grouping, std::move(table));
  AMC_RETURN_IF_ERROR(builder.MeasureLayers());
  AMC_RETURN_IF_ERROR(builder.FitWholeNetworks(model));
  builder.Finish();
  v1::BuiltTable built;
  *built.mutable_table() = DescribeLatencyTable(builder.table());
  built.set_measured(builder.measured());
  built.set_unstable(builder.unstable());
  if (args.json) {
    PrintJson(built.table());
  } else {
    std::fputs(BuiltTableText(args.output, built, args.tolerance, model).c_str(), stdout);
  }
  return absl::OkStatus();
}

}  // namespace amc
