// What a candidate costs to rebuild while the search runs: a small solve per layer, no activations.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"
#include "env/prune/layers.h"
#include "env/prune/surgery.h"
#include "env/prune/torch_moments.h"

namespace amc {

// Changes the weights of `shrunk` (what Shrink made of `graph`) so that every layer which lost
// features comes as near as it can to the original's output, given the original's input. `moments`
// are parallel to `layers`, which ListLayers(graph) gave; layers without (or without covariances)
// keep their sliced weights. The intercept goes into the bias or batch norm's mean.
absl::Status ReconstructFast(const Graph& graph, const Grouping& grouping,
                             const std::vector<Layer>& layers,
                             const std::vector<std::optional<FeatureMoments>>& moments,
                             const ChannelSelection& selection, double ridge, Graph& shrunk);

// A float constant as a tensor that owns its values; InvalidArgument as Values().
absl::StatusOr<torch::Tensor> ConstantTensor(const Graph& graph, TensorId id);
// Adds `values` to a constant that has as many elements; InvalidArgument as Values().
absl::Status AddToConstant(Graph& graph, TensorId id, const torch::Tensor& values);

}  // namespace amc
