// Rules of ChannelTracer for operators with weights or that combine tensors slot by slot.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/graph/channel_tracer.h"
#include "env/graph/op_params.h"

namespace amc {
namespace {

// A convolution of one input channel per group: it treats channels one by one. With a single input
// channel in all there is nothing to keep apart, and the convolution mixes.
bool IsDepthwise(const ConvParams& conv) {
  return conv.groups > 1 && conv.groups == conv.in_channels;
}

}  // namespace

bool IsMixing(const Graph& graph, const Node& node) {
  if (node.inputs.size() < 2 || node.inputs[1] == TensorId::kNone) return false;
  const Tensor& weight = graph.tensor(node.inputs[1]);
  if (!weight.is_constant) return false;
  switch (node.op) {
    case Op::kConv: {
      const absl::StatusOr<int64_t> groups = GetInt(graph, node, "group", 1);
      return groups.ok() && weight.shape.size() >= 2 && (*groups == 1 || weight.shape[1] > 1);
    }
    case Op::kGemm: {
      const absl::StatusOr<GemmParams> gemm = GetGemmParams(graph, node);
      return gemm.ok() && !gemm->trans_a;
    }
    case Op::kMatMul:
      return weight.shape.size() == 2;
    default:
      return false;
  }
}

absl::Status ChannelTracer::Conv(NodeId id) {
  if (!HasConstant(id, 1)) return Block(id, "its weight is computed");
  AMC_ASSIGN_OR_RETURN(const ConvParams conv, GetConvParams(graph_, node(id)));
  AMC_ASSIGN_OR_RETURN(const Atoms in, InputChannels(id, 1, conv.in_channels));
  Atoms out;
  if (IsDepthwise(conv)) {
    const int64_t multiplier = conv.out_channels / conv.in_channels;
    out.reserve(static_cast<size_t>(conv.out_channels));
    for (const int32_t atom : in) out.insert(out.end(), multiplier, atom);
    UseConstant(id, 1, 0, AxisRole::kPerChannel, out);
  } else {
    AMC_ASSIGN_OR_RETURN(out, Fresh(node(id).inputs[1], conv.out_channels));
    UseConstant(id, 1, 0, AxisRole::kOutput, out);
    UseConstant(id, 1, 1, AxisRole::kInput, in, conv.groups);
  }
  UseBias(id, 2, out);
  return SetOutput(id, 1, std::move(out));
}

absl::Status ChannelTracer::Gemm(NodeId id) {
  AMC_ASSIGN_OR_RETURN(const GemmParams gemm, GetGemmParams(graph_, node(id)));
  if (!HasConstant(id, 1) || gemm.trans_a) return Block(id, "is no linear layer");
  const int in_dim = gemm.trans_b ? 1 : 0;
  const Shape& weight = input(id, 1).shape;
  AMC_ASSIGN_OR_RETURN(const Atoms in, InputChannels(id, 1, weight[in_dim]));
  AMC_ASSIGN_OR_RETURN(Atoms out, Fresh(node(id).inputs[1], weight[1 - in_dim]));
  UseConstant(id, 1, 1 - in_dim, AxisRole::kOutput, out);
  UseConstant(id, 1, in_dim, AxisRole::kInput, in);
  UseBias(id, 2, out);
  return SetOutput(id, 1, std::move(out));
}

absl::Status ChannelTracer::MatMul(NodeId id) {
  if (!HasConstant(id, 1) || input(id, 1).shape.size() != 2 || input(id, 0).is_constant) {
    return Block(id, "is no linear layer");
  }
  const Shape& weight = input(id, 1).shape;
  const int last = static_cast<int>(input(id, 0).shape.size()) - 1;
  AMC_ASSIGN_OR_RETURN(const Atoms in, InputChannels(id, last, weight[0]));
  AMC_ASSIGN_OR_RETURN(Atoms out, Fresh(node(id).inputs[1], weight[1]));
  UseConstant(id, 1, 1, AxisRole::kOutput, out);
  UseConstant(id, 1, 0, AxisRole::kInput, in);
  return SetOutput(id, last, std::move(out));
}

// A bias of one element is the same for all channels and stays; a computed one ties them down.
void ChannelTracer::UseBias(NodeId id, size_t i, const Atoms& atoms) {
  if (!HasInput(id, i)) return;
  const Tensor& bias = input(id, i);
  const int last = static_cast<int>(bias.shape.size()) - 1;
  if (bias.is_constant) {
    if (last >= 0 && bias.shape[last] == static_cast<int64_t>(atoms.size())) {
      UseConstant(id, i, last, AxisRole::kPerChannel, atoms);
    }
    return;
  }
  Freeze(id, "its bias is computed", atoms);
  if (const FlowAxis* axis = AxisOf(node(id).inputs[i]); axis != nullptr) {
    Freeze(id, "its bias is computed", axis->atoms);
  }
}

absl::Status ChannelTracer::BatchNormalization(NodeId id) {
  const FlowAxis* axis = AxisOf(node(id).inputs[0]);
  if (axis == nullptr || axis->dim != 1 || node(id).outputs.size() > 1) {
    return Block(id, "does not normalise the channels that are tracked, or is in training mode");
  }
  for (size_t i = 1; i < node(id).inputs.size(); ++i) {
    if (!HasConstant(id, i) || input(id, i).shape.size() != 1) {
      return Block(id, "its statistics are computed");
    }
  }
  Atoms atoms = axis->atoms;
  for (size_t i = 1; i < node(id).inputs.size(); ++i) {
    UseConstant(id, i, 0, AxisRole::kPerChannel, atoms);
  }
  return SetOutput(id, 1, std::move(atoms));
}

// Add, Sub and Mul, with numpy's broadcasting. The operand with the longest channel axis leads: the
// output has its channels, the others either have them too or are broadcast along them.
absl::Status ChannelTracer::Elementwise(NodeId id) {
  const std::vector<TensorId>& inputs = node(id).inputs;
  const Shape& shape = graph_.tensor(node(id).outputs[0]).shape;
  const int rank = static_cast<int>(shape.size());
  const auto shift = [&](size_t i) { return rank - static_cast<int>(input(id, i).shape.size()); };
  size_t lead = inputs.size();
  for (size_t i = 0; i < inputs.size(); ++i) {
    const FlowAxis* axis = AxisOf(inputs[i]);
    if (axis == nullptr || axis->dim + shift(i) >= rank ||
        shape[axis->dim + shift(i)] != static_cast<int64_t>(axis->atoms.size())) {
      continue;
    }
    if (lead == inputs.size() || axis->atoms.size() > AxisOf(inputs[lead])->atoms.size()) lead = i;
  }
  if (lead == inputs.size()) return Block(id, "broadcasts or makes channels out of none");
  const int dim = AxisOf(inputs[lead])->dim + shift(lead);
  Atoms atoms = AxisOf(inputs[lead])->atoms;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (i == lead) continue;
    const int own_dim = dim - shift(i);
    const int64_t size = own_dim < 0 ? 1 : input(id, i).shape[own_dim];
    const FlowAxis* axis = AxisOf(inputs[i]);
    if (own_dim < 0 || (size == 1 && atoms.size() > 1)) {
      if (axis != nullptr) Freeze(id, "broadcasts it along the channels of another", axis->atoms);
    } else if (input(id, i).is_constant) {
      UseConstant(id, i, own_dim, AxisRole::kPerChannel, atoms);
    } else if (axis != nullptr && axis->dim == own_dim && axis->atoms.size() == atoms.size()) {
      Unite(atoms, axis->atoms);
    } else {
      constexpr absl::string_view kReason = "its operands have channels along different dimensions";
      Freeze(id, kReason, atoms);
      if (axis != nullptr) Freeze(id, kReason, axis->atoms);
    }
  }
  return SetOutput(id, dim, std::move(atoms));
}

