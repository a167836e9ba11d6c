// Which channels must go together.
//
// A group is an equivalence class of channel *indices*: indices that appear in exactly the same
// axes of the same tensors, and so cost the same. Every channel that a convolution, a linear layer
// or a channel pad makes is an atom; elementwise operators unite atoms slot by slot, depthwise
// convolutions unite input with output, concat, slice, split and flatten rearrange slots. United
// atoms with the same occurrences form one group, so one kept count per group fixes the cost
// exactly. Example: a CIFAR ResNet with zero-padded shortcuts ties channel i of the first stage to
// i+8 of the second and i+24 of the third; its residual path is three groups of 16, 16 and 32.
//
// An operator that the graph does not know, or whose use cannot keep channels apart (softmax or
// mean over channels, channel shuffles, a network's inputs and outputs), is a barrier: the channels
// that touch it stay whole.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "env/graph/granularity.h"
#include "env/graph/graph.h"

namespace amc {

// One slot of an axis: channel `index` of group `group`, or a channel that stays (group kWhole).
struct ChannelRef {
  static constexpr int32_t kWhole = -1;
  int32_t group = kWhole;
  int32_t index = 0;
  friend bool operator==(const ChannelRef&, const ChannelRef&) = default;
};

// The channel axis of one tensor, activation or constant: axis `dim` has slots.size() positions.
// For weights of grouped convolutions, dim 1 has in_channels / groups positions but the slots are
// all in_channels of them, group by group.
struct ChannelAxis {
  TensorId tensor = TensorId::kNone;
  int dim = 1;
  int64_t conv_groups = 1;  // > 1 only for dim 1 of a grouped convolution's weight
  std::vector<ChannelRef> slots;
};

enum class AxisRole {
  kOutput,      // output channels of a mixing layer's weight
  kInput,       // input channels of a mixing layer's weight
  kPerChannel,  // depthwise weights, biases, batch norm, per-channel constants
  kActivation,
};

// Where a group appears: `slots_per_channel` positions of the axis for each of its channels.
struct GroupAxis {
  TensorId tensor = TensorId::kNone;
  int dim = 1;
  AxisRole role = AxisRole::kActivation;
  NodeId node = NodeId::kNone;  // the layer, for weights; the producer, for activations
  int64_t slots_per_channel = 1;
};

struct PruneGroup {
  std::string name;  // unique: its first producer's name, or output's; "#2" on repetition
  // Groups of another granularity are a weight's, whose shares "channels" then counts
  // (env/sparse_space.h).
  Granularity granularity = Granularity::kChannel;
  int64_t channels = 0;
  // Channels fall into `cells` equal cells that must keep the same number each (grouped
  // convolutions); 1 where nothing asks for it. Kept counts are multiples of it.
  int64_t cells = 1;
  std::vector<int32_t> cell_of_channel;
  // On a residual path: an Add sums two activations that both hold it. Every block reads and writes
  // such a group, so that what it loses, all of them lose.
  bool residual = false;
  std::vector<NodeId> producers;  // mixing layers whose outputs it holds, topological order
  std::vector<NodeId> consumers;  // mixing layers that read it, topological order
  std::vector<GroupAxis> axes;
};

// Channels that stay whole, and why: "output logits: leaves the network", "Foo bar: operator Foo is
// unknown".
struct Barrier {
  NodeId node = NodeId::kNone;  // kNone for graph inputs and outputs
  std::string where;            // node label or tensor name
  std::string reason;
  int64_t channels = 0;  // how many it freezes, united ones counted once
};

struct Grouping {
  std::vector<PruneGroup> groups;  // in the order of their first mixing consumer, then index
  // Every tensor axis that carries channels, weights included, sorted by (tensor, dim).
  std::vector<ChannelAxis> axes;
  std::vector<Barrier> barriers;

  // The axis of `tensor` along `dim`, or null.
  const ChannelAxis* FindAxis(TensorId tensor, int dim) const;
  int FindGroup(absl::string_view name) const;  // -1 if absent
};

// `graph` must have shapes (ImportOnnx and BuildNetwork see to it). InvalidArgument if an attribute
// makes no sense or contradicts the shapes.
absl::StatusOr<Grouping> BuildGroups(const Graph& graph);

// Whether `node` mixes channels: a convolution that is not depthwise (more than one input channel
// per group, or a single group), a Gemm or a MatMul; the weight must be a constant.
bool IsMixing(const Graph& graph, const Node& node);

}  // namespace amc
