// Has workers measure a latency table: what a table job's thread does.
//
// Layers are measured kind by kind, one task after the other, so that one worker at a time makes
// noise on its machine and each task finds the setting and the scale of the first one: that task's
// worker decides device and version where the spec leaves them open, and its time of the whole
// network is what all later times are multiples of. Then one task times whole pruned networks,
// which the table is fitted to. Results of tasks stay in the store: a builder that starts again
// gets them from there and comes to the same table.
#pragma once

#include <functional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "amc/v1/job.pb.h"
#include "env/cost/latency_table.h"
#include "server/table_plan.h"
#include "storage/store.h"

namespace amc {

struct BuiltTable {
  LatencyTable table;    // checked and sorted
  int64_t measured = 0;  // rows that the plan asked for
  int64_t unstable = 0;  // of these, that did not come within the tolerance
};

// Adds a task, if it is not there, and waits for its result.
using RunTaskFn = std::function<absl::StatusOr<TaskRecord>(const TaskRecord& task)>;

// `spec` is the resolved one of `plan`; `now` becomes the table's date. Errors of `run_task`;
// InvalidArgument where the measurements make no good table.
absl::StatusOr<BuiltTable> BuildTable(const v1::JobSpec& spec, const TablePlan& plan,
                                      const RunTaskFn& run_task, absl::Time now);

}  // namespace amc
