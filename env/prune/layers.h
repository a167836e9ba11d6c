// The layers that reconstruction refits, with everything it has to know about them.
//
// A layer is a convolution (grouped and depthwise ones included) or a linear layer whose parameters
// are constants of its own, together with the batch norm that follows it, if one does. Seen as a
// regression it has, for each of its convolution groups, K features (the unfolded input patch, in
// the weight's own order) and M outputs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"
#include "env/graph/op_params.h"
#include "env/prune/surgery.h"

namespace amc {

struct Layer {
  NodeId node = NodeId::kNone;
  NodeId batch_norm = NodeId::kNone;  // the only reader of the layer's output, if it is one
  TensorId input = TensorId::kNone;
  TensorId result = TensorId::kNone;  // batch norm's output, or the layer's own
  TensorId weight = TensorId::kNone;
  TensorId bias = TensorId::kNone;
  bool is_conv = false;
  ConvParams conv;               // of convolutions
  bool weight_by_output = true;  // outputs x features; false: features x outputs
  int64_t groups = 1;
  int64_t features = 0;  // K, of one group
  int64_t outputs = 0;   // of all groups: groups * M
  bool depthwise = false;

  // Dimension of the weight that counts outputs, and inputs.
  int output_dim() const { return weight_by_output ? 0 : 1; }
  int input_dim() const { return weight_by_output ? 1 : 0; }
  // Whether a constant can be added to every output: in its bias or in batch norm's mean.
  bool has_intercept() const { return bias != TensorId::kNone || batch_norm != NodeId::kNone; }
};

// In topological order. Layers that share parameters, have weightless or scalar ones, or scale them
// (Gemm's alpha and beta) are left out: they keep their sliced weights. InvalidArgument names a
// node whose attributes make no sense.
absl::StatusOr<std::vector<Layer>> ListLayers(const Graph& graph);

// Positions of `axis` that survive `selection`, ascending.
std::vector<int64_t> KeptSlots(const ChannelAxis& axis, const ChannelSelection& selection);
// The same for a tensor's dimension; all of `size` positions where it carries no channels.
std::vector<int64_t> KeptSlots(const Grouping& grouping, TensorId tensor, int dim, int64_t size,
                               const ChannelSelection& selection);

// For every feature of `layer` (groups * K of them, group by group) the channel that it reads.
// Empty if the grouping knows nothing of the weight's input axis (depthwise layers).
std::vector<ChannelRef> FeatureChannels(const Grouping& grouping, const Layer& layer);

}  // namespace amc
