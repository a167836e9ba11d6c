// Times networks on the runtimes of this machine, for tasks that ask for it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "amc/v1/worker.pb.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"
#include "env/measure/build_table.h"
#include "env/measure/runtime.h"
#include "server/worker/artifact_cache.h"

namespace amc {

// One thread.
class TimingExecutor {
 public:
  using Progress = std::function<void(absl::string_view what, int64_t done, int64_t total)>;

  // The cache must outlive the executor.
  explicit TimingExecutor(ArtifactCache* cache) : cache_(cache) {}

  // A lease of kind TIME: the original and its pruned versions, in turns. FailedPrecondition where
  // this machine's runtime is not the order's; errors as TimePruned.
  absl::StatusOr<v1::TimingReport> Time(const v1::Lease& lease, const Progress& progress,
                                        const std::function<bool()>& cancelled);

  // A lease of kind MEASURE_LAYERS: the points of one kind of layer, each by itself.
  // InvalidArgument if the network has no such layer; otherwise as Time and MeasurePoints.
  absl::StatusOr<v1::LayerReport> MeasureLayers(const v1::Lease& lease, const Progress& progress,
                                                const std::function<bool()>& cancelled);

  // What this machine can measure with besides libtorch: "onnxruntime 1.30.0". Starts their
  // helpers, which takes some 0.2 s.
  static std::vector<std::string> HelperRuntimes();

 private:
  // What a lease is about.
  struct Subject {
    Graph graph;
    Grouping grouping;
    Runtime* runtime = nullptr;
    MeasureOptions options;
  };
  absl::StatusOr<Subject> Open(const v1::Lease& lease, const Progress& progress,
                               const std::function<bool()>& cancelled);
  // The runtime of the setting. It is kept from task to task of one model, so that their times are
  // on one scale (Runtime::reference).
  absl::StatusOr<Runtime*> OpenRuntime(const v1::LatencySetting& setting, const std::string& model);
  // After a failure: its helper may be dead, of a cancelled measurement it is. Returns `why`.
  absl::Status DropRuntime(const absl::Status& why);
  absl::StatusOr<std::string> ModelBytes(const std::string& digest, const Progress& progress,
                                         const std::function<bool()>& cancelled);

  ArtifactCache* const cache_;
  std::unique_ptr<Runtime> runtime_;
  std::string key_;  // of runtime_
};

}  // namespace amc
