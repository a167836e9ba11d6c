// Does what a lease asks for: measures the original, measures a candidate, times networks
// (timing.h), finishes the winner.
//
// What is expensive and the same for every candidate of a job (normal equations, the original's
// logits) is kept per model, data and settings, so a worker pays for it once. Torch-free:
// everything that computes lies behind env's headers.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "amc/v1/worker.pb.h"
#include "env/exec/data_pack.h"
#include "env/graph/graph.h"
#include "env/local_evaluator.h"
#include "server/worker/artifact_cache.h"
#include "server/worker/timing.h"

namespace amc {

// How far a task has come: "normal equations", 12 of 19.
using TaskProgressFn = std::function<void(absl::string_view what, int64_t done, int64_t total)>;

// What a job's tasks have in common.
struct Workspace {
  std::string key;
  int64_t model_bytes = 0;  // of the ONNX file
  Graph graph;
  std::unique_ptr<DataPack> pack;
  std::unique_ptr<LocalEvaluator> evaluator;  // refers to the two above
};

// One thread.
class TaskExecutor {
 public:
  // The cache must outlive the executor.
  explicit TaskExecutor(ArtifactCache* cache) : cache_(cache), timing_(cache) {}

  // Cancelled soon after `cancelled` says so: it is asked between any two batches or layers. Sets
  // this process's thread count to the job's.
  absl::StatusOr<v1::TaskResult> Execute(const v1::Lease& lease, const TaskProgressFn& progress,
                                         const std::function<bool()>& cancelled);

  // What the server is told of an error: whether another attempt may go better.
  static v1::TaskError ToTaskError(const absl::Status& status);

  // This machine's part of every numerics id: "avx512:torch1.13.1".
  static std::string PlatformId();
  // What it measures with: "libtorch 1.13.1", "onnxruntime 1.30.0".
  static std::vector<std::string> Runtimes();

 private:
  absl::StatusOr<Workspace*> Open(const v1::JobSpec& spec, const TaskProgressFn& progress,
                                  const std::function<bool()>& cancelled);

  ArtifactCache* const cache_;
  TimingExecutor timing_;
  std::list<std::unique_ptr<Workspace>> workspaces_;  // newest first
};

}  // namespace amc
