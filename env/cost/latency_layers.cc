#include "env/cost/latency_layers.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/graph/op_params.h"

namespace amc {
namespace {

constexpr absl::int128 kMaxBytes = absl::int128{1} << 62;
constexpr int64_t kElementBytes = 4;

bool MovesNothing(Op op) {
  switch (op) {
    case Op::kConstant:
    case Op::kDropout:
    case Op::kFlatten:
    case Op::kIdentity:
    case Op::kReshape:
    case Op::kSqueeze:
    case Op::kUnsqueeze:
      return true;
    default:
      return false;
  }
}

bool HasInput(const Node& node, size_t i) {
  return i < node.inputs.size() && node.inputs[i] != TensorId::kNone;
}

bool HasConstant(const Graph& graph, const Node& node, size_t i) {
  return HasInput(node, i) && graph.tensor(node.inputs[i]).is_constant;
}

std::string By(const Pair& pair) { return absl::StrCat(pair[0], "x", pair[1]); }

// "relu", "relu6", "clip[-1;1]"; bounds that are no bounds are infinite.
std::string ClipText(ClipParams clip) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (clip.min <= std::numeric_limits<float>::lowest()) clip.min = -kInfinity;
  if (clip.max >= std::numeric_limits<float>::max()) clip.max = kInfinity;
  if (clip.min == 0 && clip.max == kInfinity) return "relu";
  if (clip.min == 0 && clip.max == 6) return "relu6";
  return absl::StrCat("clip[", clip.min, ";", clip.max, "]");
}

class Lister {
 public:
  Lister(const Graph& graph, const Grouping& grouping)
      : graph_(graph),
        grouping_(grouping),
        consumers_(Consumers(graph)),
        is_output_(graph.tensors.size(), false),
        is_folded_(graph.nodes.size(), false) {
    for (const TensorId id : graph.outputs) is_output_[Index(id)] = true;
    result_.extents = Extents(grouping);
  }

  absl::StatusOr<LatencyLayers> List() && {
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      AMC_RETURN_IF_ERROR(Visit(graph_.node_id(i)));
    }
    AMC_RETURN_IF_ERROR(SumTraffic());
    return std::move(result_);
  }

 private:
  absl::Status Visit(NodeId id) {
    const Node& node = graph_.node(id);
    if (is_folded_[Index(id)] || MovesNothing(node.op)) return absl::OkStatus();
    if (node.op == Op::kConv && HasConstant(graph_, node, 1)) return AddConv(id);
    if (node.op != Op::kConv && IsMixing(graph_, node)) return AddLinear(id);
    return AddTraffic(node);
  }

