#include "env/prune/surgery.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "env/graph/op_params.h"
#include "env/graph/shape_inference.h"
#include "env/prune/constant_slicing.h"

namespace amc {
namespace {

// Slices may count in 32 bits; everything else in ONNX counts in 64.
absl::StatusOr<std::vector<int64_t>> ReadIndices(const Graph& graph, TensorId id) {
  const Tensor& tensor = graph.tensor(id);
  if (!tensor.is_constant || tensor.type != DataType::kInt32 || tensor.data == nullptr) {
    return Values<int64_t>(graph, id);
  }
  std::vector<int32_t> values(tensor.data->size() / sizeof(int32_t));
  std::memcpy(values.data(), tensor.data->data(), values.size() * sizeof(int32_t));
  return std::vector<int64_t>(values.begin(), values.end());
}

Tensor MakeIndices(std::string name, DataType type, const std::vector<int64_t>& values) {
  Tensor tensor = MakeInts(std::move(name), {static_cast<int64_t>(values.size())}, values);
  if (type == DataType::kInt32) {
    const std::vector<int32_t> narrow(values.begin(), values.end());
    tensor.type = type;
    tensor.data = std::make_shared<Buffer>(reinterpret_cast<const char*>(narrow.data()),
                                           narrow.size() * sizeof(int32_t));
  }
  return tensor;
}

class Surgeon {
 public:
  Surgeon(const Graph& graph, const Grouping& grouping, const ChannelSelection& selection)
      : original_(graph), grouping_(grouping), graph_(graph), readers_(Consumers(graph)) {
    for (size_t g = 0; g < selection.size(); ++g) {
      std::vector<bool>& flags = stays_.emplace_back(grouping.groups[g].channels, false);
      for (const int32_t channel : selection[g]) flags[channel] = true;
    }
  }

  absl::StatusOr<Graph> Run() && {
    for (const ChannelAxis& axis : grouping_.axes) AMC_RETURN_IF_ERROR(CutConstant(axis));
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      AMC_RETURN_IF_ERROR(FixNode(graph_.node_id(i)));
    }
    AMC_RETURN_IF_ERROR(InferShapes(graph_));
    return std::move(graph_);
  }

 private:
  bool Stays(const ChannelRef& slot) const {
    return slot.group == ChannelRef::kWhole || stays_[slot.group][slot.index];
  }

  // How many of the slots [begin, end) stay.
  int64_t CountKept(const ChannelAxis& axis, int64_t begin, int64_t end) const {
    return std::count_if(axis.slots.begin() + begin, axis.slots.begin() + end,
                         [this](const ChannelRef& slot) { return Stays(slot); });
  }
  int64_t CountKept(const ChannelAxis& axis) const { return CountKept(axis, 0, Size(axis)); }
  static int64_t Size(const ChannelAxis& axis) { return static_cast<int64_t>(axis.slots.size()); }
  bool IsCut(const ChannelAxis& axis) const { return CountKept(axis) != Size(axis); }

  std::vector<int32_t> KeptSlots(const ChannelAxis& axis) const {
    std::vector<int32_t> kept;
    for (size_t s = 0; s < axis.slots.size(); ++s) {
      if (Stays(axis.slots[s])) kept.push_back(static_cast<int32_t>(s));
    }
    return kept;
  }

  // Axes come sorted by tensor and dimension, so dimension 0 of a grouped convolution's weight is
  // still to be cut when its dimension 1 comes: both are cut then.
  absl::Status CutConstant(const ChannelAxis& axis) {
    Tensor& tensor = graph_.tensor(axis.tensor);
    if (!tensor.is_constant) return absl::OkStatus();
    const ChannelAxis* other = grouping_.FindAxis(axis.tensor, axis.dim == 0 ? 1 : 0);
    if (axis.conv_groups > 1) {
      AMC_CHECK(axis.dim == 1 && other != nullptr) << tensor.name;
      if (!IsCut(axis) && !IsCut(*other)) return absl::OkStatus();
      AMC_ASSIGN_OR_RETURN(
          tensor, SliceGroupedWeight(tensor, axis.conv_groups, KeptSlots(*other), KeptSlots(axis)));
      return absl::OkStatus();
    }
    const bool cut_with_other = axis.dim == 0 && other != nullptr && other->conv_groups > 1;
    if (cut_with_other || !IsCut(axis)) return absl::OkStatus();
    AMC_ASSIGN_OR_RETURN(tensor, SliceConstant(tensor, axis.dim, KeptSlots(axis)));
    return absl::OkStatus();
  }

