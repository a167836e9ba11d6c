// The most that a network's activations take at once, for one image.
//
// Order of allocation: nodes run in the graph's order. A tensor is allocated when its node runs and
// released once its last reader has run; the input is there from the start, outputs stay to the
// end. Operators that move nothing (Reshape, Flatten, Identity, ...) share their input's memory;
// those that work element by element on one input (Relu, Clip, BatchNormalization, ...) overwrite
// it where nobody reads it later. Constants and an operator's own scratch memory are not counted.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/cost/cost_model.h"
#include "env/cost/extents.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"

namespace amc {

// Immutable, thread-safe.
class ActivationMemory {
 public:
  // Works on weightless graphs. InvalidArgument names a tensor without shape.
  static absl::StatusOr<ActivationMemory> Create(const Graph& graph, const Grouping& grouping);

  // Bytes; `kept` has one count per group.
  int64_t Evaluate(absl::Span<const int64_t> kept) const;
  // Monotone. Valid as long as this.
  std::unique_ptr<CostFunction> Function() const;

 private:
  // constant + sum of bytes * length(extent).
  struct Alive {
    int64_t constant = 0;
    std::vector<std::pair<Extents::Id, int64_t>> parts;
  };

  Extents extents_;
  std::vector<Alive> moments_;  // those that may be the peak
};

// Counted from the tensors' shapes alone, without groups. InvalidArgument as Create.
absl::StatusOr<int64_t> CountActivationBytes(const Graph& graph);

}  // namespace amc
