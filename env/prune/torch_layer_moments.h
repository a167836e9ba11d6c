// The moments of what the layers of a network read, from one walk through it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "env/exec/data_pack.h"
#include "env/exec/exec_options.h"
#include "env/graph/graph.h"
#include "env/prune/layers.h"
#include "env/prune/torch_moments.h"

namespace amc {

struct MomentSamples {
  int64_t images = 0;             // the first ones of the reconstruction split, at least 1
  int64_t positions_a_layer = 0;  // at random, equally many of each image, one at least
  uint64_t seed = 0;
  ExecOptions exec;
};

// Parallel to `layers` (ListLayers of `graph`), of those that are `wanted`: the walk ends with the
// last of them. Layers of more than kMaxRefitFeatures have no covariances. Errors of
// TorchNetwork::Create; Cancelled by an InterruptScope (base/interrupt.h).
absl::StatusOr<std::vector<std::optional<FeatureMoments>>> MeasureMoments(
    const Graph& graph, const std::vector<Layer>& layers, const std::vector<bool>& wanted,
    const DataPack& pack, const MomentSamples& samples,
    const std::function<void(int64_t done, int64_t total)>& progress);

}  // namespace amc