  // The tracked axis of an activation, or null.
  const ChannelAxis* AxisOf(TensorId tensor) const {
    const auto found =
        std::lower_bound(grouping_.axes.begin(), grouping_.axes.end(), tensor,
                         [](const ChannelAxis& axis, TensorId id) { return axis.tensor < id; });
    return found != grouping_.axes.end() && found->tensor == tensor ? &*found : nullptr;
  }

  absl::Status FixNode(NodeId id) {
    switch (original_.node(id).op) {
      case Op::kConv:
        return FixConv(id);
      case Op::kPad:
        return FixPad(id);
      case Op::kSlice:
        return FixSlice(id);
      case Op::kSplit:
        return FixSplit(id);
      case Op::kReshape:
        return FixReshape(id);
      default:
        return absl::OkStatus();
    }
  }

  absl::Status FixConv(NodeId id) {
    const Node& node = original_.node(id);
    const ChannelAxis* out = grouping_.FindAxis(node.inputs[1], 0);
    if (out == nullptr || IsMixing(original_, node) || !IsCut(*out)) return absl::OkStatus();
    AMC_ASSIGN_OR_RETURN(const ConvParams conv, GetConvParams(original_, node));
    graph_.node(id).attributes["group"] = CountKept(*out) / (conv.out_channels / conv.in_channels);
    return absl::OkStatus();
  }

  // Positive amounts count kept slots of the output, negative ones kept slots of the input.
  absl::Status FixPad(NodeId id) {
    const Node& node = original_.node(id);
    const ChannelAxis* in = AxisOf(node.inputs[0]);
    const ChannelAxis* out = AxisOf(node.outputs[0]);
    if (in == nullptr || out == nullptr || (!IsCut(*in) && !IsCut(*out))) return absl::OkStatus();
    AMC_ASSIGN_OR_RETURN(const PadParams pad, GetPadParams(original_, node));
    const int64_t begin = pad.begin[in->dim];
    const int64_t end = pad.end[in->dim];
    const int64_t new_begin = begin >= 0 ? CountKept(*out, 0, begin) : -CountKept(*in, 0, -begin);
    const int64_t new_end = end >= 0 ? CountKept(*out, Size(*out) - end, Size(*out))
                                     : -CountKept(*in, Size(*in) + end, Size(*in));
    if (begin == new_begin && end == new_end) return absl::OkStatus();
    AMC_ASSIGN_OR_RETURN(std::vector<int64_t> amounts, Ints(node, 1, "pads"));
    AMC_ASSIGN_OR_RETURN(const int64_t at, PositionOfAxis(node, 3, "", in->dim));
    amounts[at] = new_begin;
    amounts[at + amounts.size() / 2] = new_end;
    return SetInts(id, 1, "pads", amounts);
  }

  absl::Status FixSlice(NodeId id) {
    const Node& node = original_.node(id);
    const ChannelAxis* in = AxisOf(node.inputs[0]);
    if (in == nullptr || !IsCut(*in)) return absl::OkStatus();
    AMC_ASSIGN_OR_RETURN(const SliceParams slice, GetSliceParams(original_, node));
    for (const SliceParams::Range& range : slice.ranges) {
      if (range.axis != in->dim) continue;
      AMC_ASSIGN_OR_RETURN(std::vector<int64_t> starts, Ints(node, 1, "starts"));
      AMC_ASSIGN_OR_RETURN(std::vector<int64_t> ends, Ints(node, 2, "ends"));
      AMC_ASSIGN_OR_RETURN(const int64_t at, PositionOfAxis(node, 3, "axes", in->dim));
      starts[at] = CountKept(*in, 0, range.start);
      ends[at] = CountKept(*in, 0, range.end);
      AMC_RETURN_IF_ERROR(SetInts(id, 1, "starts", starts));
      AMC_RETURN_IF_ERROR(SetInts(id, 2, "ends", ends));
    }
    return absl::OkStatus();
  }

