// The winner's reconstruction: refits layer by layer from what the pruned network really computes.
//
// The original and the pruned network are walked side by side over all images. Each layer that lost
// features, or whose inputs changed, is fitted (with its batch norm, as one affine map) from the
// pruned network's inputs to the original's result, so that later layers correct what earlier ones
// could not. Where the result's only reader is an Add whose other side the pruned network has
// computed already, the target is the original's sum minus that side (He et al., "Channel pruning",
// ICCV 2017, section 3.2). Where a ReLU or Clip follows, only what it lets through counts. Batch
// norm comes out with statistics that are true of the new inputs and with the variance that it had,
// so that fine-tuning starts where training stopped.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "env/exec/data_pack.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"
#include "env/prune/pruner.h"
#include "env/prune/rebuilt.h"
#include "env/prune/surgery.h"

namespace amc {

// `shrunk` is what Shrink made of `graph`, perhaps with other weights. Uses the reconstruction
// split's first `images`, or as many as fit into 6 GiB of activations. Deterministic. A layer
// whose inputs are no longer finite keeps its weights: the network's logits will tell. Cancelled by
// an InterruptScope (base/interrupt.h). Its work: both networks, each up to where it was walked.
absl::StatusOr<Rebuilt> ReconstructStrongly(const Graph& graph, const Grouping& grouping,
                                            const ChannelSelection& selection, const Graph& shrunk,
                                            const DataPack& pack, int64_t images,
                                            const PruneOptions& options,
                                            const Pruner::Progress& progress);

}  // namespace amc
