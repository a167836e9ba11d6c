// Where channels come from and where they go, slot by slot: the raw material of groups.
//
// Every channel that a layer makes, that a pad inserts or that enters the network is an atom. The
// trace walks the nodes once, gives the channel axis of every tensor one atom per slot, unites
// atoms that must live or die together and notes those that must stay, with the reason. The rules
// of the operators are in channel_tracer.h; groups.cc turns the result into groups.
#pragma once

#include <cstdint>
#include <deque>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"

namespace amc {

// Channels that one walk follows, over all tensors: far above any real network, and about two
// gigabytes. A file of a hundred bytes may claim any number.
inline constexpr int64_t kMaxFollowedChannels = int64_t{1} << 25;

// Disjoint sets of atoms, the smallest atom of a set being its root.
class AtomSets {
 public:
  // Adds `count` atoms, each alone; returns the first.
  int32_t Add(int64_t count) {
    const auto first = static_cast<int32_t>(parent_.size());
    parent_.resize(parent_.size() + static_cast<size_t>(count));
    std::iota(parent_.begin() + first, parent_.end(), first);
    return first;
  }

  int32_t Find(int32_t atom) {
    while (parent_[atom] != atom) {
      parent_[atom] = parent_[parent_[atom]];
      atom = parent_[atom];
    }
    return atom;
  }

  void Unite(int32_t a, int32_t b) {
    a = Find(a);
    b = Find(b);
    if (a > b) std::swap(a, b);
    parent_[b] = a;
  }

  size_t size() const { return parent_.size(); }

 private:
  std::vector<int32_t> parent_;
};

using Atoms = std::vector<int32_t>;

// The channel axis of one tensor, as in ChannelAxis, with its atoms.
struct FlowAxis {
  TensorId tensor = TensorId::kNone;
  int dim = 1;
  AxisRole role = AxisRole::kActivation;
  NodeId node = NodeId::kNone;  // the first reader of a constant, the producer of an activation
  int64_t conv_groups = 1;
  Atoms atoms;

  int64_t size() const { return static_cast<int64_t>(atoms.size()); }
};

struct FrozenAtoms {
  NodeId node = NodeId::kNone;
  std::string where, reason;  // as in Barrier
  Atoms atoms;
};

struct ChannelFlow {
  AtomSets sets;
  std::deque<FlowAxis> axes;  // in the order of the walk, each (tensor, dim) once
  std::vector<FrozenAtoms> frozen;
};

// InvalidArgument if an attribute makes no sense or contradicts the shapes, or if there are more
// than kMaxFollowedChannels (before anything is allocated for them).
absl::StatusOr<ChannelFlow> TraceChannels(const Graph& graph);

}  // namespace amc