  absl::Status FixSplit(NodeId id) {
    const Node& node = original_.node(id);
    const ChannelAxis* in = AxisOf(node.inputs[0]);
    if (in == nullptr || !IsCut(*in)) return absl::OkStatus();
    AMC_ASSIGN_OR_RETURN(const int64_t axis, GetAxis(original_, node));
    if (axis != in->dim) return absl::OkStatus();
    AMC_ASSIGN_OR_RETURN(std::vector<int64_t> sizes, GetSplitSizes(original_, node));
    int64_t start = 0;
    for (int64_t& size : sizes) {
      const int64_t end = start + size;
      size = CountKept(*in, start, end);
      start = end;
    }
    graph_.node(id).attributes.erase("num_outputs");  // excludes explicit sizes
    return SetInts(id, 1, "split", sizes);
  }

  // Targets 0 (as the input) and -1 (the rest) follow by themselves.
  absl::Status FixReshape(NodeId id) {
    const Node& node = original_.node(id);
    const ChannelAxis* out = AxisOf(node.outputs[0]);
    if (out == nullptr || !IsCut(*out)) return absl::OkStatus();
    AMC_ASSIGN_OR_RETURN(std::vector<int64_t> target, Ints(node, 1, "shape"));
    if (target[out->dim] <= 0) return absl::OkStatus();
    target[out->dim] = CountKept(*out);
    return SetInts(id, 1, "shape", target);
  }

  // The integers that `node` has as input `i` or, in older opsets, as an attribute.
  absl::StatusOr<std::vector<int64_t>> Ints(const Node& node, size_t i,
                                            const std::string& attribute) const {
    const auto found = node.attributes.find(attribute);
    if (found != node.attributes.end()) {
      if (const auto* ints = std::get_if<std::vector<int64_t>>(&found->second)) return *ints;
    }
    if (i < node.inputs.size() && node.inputs[i] != TensorId::kNone) {
      return ReadIndices(original_, node.inputs[i]);
    }
    return absl::InvalidArgumentError(
        absl::StrCat(NodeLabel(original_, node), ": neither input ", i, " nor ", attribute));
  }

  // Where `dim` stands in a node's list of axes; all axes in order if it has none.
  absl::StatusOr<int64_t> PositionOfAxis(const Node& node, size_t i, const std::string& attribute,
                                         int dim) const {
    const bool listed = node.attributes.count(attribute) != 0 ||
                        (i < node.inputs.size() && node.inputs[i] != TensorId::kNone);
    if (!listed) return dim;
    AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> axes, Ints(node, i, attribute));
    const auto rank = static_cast<int64_t>(original_.tensor(node.inputs[0]).shape.size());
    for (size_t at = 0; at < axes.size(); ++at) {
      if ((axes[at] < 0 ? axes[at] + rank : axes[at]) == dim) return static_cast<int64_t>(at);
    }
    return absl::InvalidArgumentError(
        absl::StrCat(NodeLabel(original_, node), ": axis ", dim, " is not among its axes"));
  }

