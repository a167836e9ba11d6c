// Strong reconstruction for the many: the same refits from a sample of the reconstruction images,
// with what all candidates share computed once.
//
// A candidate's work is one walk of the pruned network over the sample, from the original's kept
// activations before its first change on; the original is not walked again, as the rows that layers
// aim at are kept. As samples are few, refits are held to the weights of fast reconstruction, whose
// samples are many. This ranks candidates nearly as strong reconstruction does, at a tenth of its
// price; fast reconstruction alone cannot tell what later layers will make up for.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/exec/data_pack.h"
#include "env/exec/prefix_cache.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"
#include "env/prune/pruner.h"
#include "env/prune/rebuilt.h"
#include "env/prune/strong_plan.h"
#include "env/prune/surgery.h"
#include "env/prune/torch_targets.h"

namespace amc {

// Thread-compatible. Results do not depend on what was rebuilt before.
class SampledReconstruction {
 public:
  // From the reconstruction split's first `images`, or as many as fit into 1 GiB of activations.
  // `graph`, `grouping` and `pack` must outlive it.
  SampledReconstruction(const Graph& graph, const Grouping& grouping, const DataPack& pack,
                        int64_t images, const PruneOptions& options);

  // `shrunk` is what Shrink made of the original, with the weights of ReconstructFast. As
  // ReconstructStrongly; the work is that of the pruned network alone.
  absl::StatusOr<Rebuilt> Run(const ChannelSelection& selection, const Graph& shrunk,
                              const Pruner::Progress& progress);

  int64_t images() const { return images_; }

 private:
  // Walks the original for the targets that are not kept yet.
  absl::Status KeepTargets(absl::Span<const Refit> refits);

  const Graph& graph_;
  const Grouping& grouping_;
  const DataPack& pack_;
  const int64_t images_;
  const PruneOptions options_;
  PrefixCache prefix_;
  std::map<NodeId, SampledTarget> targets_;  // by layer, all channels
};

}  // namespace amc