  absl::Status CheckShape(const Node& node, TensorId id) const {
    const Tensor& tensor = graph_.tensor(id);
    if (tensor.shape_known) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(NodeLabel(graph_, node), ": the shape of ", tensor.name, " is unknown"));
  }

  // The slots of `tensor` along `dim`, or `length` that stays.
  Extents::Id ExtentOf(TensorId tensor, int dim, int64_t length) {
    const ChannelAxis* axis = grouping_.FindAxis(tensor, dim);
    return axis != nullptr ? result_.extents.Of(*axis) : result_.extents.Constant(length);
  }

  absl::Status AddConv(NodeId id) {
    const Node& node = graph_.node(id);
    AMC_ASSIGN_OR_RETURN(const ConvParams conv, GetConvParams(graph_, node));
    AMC_RETURN_IF_ERROR(CheckShape(node, node.outputs[0]));
    const Shape& input = graph_.tensor(node.inputs[0]).shape;
    LatencyLayer layer{.node = id};
    layer.depthwise = conv.groups > 1 && conv.groups == conv.in_channels;
    const std::string groups = layer.depthwise
                                   ? absl::StrCat("m", conv.out_channels / conv.in_channels)
                                   : absl::StrCat("g", conv.groups);
    layer.kind = absl::StrCat(layer.depthwise ? "depthwise " : "conv ", By(conv.kernel), " s",
                              By(conv.stride), " p", By(conv.pad_begin), "x", By(conv.pad_end));
    absl::StrAppend(&layer.kind, " d", By(conv.dilation), " ", groups, " ", input[2], "x",
                    input[3]);
    if (layer.depthwise) {
      layer.in = layer.out = ExtentOf(node.inputs[0], 1, conv.in_channels);
    } else {
      layer.in = ExtentOf(node.inputs[1], 1, conv.in_channels);
      layer.out = ExtentOf(node.inputs[1], 0, conv.out_channels);
    }
    return Finish(std::move(layer), /*scales_only=*/true);
  }

  absl::Status AddLinear(NodeId id) {
    const Node& node = graph_.node(id);
    AMC_RETURN_IF_ERROR(CheckShape(node, node.inputs[0]));
    AMC_RETURN_IF_ERROR(CheckShape(node, node.outputs[0]));
    const Shape& weight = graph_.tensor(node.inputs[1]).shape;
    if (weight.size() != 2) {
      return absl::InvalidArgumentError(absl::StrCat(NodeLabel(graph_, node), ": its weight is ",
                                                     ShapeToString(weight), ", want a matrix"));
    }
    Shape rows = graph_.tensor(node.inputs[0]).shape;
    rows.resize(std::max<size_t>(rows.size(), 1) - 1);
    if (!rows.empty()) rows[0] = 1;  // the batch
    AMC_ASSIGN_OR_RETURN(const int64_t row_count, NumElements(rows));
    GemmParams gemm;
    if (node.op == Op::kGemm) {
      AMC_ASSIGN_OR_RETURN(gemm, GetGemmParams(graph_, node));
    }
    const int in_dim = gemm.trans_b ? 1 : 0;
    LatencyLayer layer{.node = id, .kind = absl::StrCat("linear r", row_count)};
    layer.in = ExtentOf(node.inputs[1], in_dim, weight[in_dim]);
    layer.out = ExtentOf(node.inputs[1], 1 - in_dim, weight[1 - in_dim]);
    return Finish(std::move(layer), gemm.alpha == 1 && gemm.beta == 1);
  }

  // Folds what follows the layer. `scales_only`: it computes weight * x + bias and nothing else.
  absl::Status Finish(LatencyLayer layer, bool scales_only) {
    const Node& node = graph_.node(layer.node);
    TensorId made = node.outputs[0];
    if (scales_only && node.op != Op::kMatMul && HasOwnConstants(node)) {
      AMC_ASSIGN_OR_RETURN(layer.batch_norm, BatchNormAfter(made));
    }
    if (layer.batch_norm != NodeId::kNone) {
      is_folded_[Index(layer.batch_norm)] = true;
      made = graph_.node(layer.batch_norm).outputs[0];
    }
    const bool has_bias =
        layer.batch_norm != NodeId::kNone || (node.op != Op::kMatMul && HasInput(node, 2));
    if (has_bias) absl::StrAppend(&layer.kind, " bias");
    const std::string activation = ActivationAfter(made);
    if (!activation.empty()) {
      layer.activation = OnlyReader(made);
      is_folded_[Index(layer.activation)] = true;
      absl::StrAppend(&layer.kind, " ", activation);
    }
    result_.layers.push_back(std::move(layer));
    return absl::OkStatus();
  }

  // Weights that several nodes share cannot take a batch norm up (batch_norm_folding.h).
  bool HasOwnConstants(const Node& layer) const {
    for (size_t i = 1; i < layer.inputs.size(); ++i) {
      if (HasInput(layer, i) &&
          (!HasConstant(graph_, layer, i) || consumers_[Index(layer.inputs[i])].size() != 1)) {
        return false;
      }
    }
    return true;
  }

  // The node that alone reads `id`, which does not leave the network; or kNone.
  NodeId OnlyReader(TensorId id) const {
    const std::vector<NodeId>& readers = consumers_[Index(id)];
    return readers.size() == 1 && !is_output_[Index(id)] ? readers[0] : NodeId::kNone;
  }

  absl::StatusOr<NodeId> BatchNormAfter(TensorId id) const {
    const NodeId reader = OnlyReader(id);
    if (reader == NodeId::kNone) return reader;
    const Node& node = graph_.node(reader);
    if (node.op != Op::kBatchNormalization || node.inputs.size() != 5 || node.inputs[0] != id) {
      return NodeId::kNone;
    }
    for (size_t i = 1; i < 5; ++i) {
      if (!HasConstant(graph_, node, i)) return NodeId::kNone;
    }
    AMC_ASSIGN_OR_RETURN(const int64_t training, GetInt(graph_, node, "training_mode", 0));
    return training == 0 ? reader : NodeId::kNone;
  }

  std::string ActivationAfter(TensorId id) const {
    const NodeId reader = OnlyReader(id);
    if (reader == NodeId::kNone || graph_.node(reader).inputs[0] != id) return "";
    if (graph_.node(reader).op == Op::kRelu) return "relu";
    if (graph_.node(reader).op != Op::kClip) return "";
    const absl::StatusOr<ClipParams> clip = GetClipParams(graph_, graph_.node(reader));
    // Bounds that are computed or unknown are no part of a kind.
    return clip.ok() && clip->min <= clip->max ? ClipText(*clip) : "";
  }

  absl::Status AddTraffic(const Node& node) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (!HasInput(node, i) || HasConstant(graph_, node, i) || !IsDataInput(node, i)) continue;
      AMC_RETURN_IF_ERROR(AddTensor(node, node.inputs[i]));
    }
    for (const TensorId id : node.outputs) {
      if (id == TensorId::kNone || (consumers_[Index(id)].empty() && !is_output_[Index(id)])) {
        continue;
      }
      AMC_RETURN_IF_ERROR(AddTensor(node, id));
    }
    return absl::OkStatus();
  }

  absl::Status AddTensor(const Node& node, TensorId id) {
    AMC_RETURN_IF_ERROR(CheckShape(node, id));
    Shape block = graph_.tensor(id).shape;
    if (!block.empty()) block[0] = 1;  // the batch
    // Where the whole product fits, so do its parts.
    AMC_RETURN_IF_ERROR(Annotate(NumElements(block).status(), NodeLabel(graph_, node)));
    Extents::Id extent = Extents::kOne;
    for (size_t dim = 0; dim < block.size(); ++dim) {
      const ChannelAxis* axis = grouping_.FindAxis(id, static_cast<int>(dim));
      if (axis == nullptr) continue;
      extent = result_.extents.Of(*axis);
      block[dim] = 1;
      break;  // an activation has one channel axis
    }
    AMC_ASSIGN_OR_RETURN(const int64_t elements, NumElements(block));
    bytes_[extent] += absl::int128{elements} * kElementBytes;
    return absl::OkStatus();
  }

  absl::Status SumTraffic() {
    const absl::Span<const int64_t> whole = result_.extents.channels();
    absl::int128 sum = 0;
    for (const auto& [extent, bytes] : bytes_) {
      // Every addend is below 2^62 elements of 4 bytes, there are fewer than 2^31, and so it is
      // with lengths: a tensor's whole fits.
      sum += bytes > kMaxBytes ? bytes : bytes * result_.extents.Length(extent, whole);
      if (sum > kMaxBytes) {
        return absl::InvalidArgumentError(absl::StrCat(
            "operators read and write about ", static_cast<double>(sum), " bytes, more than 2^62"));
      }
      if (bytes > 0) result_.traffic.push_back({static_cast<int64_t>(bytes), extent});
    }
    return absl::OkStatus();
  }

  const Graph& graph_;
  const Grouping& grouping_;
  const std::vector<std::vector<NodeId>> consumers_;
  std::vector<bool> is_output_;                // by TensorId
  std::vector<bool> is_folded_;                // by NodeId: into a layer before it
  std::map<Extents::Id, absl::int128> bytes_;  // of other operators, but the extent's factor
  LatencyLayers result_;
};

}  // namespace

absl::StatusOr<LatencyLayers> ListLatencyLayers(const Graph& graph, const Grouping& grouping) {
  return Lister(graph, grouping).List();
}

}  // namespace amc
