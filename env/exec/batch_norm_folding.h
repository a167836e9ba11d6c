// Batch normalisation at inference is an affine map per channel, so it can be folded into the
// convolution or linear layer before it (Ioffe and Szegedy 2015, section 3.1):
//   s = scale / sqrt(variance + epsilon),  W' = s W,  b' = s (b - mean) + shift.
// Computed in double and rounded once.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "env/graph/graph.h"

namespace amc {

struct FoldedLayer {
  NodeId layer = NodeId::kNone;       // Conv or Gemm
  NodeId batch_norm = NodeId::kNone;  // becomes an identity
  std::vector<float> weight;          // in the layer's own layout
  std::vector<float> bias;            // one per output channel
};

// The layers of `graph` whose only reader is a batch norm in inference mode, with constants of
// their own (weights that several nodes share stay as they are). InvalidArgument if a batch norm's
// constants do not fit its layer; FailedPrecondition if a constant is weightless.
absl::StatusOr<std::vector<FoldedLayer>> FoldBatchNorms(const Graph& graph);

}  // namespace amc
