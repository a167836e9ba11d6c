// How many cycles EIE takes for a matrix-vector product (Han et al., ISCA 2016, sections IV and V).
//
// Activations that are not zero are broadcast in turn, one a cycle at most, into a queue in front
// of every processing element. An element works off one column of its queue at a time, one entry a
// cycle (padding included), and takes a cycle for a column in which it has none. A broadcast waits
// until every queue has room. With the k-th broadcast at b[k], its start in an element, and when
// that element is free again:
//
//   b[k] = max(b[k-1] + 1, max over elements of start[k - depth])
//   start[k] = max(free, b[k]);  free = start[k] + max(1, entries of the column in the element)
//
// The product is done when the last element is. Batches of columns follow one another: sums move
// between registers and memory in between, so that all elements have to be done. Without
// activations there is nothing to do, in no cycles.
//
// Not modelled, for they are a few cycles a product, or their timing is not published: the depth of
// the pipeline, loading activation registers, and biases.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "env/backend/eie_matrix.h"

namespace amc {

inline constexpr double kEieMegahertz = 800;

// Thread-safe: immutable.
class EieCycles {
 public:
  // Columns come in batches of `batch_columns`; queues hold `depth` activations.
  EieCycles(const EieCounts& counts, int64_t batch_columns, int depth = 8);

  // Of one product with a vector that is not zero at `broadcast` (ascending columns).
  int64_t Count(absl::Span<const int64_t> broadcast) const;

  // The entries that all elements work off together for it. Divided by the number of elements it is
  // the paper's "theoretical" number of cycles, that of a perfect balance.
  int64_t Work(absl::Span<const int64_t> broadcast) const;

 private:
  int64_t CountBatch(absl::Span<const int64_t> broadcast) const;

  int64_t elements_, batch_columns_;
  int depth_;
  std::vector<uint16_t> counts_;  // columns x elements
};

}  // namespace amc
