#include "server/table_plan.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/measure/runtime.h"
#include "server/latency_import.h"
#include "server/rpc/latency_convert.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

LatencySetting SettingOf(const v1::LatencyBuild& build) {
  return {.device = build.device(),
          .runtime = build.runtime(),
          .version = {},
          .threads = build.threads(),
          .batch = build.batch()};
}

// The stored table that is extended, which has to be of the wanted setting.
absl::StatusOr<LatencyTable> ReadBase(const v1::LatencyBuild& build, Store& store) {
  AMC_ASSIGN_OR_RETURN(const v1::LatencyTable stored, store.GetLatencyTable(build.extend()));
  LatencyTable base = FromProto(stored);
  LatencySetting wanted = SettingOf(build);
  wanted.version = base.setting.version;
  if (wanted.device.empty()) wanted.device = base.setting.device;
  if (wanted == base.setting) return base;
  return absl::InvalidArgumentError(absl::StrCat(
      "table ", build.extend(), " is of ", ToString(base.setting), ", not of ", ToString(wanted)));
}

// That the model is a network which a runtime can be given.
absl::Status CheckInput(const Graph& graph, int64_t batch) {
  const absl::Status status = InputShape(graph, batch).status();
  const bool other_batch = !graph.inputs.empty() && graph.tensor(graph.inputs[0]).shape_known &&
                           !graph.tensor(graph.inputs[0]).shape.empty() &&
                           InputShape(graph, graph.tensor(graph.inputs[0]).shape[0]).ok();
  return AtField(status, other_batch ? "spec.build.batch" : "spec.model");
}

// That the table will fit into a request, as every stored one does.
absl::Status CheckSize(const TablePlan& plan) {
  LatencyTable table = plan.base;
  for (const TablePoint& point : plan.points) {
    table.rows.push_back({.layer = point.layer.kind,
                          .in = point.in,
                          .out = point.out,
                          .median_us = 1,
                          .spread_us = 1});
  }
  const absl::Status status = CheckLatencyTableSize(table);
  return status.ok() ? status : FieldError("spec.build.points", status.message());
}

}  // namespace

absl::StatusOr<TablePlan> PlanTableJob(const v1::JobSpec& spec, Store& store, ModelCache& models) {
  const v1::LatencyBuild& build = spec.build();
  TablePlan plan;
  absl::StatusOr<std::shared_ptr<const Graph>> graph = models.Model(spec.model());
  if (!graph.ok()) return AtField(graph.status(), "spec.model");
  plan.graph = *std::move(graph);
  AMC_RETURN_IF_ERROR(CheckInput(*plan.graph, build.batch()));
  absl::StatusOr<Grouping> grouping = BuildGroups(*plan.graph);
  if (!grouping.ok()) return AtField(grouping.status(), "spec.model");
  plan.grouping = *std::move(grouping);
  plan.base = {.setting = SettingOf(build), .date = {}, .tolerance = build.tolerance()};
  if (!build.extend().empty()) {
    absl::StatusOr<LatencyTable> base = ReadBase(build, store);
    if (!base.ok()) return AtField(base.status(), "spec.build.extend");
    plan.base = *std::move(base);
  }
  absl::StatusOr<std::vector<TablePoint>> points =
      PlanTable(*plan.graph, plan.grouping, plan.base, static_cast<size_t>(build.points()),
                build.channel_multiple());
  if (!points.ok()) return AtField(points.status(), "spec.model");
  plan.points = *std::move(points);
  if (plan.points.empty() && plan.base.rows.empty()) {
    return FieldError("spec.model",
                      "has neither convolutions nor linear layers that could be measured");
  }
  return plan;
}

absl::StatusOr<v1::Job> PrepareTableJob(const v1::JobSpec& spec, Store& store, ModelCache& models) {
  v1::Job job;
  *job.mutable_spec() = spec;
  if (!spec.build().extend().empty()) {
    const absl::StatusOr<v1::LatencyTableInfo> info = store.FindLatencyTable(spec.build().extend());
    if (!info.ok()) return AtField(info.status(), "spec.build.extend");
    job.mutable_spec()->mutable_build()->set_extend(info->digest());
  }
  AMC_ASSIGN_OR_RETURN(const TablePlan plan, PlanTableJob(job.spec(), store, models));
  AMC_RETURN_IF_ERROR(CheckSize(plan));
  if (spec.name().empty()) {
    const absl::StatusOr<v1::Artifact> artifact = store.GetArtifact(spec.model());
    job.mutable_spec()->set_name(artifact.ok() && !artifact->name().empty() ? artifact->name()
                                                                            : plan.graph->name);
  }
  job.set_state(v1::JOB_STATE_QUEUED);
  job.set_best_episode(-1);
  return job;
}

}  // namespace amc
