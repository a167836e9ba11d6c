// JobRunner's other kind of job: one that makes a latency table.
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "server/job_runner.h"
#include "server/latency_import.h"
#include "server/table_builder.h"
#include "server/table_plan.h"

namespace amc {

absl::Status JobRunner::MakeTable() {
  const v1::JobSpec& spec = job_.spec();
  AMC_ASSIGN_OR_RETURN(const TablePlan plan, PlanTableJob(spec, *context_.store, *context_.models));
  if (job_.start_time_ms() == 0) {
    job_.set_start_time_ms(absl::ToUnixMillis(context_.clock->Now()));
  }
  AMC_RETURN_IF_ERROR(Enter(v1::JOB_STATE_MEASURING));
  AMC_ASSIGN_OR_RETURN(const BuiltTable built,
                       BuildTable(
                           spec, plan, [this](const TaskRecord& task) { return RunTask(task); },
                           context_.clock->Now()));
  v1::BuiltTable& result = *job_.mutable_result()->mutable_table();
  result.set_measured(built.measured);
  result.set_unstable(built.unstable);
  AMC_RETURN_IF_ERROR(Persist([&] {
    const absl::StatusOr<v1::LatencyTableInfo> info =
        StoreLatencyTable(*context_.store, built.table, context_.clock->Now());
    if (info.ok()) *result.mutable_table() = *info;
    return info.status();
  }));
  job_.set_state(v1::JOB_STATE_SUCCEEDED);
  job_.set_end_time_ms(absl::ToUnixMillis(context_.clock->Now()));
  v1::JobEvent event = MakeEvent(v1::EVENT_KIND_RESULT);
  *event.mutable_result() = job_.result();
  AMC_RETURN_IF_ERROR(Update({std::move(event), MakeEvent(v1::EVENT_KIND_STATE)}));
  AMC_LOG(kInfo) << "job " << job_.id() << " succeeded: latency table " << result.table().digest()
                 << " of " << result.table().rows() << " rows";
  return absl::OkStatus();
}

}  // namespace amc
