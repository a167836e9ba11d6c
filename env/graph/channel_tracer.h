// The walk behind TraceChannels: one rule per operator.
//
// An activation has at most one tracked axis. A rule reads the axes of its node's inputs and gives
// its outputs theirs; what it cannot follow it freezes, with a reason, and goes on with whole
// channels. Constants are tracked where they are read: one that several nodes read has the same
// slots for all of them, so their atoms are united.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "env/graph/channel_flow.h"
#include "env/graph/graph.h"

namespace amc {

// One-thread; used once.
class ChannelTracer {
 public:
  explicit ChannelTracer(const Graph& graph);
  absl::StatusOr<ChannelFlow> Run() &&;

 private:
  // The rules. channel_layers.cc: what has weights; channel_layout.cc: what moves slots about.
  absl::Status Conv(NodeId id);
  absl::Status Gemm(NodeId id);
  absl::Status MatMul(NodeId id);
  absl::Status BatchNormalization(NodeId id);
  absl::Status Elementwise(NodeId id);
  absl::Status PerChannel(NodeId id);  // activations, pools: what treats channels one by one
  absl::Status Softmax(NodeId id);
  absl::Status Concat(NodeId id);
  absl::Status Slice(NodeId id);
  absl::Status Split(NodeId id);
  absl::Status Pad(NodeId id);
  absl::Status Reshape(NodeId id);  // and Flatten, Squeeze, Unsqueeze
  absl::Status Transpose(NodeId id);
  absl::Status ReduceMean(NodeId id);

  absl::Status Visit(NodeId id);
  // Freezes what `id` reads and gives its outputs whole channels.
  absl::Status Block(NodeId id, absl::string_view reason);
  void FreezeSharedConstants();
  absl::Status FreezeCaptured();

  const Node& node(NodeId id) const { return graph_.node(id); }
  const Tensor& input(NodeId id, size_t i) const { return graph_.tensor(node(id).inputs[i]); }
  bool HasInput(NodeId id, size_t i) const {
    return i < node(id).inputs.size() && node(id).inputs[i] != TensorId::kNone;
  }
  bool HasConstant(NodeId id, size_t i) const {
    return HasInput(id, i) && input(id, i).is_constant;
  }
  // The tracked axis of an activation, or null. Stays valid.
  const FlowAxis* AxisOf(TensorId tensor) const;

  // Counts `channels` of `tensor` among those followed; InvalidArgument if they are too many.
  absl::Status Count(TensorId tensor, int64_t channels);
  // Atoms for `count` channels of `tensor`, counted.
  absl::StatusOr<Atoms> Fresh(TensorId tensor, int64_t count);
  absl::StatusOr<Atoms> FreshFrozen(NodeId id, absl::string_view reason, TensorId tensor,
                                    int64_t count);
  void Unite(absl::Span<const int32_t> a, absl::Span<const int32_t> b);
  void Freeze(NodeId id, absl::string_view reason, absl::Span<const int32_t> atoms);
  void FreezeTerminal(std::string where, absl::string_view reason, const Atoms& atoms);

  // What `id` reads along `dim` of its first input, `size` channels; if another axis or none is
  // tracked there, that one is frozen and the channels are whole.
  absl::StatusOr<Atoms> InputChannels(NodeId id, int dim, int64_t size);
  // InvalidArgument if the shape of `tensor` has another size there.
  absl::Status SetAxis(NodeId id, TensorId tensor, int dim, Atoms atoms);
  absl::Status SetOutput(NodeId id, int dim, Atoms atoms) {
    return SetAxis(id, node(id).outputs[0], dim, std::move(atoms));
  }
  // Whole channels along dimension 1 of an activation, if it has that many.
  absl::Status SetWhole(NodeId id, TensorId tensor, absl::string_view reason);
  void UseConstant(NodeId id, size_t input, int dim, AxisRole role, Atoms atoms,
                   int64_t conv_groups = 1);
  void UseBias(NodeId id, size_t input, const Atoms& atoms);

  const Graph& graph_;
  ChannelFlow flow_;
  int64_t followed_ = 0;
  std::vector<int32_t> axis_of_activation_;  // index into flow_.axes, -1 if none
  struct ConstantUse {
    size_t axis = 0;
    int64_t uses = 0;
  };
  std::map<std::pair<TensorId, int>, ConstantUse> constants_;
};

// How a reshape from one shape to another carries the slots along `dim`: the sequence of slots is
// repeated `tiles` times and each slot `repeats` times in a row. Nothing if it splits the axis.
struct FollowedAxis {
  int dim = 0;
  int64_t tiles = 1, repeats = 1;
};
std::optional<FollowedAxis> FollowReshape(const Shape& from, int dim, const Shape& to);

}  // namespace amc
