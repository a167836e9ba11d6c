#include "env/graph/channel_tracer.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace amc {

absl::StatusOr<ChannelFlow> TraceChannels(const Graph& graph) { return ChannelTracer(graph).Run(); }

ChannelTracer::ChannelTracer(const Graph& graph)
    : graph_(graph), axis_of_activation_(graph.tensors.size(), -1) {}

absl::StatusOr<ChannelFlow> ChannelTracer::Run() && {
  for (const TensorId id : graph_.inputs) {
    const Tensor& tensor = graph_.tensor(id);
    if (!tensor.shape_known || tensor.shape.size() < 2 || tensor.shape[1] < 1) continue;
    AMC_ASSIGN_OR_RETURN(Atoms atoms, Fresh(id, tensor.shape[1]));
    FreezeTerminal(absl::StrCat("input ", tensor.name), "enters the network from outside", atoms);
    AMC_RETURN_IF_ERROR(SetAxis(NodeId::kNone, id, 1, std::move(atoms)));
  }
  for (size_t i = 0; i < graph_.nodes.size(); ++i) {
    AMC_RETURN_IF_ERROR(Visit(graph_.node_id(i)));
  }
  for (const TensorId id : graph_.outputs) {
    if (const FlowAxis* axis = AxisOf(id); axis != nullptr) {
      FreezeTerminal(absl::StrCat("output ", graph_.tensor(id).name), "leaves the network",
                     axis->atoms);
    }
  }
  FreezeSharedConstants();
  AMC_RETURN_IF_ERROR(FreezeCaptured());
  return std::move(flow_);
}

absl::Status ChannelTracer::Visit(NodeId id) {
  // A rule copies, freezes or joins what its node reads; what it makes besides is counted there.
  for (const TensorId tensor : node(id).inputs) {
    if (tensor == TensorId::kNone) continue;
    const FlowAxis* axis = AxisOf(tensor);
    if (axis != nullptr) AMC_RETURN_IF_ERROR(Count(tensor, axis->size()));
  }
  if (node(id).op == Op::kUnknown) {
    const bool is_known = OpFromName(node(id).domain, node(id).op_type) != Op::kUnknown;
    return Block(id, absl::StrCat("operator ", node(id).op_type,
                                  is_known ? " is used in an unknown way" : " is unknown"));
  }
  if (node(id).inputs.empty() || node(id).outputs.empty()) {
    return Block(id, "reads nothing or makes nothing");
  }
  for (const std::vector<TensorId>* ids : {&node(id).inputs, &node(id).outputs}) {
    for (const TensorId tensor : *ids) {
      if (tensor == TensorId::kNone || graph_.tensor(tensor).shape_known) continue;
      return Block(id, absl::StrCat("the shape of ", graph_.tensor(tensor).name, " is unknown"));
    }
  }
  switch (node(id).op) {
    case Op::kConv:
      return Conv(id);
    case Op::kGemm:
      return Gemm(id);
    case Op::kMatMul:
      return MatMul(id);
    case Op::kBatchNormalization:
      return BatchNormalization(id);
    case Op::kAdd:
    case Op::kMul:
    case Op::kSub:
      return Elementwise(id);
    case Op::kAveragePool:
    case Op::kClip:
    case Op::kDropout:
    case Op::kGlobalAveragePool:
    case Op::kHardSigmoid:
    case Op::kHardSwish:
    case Op::kIdentity:
    case Op::kLeakyRelu:
    case Op::kMaxPool:
    case Op::kRelu:
    case Op::kSigmoid:
      return PerChannel(id);
    case Op::kSoftmax:
      return Softmax(id);
    case Op::kConcat:
      return Concat(id);
    case Op::kSlice:
      return Slice(id);
    case Op::kSplit:
      return Split(id);
    case Op::kPad:
      return Pad(id);
    case Op::kFlatten:
    case Op::kReshape:
    case Op::kSqueeze:
    case Op::kUnsqueeze:
      return Reshape(id);
    case Op::kTranspose:
      return Transpose(id);
    case Op::kReduceMean:
      return ReduceMean(id);
    case Op::kConstant:
    case Op::kUnknown:
      break;
  }
  return Block(id, "makes a constant");
}

