// The original's activations of some images at a few cuts (prefix_plan.h), for networks that were
// made of it by changing later nodes only: they start at the latest cut before their first change.
// That makes probes of single groups cheap. A run from a cut gives the bits of a whole run.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/exec/data_pack.h"
#include "env/exec/exec_options.h"
#include "env/exec/prefix_plan.h"
#include "env/graph/graph.h"

namespace amc {

class PrefixCache;

// Where a network starts: at its input, or at a cut with what a cache keeps there.
struct PrefixStart {
  size_t node = 0;
  const PrefixCache* cache = nullptr;  // null at the input
};

// Thread-compatible.
class PrefixCache {
 public:
  // Of images [0, images) of the split, in batches of options.batch_size. Copies `graph`; `pack`
  // must outlive the cache. Runs nothing yet.
  PrefixCache(const Graph& graph, absl::Span<const size_t> cuts, const DataPack& pack, Split split,
              int64_t images, const ExecOptions& options, int64_t max_bytes);
  ~PrefixCache();

  // Where `changed` starts: depends on the two networks and the plan alone. The first network that
  // can start at a cut makes the original run, with the errors of TorchNetwork; Cancelled by an
  // InterruptScope (base/interrupt.h), it keeps nothing. Valid as long as the cache.
  absl::StatusOr<PrefixStart> StartOf(const Graph& changed);

  int64_t images() const { return images_; }
  const PrefixPlan& plan() const { return plan_; }

  struct Batches;                                       // torch_prefix.h
  const Batches& batches() const { return *batches_; }  // requires a start at a cut

 private:
  absl::Status Fill();

  const Graph graph_;
  const DataPack& pack_;
  const Split split_;
  const int64_t images_;
  const ExecOptions options_;
  const PrefixPlan plan_;
  std::unique_ptr<Batches> batches_;  // null until needed
};

}  // namespace amc
