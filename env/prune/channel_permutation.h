// In which order channels stand, so that N of every M neighbours keep the most.
//
// Under N:M sparsity large weights that stand in the same M crowd each other out. Reordering input
// channels spreads them; the network stays the same function if whatever makes the channels makes
// them in the new order (network_permutation.h). The search is a bounded form of Pool and Yu
// ("Channel permutations for N:M sparsity", NeurIPS 2021): of every two stripes of M channels it
// carries out the best exchange of one or two channels, stripe pair by stripe pair, until nothing
// gains or the bound on work is reached. For M = 4 that tries all ways to fill two stripes.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace amc {

// A matrix that reads the channels: |weights|, column after column of `rows` each. Of convolutions
// a row is an output at a kernel position. Columns fall into stripes of M neighbours.
struct StripedReader {
  int64_t rows = 0;
  std::vector<float> magnitudes;           // columns * rows
  std::vector<int32_t> channel_of_column;  // or kFixed: a column that stays where it is
  static constexpr int32_t kFixed = -1;
};

struct PermutationOptions {
  int64_t n = 2, m = 4;
  int64_t max_work = 4'000'000'000;  // weights looked at
};

struct ChannelPermutation {
  std::vector<int32_t> order;  // order[p] is the channel that comes to stand where p stood
  double kept_before = 0;      // sum of the magnitudes that N:M keeps, where an order can matter
  double kept_after = 0;       // never less
};

// A channel that occupies several columns of a reader moves with all of them; every channel has
// equally many in a reader. Deterministic. InvalidArgument unless columns are a multiple of M and
// 1 <= N < M <= 64, and for readers whose sizes contradict each other; Cancelled by an
// InterruptScope (base/interrupt.h).
absl::StatusOr<ChannelPermutation> FindPermutation(absl::Span<const StripedReader> readers,
                                                   int64_t channels,
                                                   const PermutationOptions& options);

}  // namespace amc
