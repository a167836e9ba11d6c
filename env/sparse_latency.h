// A simulated runtime as a target of searches: what its cycle model says of every layer at every
// share of its weights, as a latency table.
//
// Each row is a layer alone ("sparse element 16x3x3x3 conv1.weight", `in` of `out` shares kept),
// pruned by magnitude and run by the model on the activations of one image; layers without units of
// the granularity have one row, whole. The setting's device is "simulated", so that such times
// never meet measured ones; there is nothing to measure and nothing to fit.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "env/backend/backend.h"
#include "env/cost/latency_table.h"
#include "env/graph/graph.h"
#include "env/sparse_space.h"

namespace amc {

struct SimulateOptions {
  SparseSpace space = {};
  int64_t points = 16;       // densities of every layer, at least 2
  bool linear_only = false;  // convolutions run elsewhere, and take next to no time
};

// `inputs` has what each layer reads of one image (env/exec/layer_inputs.h). InvalidArgument if the
// backend has no cycle model or a layer has no input; FailedPrecondition names a layer that it can
// run at no density; errors of WeightGroups and SelectWeights.
absl::StatusOr<LatencyTable> SimulateTable(
    const Graph& graph, const Backend& backend, const SimulateOptions& options,
    const std::map<NodeId, std::vector<float>>& inputs,
    const std::function<void(int64_t done, int64_t total)>& progress);

}  // namespace amc
