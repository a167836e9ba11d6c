// Reorders the channels of a network, which stays the same function: what makes a channel and what
// reads it move alike.
//
// Sparse tensor cores want N of every M neighbouring inputs of a layer. Its inputs are the channels
// of prune groups (groups.h), and all that a group's channels occupy, weights, biases, batch norms,
// is known: any order is as good as the one that training happened to give, except to N:M sparsity
// (channel_permutation.h).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"
#include "env/prune/channel_permutation.h"

namespace amc {

// For each group of a Grouping, the channel that comes to stand at each position.
using ChannelOrders = std::vector<std::vector<int32_t>>;

// `graph` with every group's channels in a new order; logits change by rounding alone, for sums are
// made in another order. `grouping` is that of `graph`, and of the result. Works on weightless
// graphs. InvalidArgument names the group whose order is no permutation, or that cannot have one
// (CanPermute), or the constant whose bytes do not fit its shape.
absl::StatusOr<Graph> PermuteChannels(const Graph& graph, const Grouping& grouping,
                                      const ChannelOrders& orders);

// Groups that grouped convolutions read or make stay in order: a channel cannot leave its
// convolution's group. So do groups whose channels occupy several slots of an axis that is sliced,
// split or cropped, for it is not known which of them goes where.
bool CanPermute(const Graph& graph, const Grouping& grouping, size_t group);

struct NetworkPermutation {
  ChannelOrders orders;                    // the identity where nothing is to be gained
  double kept_before = 0, kept_after = 0;  // summed over groups, as ChannelPermutation's
};

// An order for each group, one group after another, that lets N:M keep most in all layers that read
// it, those before it reordered. Layers that N:M cannot prune are not counted. Errors of
// FindPermutation and ListLayerWeights.
absl::StatusOr<NetworkPermutation> FindPermutations(const Graph& graph, const Grouping& grouping,
                                                    const PermutationOptions& options);

}  // namespace amc