absl::Status ChannelTracer::Block(NodeId id, absl::string_view reason) {
  for (const TensorId tensor : node(id).inputs) {
    if (tensor == TensorId::kNone) continue;
    if (const FlowAxis* axis = AxisOf(tensor); axis != nullptr) Freeze(id, reason, axis->atoms);
  }
  for (const TensorId tensor : node(id).outputs) {
    if (tensor != TensorId::kNone) AMC_RETURN_IF_ERROR(SetWhole(id, tensor, reason));
  }
  return absl::OkStatus();
}

// A constant that one node reads by channels and another as a whole cannot lose any.
void ChannelTracer::FreezeSharedConstants() {
  const std::vector<std::vector<NodeId>> consumers = Consumers(graph_);
  for (const auto& [key, use] : constants_) {
    const FlowAxis& axis = flow_.axes[use.axis];
    const std::vector<NodeId>& readers = consumers[Index(key.first)];
    const bool leaves =
        std::find(graph_.outputs.begin(), graph_.outputs.end(), key.first) != graph_.outputs.end();
    if (use.uses == static_cast<int64_t>(readers.size()) && !leaves) continue;
    Freeze(
        axis.node,
        absl::StrCat("constant ", graph_.tensor(key.first).name, " is read as a whole elsewhere"),
        axis.atoms);
  }
}

// Subgraphs (of If, Loop and the like) read tensors from outside by name. They stay serialised
// here, so whatever tensor has a name that occurs in one stays whole.
absl::Status ChannelTracer::FreezeCaptured() {
  for (size_t i = 0; i < graph_.nodes.size(); ++i) {
    for (const auto& [name, attribute] : graph_.nodes[i].attributes) {
      const auto* opaque = std::get_if<OpaqueAttribute>(&attribute);
      if (opaque == nullptr) continue;
      for (const FlowAxis& axis : flow_.axes) {
        const std::string& tensor = graph_.tensor(axis.tensor).name;
        if (opaque->bytes.find(tensor) == std::string::npos) continue;
        AMC_RETURN_IF_ERROR(Count(axis.tensor, axis.size()));
        Freeze(graph_.node_id(i), absl::StrCat("may read it from its attribute ", name),
               axis.atoms);
      }
    }
  }
  return absl::OkStatus();
}

const FlowAxis* ChannelTracer::AxisOf(TensorId tensor) const {
  const int32_t axis = axis_of_activation_[Index(tensor)];
  return axis < 0 ? nullptr : &flow_.axes[axis];
}

absl::Status ChannelTracer::Count(TensorId tensor, int64_t channels) {
  if (channels <= kMaxFollowedChannels - followed_) {
    followed_ += channels;
    return absl::OkStatus();
  }
  const Tensor& t = graph_.tensor(tensor);
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ", t.name, " of shape ", ShapeToString(t.shape), ": its ", channels,
                   " channels make ", followed_ + channels, " in the network, of which at most ",
                   kMaxFollowedChannels, " can be followed"));
}

absl::StatusOr<Atoms> ChannelTracer::Fresh(TensorId tensor, int64_t count) {
  AMC_RETURN_IF_ERROR(Count(tensor, count));
  Atoms atoms(static_cast<size_t>(count));
  std::iota(atoms.begin(), atoms.end(), flow_.sets.Add(count));
  return atoms;
}

absl::StatusOr<Atoms> ChannelTracer::FreshFrozen(NodeId id, absl::string_view reason,
                                                 TensorId tensor, int64_t count) {
  AMC_ASSIGN_OR_RETURN(Atoms atoms, Fresh(tensor, count));
  Freeze(id, reason, atoms);
  return atoms;
}