  // The inverse of Ints. A constant that other nodes read too is replaced by one of its own.
  absl::Status SetInts(NodeId id, size_t i, const std::string& attribute,
                       const std::vector<int64_t>& values) {
    Node& node = graph_.node(id);
    const bool has_input = i < node.inputs.size() && node.inputs[i] != TensorId::kNone;
    if (node.attributes.count(attribute) != 0 || (!has_input && TakesAttribute(node))) {
      node.attributes[attribute] = values;
      return absl::OkStatus();
    }
    const DataType type = has_input ? graph_.tensor(node.inputs[i]).type : DataType::kInt64;
    if (has_input && readers_[Index(node.inputs[i])].size() == 1) {
      Tensor& constant = graph_.tensor(node.inputs[i]);
      constant = MakeIndices(constant.name, type, values);
      return absl::OkStatus();
    }
    const std::string base = absl::StrCat(graph_.tensor(node.outputs[0]).name, "_", attribute);
    std::string name = base;
    for (int n = 2; graph_.FindTensor(name) != TensorId::kNone; ++n) {
      name = absl::StrCat(base, "_", n);
    }
    const TensorId constant = graph_.AddTensor(MakeIndices(name, type, values));
    if (node.inputs.size() <= i) node.inputs.resize(i + 1, TensorId::kNone);
    node.inputs[i] = constant;
    return absl::OkStatus();
  }

  // Whether the node belongs to an opset in which the sizes of Split are an attribute.
  bool TakesAttribute(const Node& node) const {
    return node.op == Op::kSplit && original_.opset() < 13;
  }

  const Graph& original_;
  const Grouping& grouping_;
  Graph graph_;
  const std::vector<std::vector<NodeId>> readers_;
  std::vector<std::vector<bool>> stays_;  // by group and channel
};

}  // namespace

absl::Status ValidateSelection(const Grouping& grouping, const ChannelSelection& selection) {
  if (selection.size() != grouping.groups.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("selection of ", selection.size(), " groups for ", grouping.groups.size()));
  }
  for (size_t g = 0; g < selection.size(); ++g) {
    const PruneGroup& group = grouping.groups[g];
    if (selection[g].empty()) {
      return absl::InvalidArgumentError(absl::StrCat("group ", group.name, ": keeps no channel"));
    }
    std::vector<int64_t> kept_of_cell(group.cells, 0);
    for (size_t i = 0; i < selection[g].size(); ++i) {
      const int32_t channel = selection[g][i];
      if (channel < 0 || channel >= group.channels) {
        return absl::InvalidArgumentError(
            absl::StrCat("group ", group.name, ": channel ", channel, " of ", group.channels));
      }
      if (i > 0 && channel <= selection[g][i - 1]) {
        return absl::InvalidArgumentError(absl::StrCat("group ", group.name, ": channel ", channel,
                                                       " after ", selection[g][i - 1]));
      }
      ++kept_of_cell[group.cell_of_channel[channel]];
    }
    const auto [least, most] = std::minmax_element(kept_of_cell.begin(), kept_of_cell.end());
    if (*least != *most) {
      return absl::InvalidArgumentError(absl::StrCat("group ", group.name, ": keeps ", *least,
                                                     " channels of one cell and ", *most,
                                                     " of another"));
    }
  }
  return absl::OkStatus();
}

ChannelSelection KeepFirst(const Grouping& grouping, absl::Span<const int64_t> kept) {
  AMC_CHECK(kept.size() == grouping.groups.size())
      << kept.size() << " counts for " << grouping.groups.size() << " groups";
  ChannelSelection selection(kept.size());
  for (size_t g = 0; g < kept.size(); ++g) {
    const PruneGroup& group = grouping.groups[g];
    AMC_CHECK(kept[g] >= 1 && kept[g] <= group.channels && kept[g] % group.cells == 0)
        << "group " << group.name << ": " << kept[g] << " channels kept of " << group.channels;
    std::vector<int64_t> room(group.cells, kept[g] / group.cells);
    for (int32_t channel = 0; channel < group.channels; ++channel) {
      if (room[group.cell_of_channel[channel]]-- > 0) selection[g].push_back(channel);
    }
  }
  return selection;
}

absl::StatusOr<Graph> Shrink(const Graph& graph, const Grouping& grouping,
                             const ChannelSelection& selection) {
  AMC_RETURN_IF_ERROR(ValidateSelection(grouping, selection));
  return Surgeon(graph, grouping, selection).Run();
}

}  // namespace amc
