#include "env/prune/network_permutation.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/graph/layer_weights.h"
#include "env/graph/op_params.h"
#include "env/prune/constant_slicing.h"

namespace amc {
namespace {

std::vector<int32_t> Identity(int64_t channels) {
  std::vector<int32_t> order(static_cast<size_t>(channels));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

// For each slot of the axis the slot whose contents it takes: the n-th slot of a channel takes the
// n-th of the channel that comes to stand there.
std::vector<int32_t> SlotOrder(const ChannelAxis& axis, const ChannelOrders& orders) {
  std::map<std::pair<int32_t, int32_t>, std::vector<int32_t>> slots_of;  // by group and channel
  for (size_t s = 0; s < axis.slots.size(); ++s) {
    const ChannelRef& slot = axis.slots[s];
    slots_of[{slot.group, slot.index}].push_back(static_cast<int32_t>(s));
  }
  std::map<std::pair<int32_t, int32_t>, size_t> seen;
  std::vector<int32_t> order;
  for (size_t s = 0; s < axis.slots.size(); ++s) {
    const ChannelRef& slot = axis.slots[s];
    if (slot.group == ChannelRef::kWhole) {
      order.push_back(static_cast<int32_t>(s));
      continue;
    }
    const auto group = static_cast<size_t>(slot.group);
    const int32_t source = orders[group][static_cast<size_t>(slot.index)];
    order.push_back(slots_of[{slot.group, source}][seen[{slot.group, slot.index}]++]);
  }
  return order;
}

bool IsIdentity(const std::vector<int32_t>& order) {
  return std::is_sorted(order.begin(), order.end());
}

absl::Status CheckOrders(const Graph& graph, const Grouping& grouping,
                         const ChannelOrders& orders) {
  if (orders.size() != grouping.groups.size()) {
    return absl::InvalidArgumentError(absl::StrCat("permutation: ", orders.size(), " orders for ",
                                                   grouping.groups.size(), " groups"));
  }
  for (size_t g = 0; g < orders.size(); ++g) {
    const PruneGroup& group = grouping.groups[g];
    std::vector<int32_t> sorted = orders[g];
    std::sort(sorted.begin(), sorted.end());
    if (sorted != Identity(group.channels)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "group ", group.name, ": its order is no permutation of ", group.channels, " channels"));
    }
    if (!IsIdentity(orders[g]) && !CanPermute(graph, grouping, g)) {
      return absl::InvalidArgumentError(
          absl::StrCat("group ", group.name, ": its channels cannot change places"));
    }
  }
  return absl::OkStatus();
}

// The layers that N:M can prune and that read `group`, as `graph` has them.
absl::StatusOr<std::vector<StripedReader>> ListReaders(const Graph& graph, const Grouping& grouping,
                                                       size_t group, int64_t m) {
  AMC_ASSIGN_OR_RETURN(const std::vector<LayerWeights> layers, ListLayerWeights(graph));
  std::vector<StripedReader> readers;
  for (const LayerWeights& layer : layers) {
    const ChannelAxis* axis = grouping.FindAxis(layer.weight, layer.transposed ? 0 : 1);
    if (axis == nullptr || layer.conv.groups > 1 || layer.channels % m != 0) continue;
    if (static_cast<int64_t>(axis->slots.size()) != layer.channels) continue;
    StripedReader reader;
    for (const ChannelRef& slot : axis->slots) {
      const bool is_own = slot.group == static_cast<int32_t>(group);
      reader.channel_of_column.push_back(is_own ? slot.index : StripedReader::kFixed);
    }
    if (std::all_of(reader.channel_of_column.begin(), reader.channel_of_column.end(),
                    [](int32_t channel) { return channel == StripedReader::kFixed; })) {
      continue;
    }
    const int64_t kernel = layer.conv.kernel[0] * layer.conv.kernel[1];
    reader.rows = layer.outputs * kernel;
    reader.magnitudes.resize(layer.values.size());
    size_t weight = 0;
    for (int64_t output = 0; output < layer.outputs; ++output) {
      for (int64_t channel = 0; channel < layer.channels; ++channel) {
        for (int64_t k = 0; k < kernel; ++k, ++weight) {
          const int64_t place = channel * reader.rows + output * kernel + k;
          reader.magnitudes[static_cast<size_t>(place)] = std::abs(layer.values[weight]);
        }
      }
    }
    readers.push_back(std::move(reader));
  }
  return readers;
}

}  // namespace

bool CanPermute(const Graph& graph, const Grouping& grouping, size_t group) {
  const PruneGroup& own = grouping.groups[group];
  if (own.cells > 1) return false;
  const auto is_grouped = [&](NodeId layer) {
    const absl::StatusOr<int64_t> groups = GetInt(graph, graph.node(layer), "group", 1);
    return graph.node(layer).op == Op::kConv && (!groups.ok() || *groups > 1);
  };
  if (std::any_of(own.producers.begin(), own.producers.end(), is_grouped) ||
      std::any_of(own.consumers.begin(), own.consumers.end(), is_grouped)) {
    return false;
  }
  for (const GroupAxis& axis : own.axes) {
    if (axis.role != AxisRole::kActivation || axis.slots_per_channel == 1) continue;
    for (const Node& node : graph.nodes) {
      const bool cuts = node.op == Op::kSlice || node.op == Op::kSplit || node.op == Op::kPad;
      if (cuts && !node.inputs.empty() && node.inputs[0] == axis.tensor) return false;
    }
  }
  return true;
}

absl::StatusOr<Graph> PermuteChannels(const Graph& graph, const Grouping& grouping,
                                      const ChannelOrders& orders) {
  AMC_RETURN_IF_ERROR(CheckOrders(graph, grouping, orders));
  Graph permuted = graph;
  for (const ChannelAxis& axis : grouping.axes) {
    Tensor& tensor = permuted.tensor(axis.tensor);
    if (!tensor.is_constant || axis.conv_groups > 1) continue;
    const std::vector<int32_t> order = SlotOrder(axis, orders);
    if (IsIdentity(order)) continue;
    AMC_ASSIGN_OR_RETURN(tensor, SliceConstant(tensor, axis.dim, order));
  }
  return permuted;
}

absl::StatusOr<NetworkPermutation> FindPermutations(const Graph& graph, const Grouping& grouping,
                                                    const PermutationOptions& options) {
  NetworkPermutation found;
  for (const PruneGroup& group : grouping.groups) found.orders.push_back(Identity(group.channels));
  Graph permuted = graph;
  for (size_t g = 0; g < grouping.groups.size(); ++g) {
    if (!CanPermute(graph, grouping, g)) continue;
    AMC_ASSIGN_OR_RETURN(const std::vector<StripedReader> readers,
                         ListReaders(permuted, grouping, g, options.m));
    AMC_ASSIGN_OR_RETURN(ChannelPermutation best,
                         FindPermutation(readers, grouping.groups[g].channels, options));
    found.kept_before += best.kept_before;
    found.kept_after += best.kept_after;
    ChannelOrders alone;
    for (const PruneGroup& group : grouping.groups) alone.push_back(Identity(group.channels));
    alone[g] = best.order;
    AMC_ASSIGN_OR_RETURN(permuted, PermuteChannels(permuted, grouping, alone));
    found.orders[g] = std::move(best.order);
  }
  return found;
}

}  // namespace amc
