// Channel statistics of a changed network, exact over a set of images.
//
// Pruning shifts the distributions that batch norm's running mean and variance describe. Here all
// images pass one node before the next one runs, so every batch norm sees inputs that were
// normalised with the final statistics of those before it; no moving average is involved.
//
// Against a reference, the statistics are not those of the images but what gives the result the
// mean and deviation that the original's result has on the same images. Both are the same where the
// original's running statistics are true of the images; where they are not (training augmented
// them, or the set is small), the difference cancels out.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "env/exec/data_pack.h"
#include "env/exec/exec_options.h"
#include "env/exec/prefix_cache.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"
#include "env/prune/rebuilt.h"
#include "env/prune/surgery.h"

namespace amc {

// Images [first, first + count) of the reconstruction split.
struct CalibrationSet {
  const DataPack* pack = nullptr;
  int64_t first = 0, count = 0;
};

// Mean and variance of every channel of a batch norm's input, or of the output of a convolution
// that has a bias and no batch norm.
struct ChannelMoments {
  std::vector<float> mean, variance;
};
using ReferenceMoments = std::map<NodeId, ChannelMoments>;

// Errors of TorchNetwork::Create; like the others here, Cancelled by an InterruptScope
// (base/interrupt.h).
absl::StatusOr<ReferenceMoments> MeasureReference(const Graph& graph, const CalibrationSet& images,
                                                  const ExecOptions& options);

// `graph` with batch norms that have the statistics of the images.
absl::StatusOr<Rebuilt> Recalibrate(const Graph& graph, const CalibrationSet& images,
                                    const ExecOptions& options);

// `shrunk` (made of `original`, batch norm's scale and shift unchanged) with statistics, weights
// and biases that give each of them the moments that the original has on the same images, of which
// `reference` was measured. What comes before the first difference between the two networks stays
// as it is, to the bit. With a cache in `start`, of the same images and WalkOptions, only what
// comes after its cut is run. InvalidArgument names a node that `reference` lacks.
absl::StatusOr<Rebuilt> RecalibrateAgainst(const Graph& original, const Grouping& grouping,
                                           const ChannelSelection& selection,
                                           const ReferenceMoments& reference, const Graph& shrunk,
                                           const CalibrationSet& images, const ExecOptions& options,
                                           const PrefixStart& start = {});

}  // namespace amc
