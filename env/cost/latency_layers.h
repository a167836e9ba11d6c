// The layers of a network as a latency table sees them: their kinds, and how many channels each
// reads and makes under a policy.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "env/cost/extents.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"

namespace amc {

struct LatencyLayer {
  NodeId node = NodeId::kNone;
  // Folded into the layer: the only reader of its output, in inference mode, where the layer's
  // constants are its own.
  NodeId batch_norm = NodeId::kNone;
  NodeId activation = NodeId::kNone;  // Relu or Clip, the only reader of what the two make
  // All that decides its time but its channels: kernel, strides, pads (top, left, bottom, right),
  // dilations, groups (of depthwise ones: output channels per input channel), the input's size;
  // rows of a linear layer (per image); then whether it has a bias and what is applied.
  //   "conv 3x3 s2x2 p1x1x1x1 d1x1 g1 56x56 bias relu"
  //   "depthwise 3x3 s1x1 p1x1x1x1 d1x1 m1 28x28 bias relu6"
  //   "linear r1 bias clip[-1;1]"
  std::string kind = {};
  bool depthwise = false;  // in equals out: both are what it reads
  Extents::Id in = Extents::kOne, out = Extents::kOne;
};

// Everything a latency prediction needs of a graph. Immutable once made.
struct LatencyLayers {
  std::vector<LatencyLayer> layers;  // topological order
  Extents extents;
  // Bytes of activations that the other operators read and write, per image, 4 for each element, as
  // bytes * length(extent), each extent once; the sum of them is what LatencyFit::byte_us
  // multiplies. Operators that move nothing (Identity, Reshape, Flatten, Squeeze, Unsqueeze,
  // Dropout, Constant) and those folded into layers count none, nor do outputs that nobody reads.
  struct Traffic {
    int64_t bytes = 0;
    Extents::Id extent = Extents::kOne;
  };
  std::vector<Traffic> traffic;
};

// Layers are convolutions and what IsMixing says, with constant weights; others count as other
// operators. So does the Add that some exporters write for the bias of a MatMul. Works on
// weightless graphs. InvalidArgument if shapes are missing or the traffic overflows 2^62; errors of
// GetConvParams.
absl::StatusOr<LatencyLayers> ListLatencyLayers(const Graph& graph, const Grouping& grouping);

}  // namespace amc
