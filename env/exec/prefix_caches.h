// One prefix cache for each number of images that networks are measured on, within one bound:
// probes and screening in turns then do not make the original run at every change.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "env/exec/data_pack.h"
#include "env/exec/exec_options.h"
#include "env/exec/prefix_cache.h"
#include "env/graph/graph.h"

namespace amc {

// Thread-compatible.
class PrefixCaches {
 public:
  // `graph` and `pack` must outlive it. Each cache may take `max_bytes`, and all of them together:
  // which cuts one has is a function of its number of images, not of what else is kept.
  PrefixCaches(const Graph& graph, std::vector<size_t> cuts, const DataPack& pack, Split split,
               const ExecOptions& options, int64_t max_bytes);

  // Where `changed` starts on images [0, images), as PrefixCache::StartOf. Where a new cache does
  // not fit, those go first that no start was taken from for the longest time. Valid until the next
  // call.
  absl::StatusOr<PrefixStart> StartOf(const Graph& changed, int64_t images);

  int64_t bytes() const;  // of all that is kept, by plan

 private:
  const Graph& graph_;
  const std::vector<size_t> cuts_;
  const DataPack& pack_;
  const Split split_;
  const ExecOptions options_;
  const int64_t max_bytes_;
  std::vector<std::unique_ptr<PrefixCache>> caches_;  // the last used one last
};

}  // namespace amc
