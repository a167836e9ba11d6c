// What runs networks, so that it can be measured how long they take: libtorch in this process,
// ONNX Runtime and OpenCV in helper processes.
//
//   AMC_ASSIGN_OR_RETURN(const auto runtime, CreateRuntime("onnxruntime", options));
//   AMC_ASSIGN_OR_RETURN(const auto network, runtime->Load(graph));
//   AMC_ASSIGN_OR_RETURN(const std::vector<double> us, network->Time(100));
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "env/cost/latency_table.h"
#include "env/graph/graph.h"

namespace amc {

struct RuntimeOptions {
  int64_t threads = 1;
  int64_t batch = 1;
  // Where the helpers are (onnxruntime.mjs, amc-opencv-helper); empty: beside this program.
  std::string helpers = {};
  std::string node = "node";  // looked up in PATH
  // A folder whose node_modules holds onnxruntime-node; empty: $AMC_ONNXRUNTIME_DIR, or, without
  // it, build/consumers, where deploy/test.sh installs it.
  std::string onnxruntime = {};
  absl::Duration timeout = absl::Minutes(2);  // what a helper may take for one answer
};

// A network that is ready to run. One thread at a time; must not outlive its runtime.
class LoadedNetwork {
 public:
  virtual ~LoadedNetwork() = default;
  // Runs it `runs` times, one after the other, on random images that stay the same, and returns how
  // many microseconds each run took, from images in memory to outputs in memory. The first call
  // warms up before that. Cancelled as CheckInterrupt; Unavailable or DeadlineExceeded where a
  // helper died or hung.
  virtual absl::StatusOr<std::vector<double>> Time(int64_t runs) = 0;
};

// One thread at a time.
class Runtime {
 public:
  virtual ~Runtime() = default;
  const LatencySetting& setting() const { return setting_; }
  // InvalidArgument or Unimplemented name the layer or network that the runtime refuses, or a batch
  // that it cannot have; FailedPrecondition if a constant is weightless. A refused network leaves
  // the runtime as it was.
  virtual absl::StatusOr<std::unique_ptr<LoadedNetwork>> Load(const Graph& graph) = 0;

  // What all else is timed against, from the first measurement on (build_table.h), and how long
  // that took then. Later ones take it to be the same, so that all times are on one scale, however
  // the machine's speed has changed meanwhile.
  struct Reference {
    std::optional<Graph> graph;
    double us = 0;
  };
  Reference& reference() { return reference_; }

 protected:
  explicit Runtime(LatencySetting setting) : setting_(std::move(setting)) {}

 private:
  const LatencySetting setting_;
  Reference reference_;
};

std::vector<std::string> RuntimeNames();  // "libtorch", "onnxruntime", "opencv"

// InvalidArgument for another name (the message lists them) and for threads or batch below 1;
// FailedPrecondition says what to install. "libtorch" sets this process's threads (TuneProcess).
absl::StatusOr<std::unique_ptr<Runtime>> CreateRuntime(absl::string_view name,
                                                       const RuntimeOptions& options);

// The processor of this machine, as /proc/cpuinfo names it ("AMD EPYC 9R14"); its architecture if
// there is no name in it.
std::string DeviceName();
std::string DeviceNameFrom(absl::string_view cpuinfo);  // of the file's text; empty if not there

// How many images one run of `graph` takes: `batch`. InvalidArgument unless it has one input of
// known shape that takes so many. Returns that input's shape with the batch filled in.
absl::StatusOr<Shape> InputShape(const Graph& graph, int64_t batch);

// Takes `time` to run a network the first times, when caches, branch predictors and memory pools
// are cold: three runs, and on until 10 ms are over.
inline constexpr int64_t kWarmUpRuns = 3;
inline constexpr absl::Duration kWarmUpTime = absl::Milliseconds(10);

}  // namespace amc
