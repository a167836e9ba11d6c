// Models and environments by digest: what submission, job threads and EnvironmentService share.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "amc/v1/job.pb.h"
#include "base/mutex.h"
#include "env/amc_env.h"
#include "env/graph/graph.h"
#include "storage/artifact_store.h"

namespace amc {

// Thread-safe. Keeps the newest few of each; graphs without their weights, which nothing here
// needs.
class ModelCache {
 public:
  // `artifacts` must outlive the cache.
  explicit ModelCache(const ArtifactStore* artifacts) : artifacts_(artifacts) {}

  // The weightless graph of an ONNX artifact. NotFound, DataLoss, or as ImportOnnx.
  absl::StatusOr<std::shared_ptr<const Graph>> Model(const std::string& digest);

  // Where a resolved space leaves the residual path open: keeps it whole if the budget can be
  // reached so. The measurements behind this stand in docs/architecture.md. Errors as Model.
  absl::Status DecideResidualPath(const std::string& digest, const v1::Budget& budget,
                                  v1::SpaceSpec& space);

  // A fresh environment; budget and space are resolved. Errors as Model and AmcEnv::Create.
  absl::StatusOr<std::unique_ptr<Environment>> MakeEnvironment(const std::string& digest,
                                                               const v1::Budget& budget,
                                                               const v1::SpaceSpec& space);

 private:
  // A short list, newest first.
  template <typename T>
  using Recent = std::list<std::pair<std::string, std::shared_ptr<T>>>;

  const ArtifactStore* const artifacts_;
  Mutex mutex_;
  Recent<const Graph> models_ ABSL_GUARDED_BY(mutex_);
  Recent<const Environment> environments_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace amc