void ChannelTracer::Unite(absl::Span<const int32_t> a, absl::Span<const int32_t> b) {
  for (size_t i = 0; i < a.size(); ++i) flow_.sets.Unite(a[i], b[i]);
}

void ChannelTracer::Freeze(NodeId id, absl::string_view reason, absl::Span<const int32_t> atoms) {
  if (flow_.frozen.empty() || flow_.frozen.back().node != id ||
      flow_.frozen.back().reason != reason) {
    flow_.frozen.push_back({id, NodeLabel(graph_, node(id)), std::string(reason), {}});
  }
  Atoms& all = flow_.frozen.back().atoms;
  all.insert(all.end(), atoms.begin(), atoms.end());
}

void ChannelTracer::FreezeTerminal(std::string where, absl::string_view reason,
                                   const Atoms& atoms) {
  flow_.frozen.push_back({NodeId::kNone, std::move(where), std::string(reason), atoms});
}

absl::StatusOr<Atoms> ChannelTracer::InputChannels(NodeId id, int dim, int64_t size) {
  const FlowAxis* axis = AxisOf(node(id).inputs[0]);
  if (axis != nullptr && axis->dim == dim && axis->size() == size) {
    return axis->atoms;
  }
  const std::string reason =
      absl::StrCat("the channels of ", input(id, 0).name, " do not run along its dimension ", dim);
  if (axis != nullptr) Freeze(id, reason, axis->atoms);
  return FreshFrozen(id, reason, node(id).inputs[0], size);
}

absl::Status ChannelTracer::SetAxis(NodeId id, TensorId tensor, int dim, Atoms atoms) {
  const Tensor& t = graph_.tensor(tensor);
  const int64_t size = dim < static_cast<int>(t.shape.size()) ? t.shape[dim] : 0;
  if (size != static_cast<int64_t>(atoms.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat(id == NodeId::kNone ? t.name : NodeLabel(graph_, node(id)), ": ", atoms.size(),
                     " channels run into dimension ", dim, " of ", t.name, ", which is ",
                     ShapeToString(t.shape)));
  }
  axis_of_activation_[Index(tensor)] = static_cast<int32_t>(flow_.axes.size());
  flow_.axes.push_back({.tensor = tensor, .dim = dim, .node = id, .atoms = std::move(atoms)});
  return absl::OkStatus();
}

absl::Status ChannelTracer::SetWhole(NodeId id, TensorId tensor, absl::string_view reason) {
  const Tensor& t = graph_.tensor(tensor);
  if (!t.shape_known || t.shape.size() < 2 || t.shape[1] < 1) return absl::OkStatus();
  AMC_ASSIGN_OR_RETURN(Atoms atoms, FreshFrozen(id, reason, tensor, t.shape[1]));
  axis_of_activation_[Index(tensor)] = static_cast<int32_t>(flow_.axes.size());
  flow_.axes.push_back({.tensor = tensor, .dim = 1, .node = id, .atoms = std::move(atoms)});
  return absl::OkStatus();
}

void ChannelTracer::UseConstant(NodeId id, size_t input, int dim, AxisRole role, Atoms atoms,
                                int64_t conv_groups) {
  const TensorId tensor = node(id).inputs[input];
  const auto [found, is_new] =
      constants_.try_emplace({tensor, dim}, ConstantUse{flow_.axes.size()});
  ConstantUse& use = found->second;
  ++use.uses;
  if (is_new) {
    flow_.axes.push_back({tensor, dim, role, id, conv_groups, std::move(atoms)});
    return;
  }
  const FlowAxis& axis = flow_.axes[use.axis];
  if (axis.conv_groups == conv_groups && axis.atoms.size() == atoms.size()) {
    Unite(axis.atoms, atoms);
  } else {
    const std::string reason =
        absl::StrCat("shares constant ", graph_.tensor(tensor).name, " with ",
                     NodeLabel(graph_, node(axis.node)), ", which reads it in other groups");
    Freeze(id, reason, axis.atoms);
    Freeze(id, reason, atoms);
  }
}

}  // namespace amc
