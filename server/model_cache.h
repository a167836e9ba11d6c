// Models and environments by digest: what submission, job threads and EnvironmentService share.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "amc/v1/job.pb.h"
#include "base/mutex.h"
#include "env/amc_env.h"
#include "env/cost/latency_model.h"
#include "env/cost/latency_table.h"
#include "env/graph/graph.h"
#include "server/job_spec.h"
#include "storage/artifact_store.h"

namespace amc {

// Thread-safe. Keeps the newest few of each; graphs without their weights, which nothing here
// needs.
class ModelCache {
 public:
  // By digest. NotFound.
  using LatencyTables = std::function<absl::StatusOr<LatencyTable>(const std::string& digest)>;

  // `artifacts` must outlive the cache.
  ModelCache(const ArtifactStore* artifacts, LatencyTables latency_tables)
      : artifacts_(artifacts), latency_tables_(std::move(latency_tables)) {}

  // The weightless graph of an ONNX artifact. NotFound, DataLoss, or as ImportOnnx.
  absl::StatusOr<std::shared_ptr<const Graph>> Model(const std::string& digest);

  // What resolved settings leave open of the space: the largest multiple of channels and whole
  // residual paths if the budget can be reached so (on latency with some percent to spare, by which
  // predictions may be off), and something pruned; multiples matter more.
  // The measurements behind this stand in docs/architecture.md. Errors as Model.
  absl::Status DecideSpace(const std::string& digest, EnvironmentSettings& settings);

  // A fresh environment of resolved settings. Errors as Model, AmcEnv::Create and, for its table,
  // Latency.
  absl::StatusOr<std::unique_ptr<Environment>> MakeEnvironment(const std::string& digest,
                                                               const EnvironmentSettings& settings);

  // What the pruned versions of a model take, by a table. Errors as Model; NotFound for a table
  // that is not there, and as LatencyModel::Create.
  absl::StatusOr<LatencyModel> Latency(const std::string& digest, const std::string& table);

 private:
  // A short list, newest first.
  template <typename T>
  using Recent = std::list<std::pair<std::string, std::shared_ptr<T>>>;

  const ArtifactStore* const artifacts_;
  const LatencyTables latency_tables_;
  Mutex mutex_;
  Recent<const Graph> models_ ABSL_GUARDED_BY(mutex_);
  Recent<const Environment> environments_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace amc