absl::Status ChannelTracer::PerChannel(NodeId id) {
  const FlowAxis* axis = AxisOf(node(id).inputs[0]);
  const bool is_pool = node(id).op == Op::kMaxPool || node(id).op == Op::kAveragePool ||
                       node(id).op == Op::kGlobalAveragePool;
  if (axis == nullptr || (is_pool && axis->dim != 1)) {
    return Block(id, "its channels are not those that are tracked");
  }
  const int dim = axis->dim;
  const Atoms atoms = axis->atoms;
  for (size_t i = 0; i < node(id).outputs.size(); ++i) {
    const TensorId output = node(id).outputs[i];
    if (output == TensorId::kNone) continue;
    if (i > 0 && is_pool) Freeze(id, "its indices count through the channels", atoms);
    AMC_RETURN_IF_ERROR(SetAxis(id, output, dim, atoms));
  }
  return absl::OkStatus();
}

// Before opset 13, Softmax normalises over all dimensions from its axis on.
absl::Status ChannelTracer::Softmax(NodeId id) {
  const FlowAxis* axis = AxisOf(node(id).inputs[0]);
  if (axis == nullptr) return Block(id, "its channels are not tracked");
  AMC_ASSIGN_OR_RETURN(const int64_t softmax_axis, GetAxis(graph_, node(id)));
  const int dim = axis->dim;
  Atoms atoms = axis->atoms;
  if (softmax_axis == dim || (graph_.opset() < 13 && softmax_axis < dim)) {
    Freeze(id, "normalises over the channels", atoms);
  }
  return SetOutput(id, dim, std::move(atoms));
}

}  // namespace amc
