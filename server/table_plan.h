// What a table job (JobSpec.build) is going to measure: the points that its latency table lacks,
// and in which setting. Decided once when it is submitted, to refuse what cannot be done, and again
// by its thread, the same way.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "amc/v1/job.pb.h"
#include "env/cost/latency_table.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"
#include "env/measure/build_table.h"
#include "server/model_cache.h"
#include "storage/store.h"

namespace amc {

struct TablePlan {
  std::shared_ptr<const Graph> graph;  // without weights
  Grouping grouping;
  // What is extended, or an empty table. Of the latter, device and version are empty where any will
  // do: the first worker's then are the table's.
  LatencyTable base;
  std::vector<TablePoint> points;  // as PlanTable sorts them
};

// `spec` is resolved, its `build.extend` a whole digest or empty. NotFound for model or table;
// otherwise InvalidArgument with the field to blame.
absl::StatusOr<TablePlan> PlanTableJob(const v1::JobSpec& spec, Store& store, ModelCache& models);

// A job ready to be stored as QUEUED, of a spec that has been resolved. Errors as PlanTableJob; a
// table that would be larger than the wire carries is refused.
absl::StatusOr<v1::Job> PrepareTableJob(const v1::JobSpec& spec, Store& store, ModelCache& models);

}  // namespace amc
