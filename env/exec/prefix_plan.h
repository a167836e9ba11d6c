// Where a changed network starts to differ from the one it was made of, and at which nodes the
// original's activations are kept, so that such networks can start there.
//
// A cut is the index of a node: everything before it has run, and the activations that are alive
// there (made before, read at the cut or after) are all that the rest needs.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/types/span.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"

namespace amc {

// How many nodes from the first on compute in `changed` exactly what they compute in `original`:
// same operators, attributes and constants, with and without batch norms folded into the layers
// before them. `changed` must have the same nodes; 0 if it has another number of them.
size_t CommonPrefix(const Graph& original, const Graph& changed);

// For every group the first node that its channels touch: what comes before does not change when
// the group loses some. Ascending, without repetition.
std::vector<size_t> FirstNodes(const Grouping& grouping);

// Immutable, thread-safe. A function of its arguments alone, not of what was run.
class PrefixPlan {
 public:
  // Of `cuts`, from the latest one backwards, keeps those whose activations of `images` images
  // still fit into `max_bytes` (4 bytes a value). Left out are cuts at which the network's input is
  // still needed or a shape is missing, and all of them if the batch axis is fixed.
  PrefixPlan(const Graph& graph, absl::Span<const size_t> cuts, int64_t images, int64_t max_bytes);

  // The latest cut within the first `common` nodes; 0, the beginning, if there is none.
  size_t StartWithin(size_t common) const;

  // What is alive at a cut of this plan.
  const std::vector<TensorId>& alive(size_t cut) const { return alive_.at(cut); }
  // The same of all cuts, without repetition.
  const std::vector<TensorId>& kept() const { return kept_; }
  std::vector<size_t> cuts() const;
  int64_t bytes() const { return bytes_; }  // of all activations that are kept

 private:
  std::map<size_t, std::vector<TensorId>> alive_;  // by cut
  std::vector<TensorId> kept_;
  int64_t bytes_ = 0;
};

}  // namespace amc
