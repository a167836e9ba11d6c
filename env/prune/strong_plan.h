// Which layers a strong reconstruction refits, in which order, and towards what.
#pragma once

#include <limits>
#include <vector>

#include "absl/status/statusor.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"
#include "env/prune/layers.h"
#include "env/prune/surgery.h"

namespace amc {

// Handles name the same nodes and tensors in the original and the shrunk graph.
struct Refit {
  Layer layer;                        // of the shrunk graph
  TensorId target = TensorId::kNone;  // the original's tensor to reproduce
  TensorId other = TensorId::kNone;   // the shrunk network's tensor that is added to the result
  float low = -std::numeric_limits<float>::infinity();  // what the target's reader clips to
  float high = std::numeric_limits<float>::infinity();
  std::vector<int64_t> kept;  // channels of the target that are left
};

// In topological order. Leaves out layers whose inputs and targets are what they were, and those
// with more than `max_features` features.
absl::StatusOr<std::vector<Refit>> PlanRefits(const Graph& graph, const Grouping& grouping,
                                              const ChannelSelection& selection,
                                              const Graph& shrunk, int64_t max_features);

}  // namespace amc
