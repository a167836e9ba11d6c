#include "env/graph/shape_inference.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "env/graph/op_params.h"

namespace amc {
namespace {

absl::Status NodeError(const Graph& graph, const Node& node, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(NodeLabel(graph, node), ": ", message));
}

absl::Status Unsupported(const Graph& graph, const Node& node, absl::string_view message) {
  return absl::UnimplementedError(absl::StrCat(NodeLabel(graph, node), ": ", message));
}

bool IsDynamic(const Shape& shape) {
  return std::find(shape.begin(), shape.end(), kDynamic) != shape.end();
}

// How many inputs an operator reads, the first `least` of them required, and outputs it has.
struct Arity {
  size_t least, most, outputs;
};
Arity ArityOf(Op op) {
  constexpr size_t kAny = std::numeric_limits<size_t>::max();
  switch (op) {
    case Op::kAdd:
    case Op::kMatMul:
    case Op::kMul:
    case Op::kReshape:
    case Op::kSub:
      return {2, 2, 1};
    case Op::kBatchNormalization:
      return {5, 5, 5};
    case Op::kClip:
      return {1, 3, 1};
    case Op::kConcat:
      return {1, kAny, 1};
    case Op::kConv:
    case Op::kGemm:
      return {2, 3, 1};
    case Op::kDropout:
      return {1, 3, 2};
    case Op::kMaxPool:
      return {1, 1, 2};
    case Op::kPad:
      return {1, 4, 1};
    case Op::kReduceMean:
    case Op::kSqueeze:
    case Op::kUnsqueeze:
      return {1, 2, 1};
    case Op::kSlice:
      return {1, 5, 1};
    case Op::kSplit:
      return {1, 2, kAny};
    default:
      return {1, 1, 1};
  }
}

absl::Status CheckArity(const Graph& graph, const Node& node) {
  const Arity arity = ArityOf(node.op);
  const size_t least = node.op == Op::kConcat ? node.inputs.size() : arity.least;
  if (node.inputs.size() < arity.least || node.inputs.size() > arity.most) {
    return NodeError(graph, node,
                     absl::StrCat(node.inputs.size(), " inputs, expected ", arity.least,
                                  arity.most == arity.least ? "" : " or more"));
  }
  for (size_t i = 0; i < least; ++i) {
    if (node.inputs[i] == TensorId::kNone) {
      return NodeError(graph, node, absl::StrCat("input ", i, " is missing"));
    }
  }
  if (node.outputs.empty() || node.outputs.size() > arity.outputs ||
      node.outputs[0] == TensorId::kNone) {
    return NodeError(graph, node,
                     absl::StrCat("has ", node.outputs.size(), " outputs, expected the first, and ",
                                  arity.outputs, " at most"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Shape> InputShape(const Graph& graph, const Node& node, size_t i) {
  if (i >= node.inputs.size() || node.inputs[i] == TensorId::kNone) {
    return NodeError(graph, node, absl::StrCat("input ", i, " is missing"));
  }
  const Tensor& tensor = graph.tensor(node.inputs[i]);
  if (!tensor.shape_known) {
    return NodeError(graph, node, absl::StrCat("the shape of ", tensor.name, " is unknown"));
  }
  return tensor.shape;
}

// A window's output size (ONNX Conv and pooling), or an error when the window does not fit.
absl::StatusOr<int64_t> WindowOutput(const Graph& graph, const Node& node, int64_t size,
                                     int64_t kernel, int64_t stride, int64_t dilation, int64_t pads,
                                     int64_t pad_begin, bool ceil_mode) {
  const int64_t span = size + pads - ((kernel - 1) * dilation + 1);
  if (span < 0) {
    return NodeError(graph, node,
                     absl::StrCat("a window of ", kernel, " does not fit an axis of ", size,
                                  " with ", pads, " padding"));
  }
  int64_t out = span / stride + 1;
  if (ceil_mode && span % stride != 0) {
    // One more window, unless it would start in the padding at the end.
    if (out * stride < size + pad_begin) ++out;
  }
  return out;
}

absl::StatusOr<Shape> ConvShape(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Shape in, InputShape(graph, node, 0));
  AMC_ASSIGN_OR_RETURN(const ConvParams p, GetConvParams(graph, node));
  Shape out = {in[0], p.out_channels};
  for (size_t i = 0; i < 2; ++i) {
    AMC_ASSIGN_OR_RETURN(
        const int64_t size,
        WindowOutput(graph, node, in[i + 2], p.kernel[i], p.stride[i], p.dilation[i],
                     p.pad_begin[i] + p.pad_end[i], p.pad_begin[i], false));
    out.push_back(size);
  }
  if (node.inputs.size() > 2 && node.inputs[2] != TensorId::kNone) {
    AMC_ASSIGN_OR_RETURN(const Shape bias, InputShape(graph, node, 2));
    if (bias != Shape{p.out_channels}) {
      return NodeError(
          graph, node,
          absl::StrCat("bias has the shape ", ShapeToString(bias), ", expected ", p.out_channels));
    }
  }
  return out;
}

absl::StatusOr<Shape> PoolShape(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Shape in, InputShape(graph, node, 0));
  AMC_ASSIGN_OR_RETURN(const PoolParams p, GetPoolParams(graph, node));
  Shape out = {in[0], in[1]};
  for (size_t i = 0; i < 2; ++i) {
    AMC_ASSIGN_OR_RETURN(
        const int64_t size,
        WindowOutput(graph, node, in[i + 2], p.kernel[i], p.stride[i], p.dilation[i],
                     p.pad_begin[i] + p.pad_end[i], p.pad_begin[i], p.ceil_mode));
    out.push_back(size);
  }
  return out;
}

absl::StatusOr<Shape> BatchNormShape(const Graph& graph, const Node& node) {
  AMC_RETURN_IF_ERROR(GetBatchNormEpsilon(graph, node).status());
  AMC_ASSIGN_OR_RETURN(const Shape in, InputShape(graph, node, 0));
  if (in.size() < 2) {
    return NodeError(graph, node, absl::StrCat("input has the shape ", ShapeToString(in)));
  }
  for (size_t i = 1; i < 5; ++i) {
    AMC_ASSIGN_OR_RETURN(const Shape vector, InputShape(graph, node, i));
    if (vector != Shape{in[1]}) {
      return NodeError(graph, node,
                       absl::StrCat("input ", i, " has the shape ", ShapeToString(vector),
                                    ", expected ", in[1]));
    }
  }
  return in;
}

// NumPy's broadcasting; a dynamic batch goes with itself and with 1.
absl::StatusOr<Shape> BroadcastShape(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Shape a, InputShape(graph, node, 0));
  AMC_ASSIGN_OR_RETURN(const Shape b, InputShape(graph, node, 1));
  Shape out(std::max(a.size(), b.size()), 1);
  for (size_t i = 0; i < out.size(); ++i) {  // from the last axis backwards
    const int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1;
    const int64_t y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) {
      const std::string message =
          absl::StrCat("shapes ", ShapeToString(a), " and ", ShapeToString(b), " do not broadcast");
      const bool may_fit = x == kDynamic || y == kDynamic;  // for one batch size
      return may_fit ? Unsupported(graph, node, message) : NodeError(graph, node, message);
    }
    out[out.size() - 1 - i] = x == 1 ? y : x;
  }
  return out;
}

absl::StatusOr<Shape> ConcatShape(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(Shape out, InputShape(graph, node, 0));
  AMC_ASSIGN_OR_RETURN(const int64_t axis, GetAxis(graph, node));
  for (size_t i = 1; i < node.inputs.size(); ++i) {
    AMC_ASSIGN_OR_RETURN(const Shape in, InputShape(graph, node, i));
    bool fits = in.size() == out.size();
    for (size_t d = 0; fits && d < in.size(); ++d) {
      fits = static_cast<int64_t>(d) == axis || in[d] == out[d];
    }
    if (fits &&
        (in[static_cast<size_t>(axis)] == kDynamic || out[static_cast<size_t>(axis)] == kDynamic)) {
      return Unsupported(graph, node, "joins batches");
    }
    if (!fits) {
      return NodeError(graph, node,
                       absl::StrCat("input ", i, " has the shape ", ShapeToString(in),
                                    ", which does not concatenate with ", ShapeToString(out),
                                    " along axis ", axis));
    }
    out[static_cast<size_t>(axis)] += in[static_cast<size_t>(axis)];
    if (const absl::Status status = CheckShape(out); !status.ok()) {
      return NodeError(graph, node, status.message());
    }
  }
  return out;
}

absl::StatusOr<Shape> FlattenShape(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Shape in, InputShape(graph, node, 0));
  AMC_ASSIGN_OR_RETURN(const int64_t axis, GetAxis(graph, node));
  const Shape head(in.begin(), in.begin() + axis);
  const Shape tail(in.begin() + axis, in.end());
  AMC_ASSIGN_OR_RETURN(int64_t rows, NumElements(head));
  AMC_ASSIGN_OR_RETURN(const int64_t columns, NumElements(tail));
  if (IsDynamic(in)) {  // the batch must be alone on its side
    if (IsDynamic(tail) || rows != 1) {
      return Unsupported(
          graph, node,
          absl::StrCat("axis ", axis, " merges the batch of ", ShapeToString(in), " with others"));
    }
    rows = kDynamic;
  }
  return Shape{rows, columns};
}

absl::StatusOr<Shape> ReshapeShape(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Shape in, InputShape(graph, node, 0));
  const absl::StatusOr<std::vector<int64_t>> target = Values<int64_t>(graph, node.inputs[1]);
  if (!target.ok()) return Annotate(target.status(), NodeLabel(graph, node));
  AMC_ASSIGN_OR_RETURN(const int64_t allow_zero, GetInt(graph, node, "allowzero", 0));
  const std::string message = absl::StrCat("cannot reshape ", ShapeToString(in), " to [",
                                           absl::StrJoin(*target, ", "), "]");
  Shape out = *target;
  std::optional<size_t> inferred;
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i] == 0 && allow_zero == 0) {
      if (i >= in.size()) return NodeError(graph, node, message);
      out[i] = in[i];
    } else if (out[i] == -1 && !inferred) {
      inferred = i;
    } else if (out[i] < 0) {
      return NodeError(graph, node, message);
    }
  }
  if (inferred) out[*inferred] = 1;
  AMC_ASSIGN_OR_RETURN(const int64_t elements, NumElements(in));  // per image if dynamic
  AMC_ASSIGN_OR_RETURN(const int64_t listed, NumElements(out));
  const bool batch_is_kept = IsDynamic(out);  // where the target says 0
  if (IsDynamic(in) && !batch_is_kept) {
    // The -1 may stand for the batch, if the others hold exactly one image.
    if (!inferred || listed != elements) return Unsupported(graph, node, message);
    out[*inferred] = kDynamic;
    return out;
  }
  if (inferred && listed != 0 && elements % listed == 0) {
    out[*inferred] = elements / listed;
    return out;
  }
  if (inferred || listed != elements) return NodeError(graph, node, message);
  return out;
}

absl::StatusOr<Shape> PadShape(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(Shape out, InputShape(graph, node, 0));
  AMC_ASSIGN_OR_RETURN(const PadParams p, GetPadParams(graph, node));
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t pads = p.begin[i] + p.end[i];
    if (out[i] == kDynamic) {
      if (p.begin[i] == 0 && p.end[i] == 0) continue;
      return Unsupported(graph, node, "pads the batch axis");
    }
    const int64_t left = out[i] + std::min<int64_t>(0, p.begin[i]) + std::min<int64_t>(0, p.end[i]);
    if (left < 0) {
      return NodeError(
          graph, node,
          absl::StrCat("pads of ", p.begin[i], " and ", p.end[i], " for an axis of ", out[i]));
    }
    // Reflection needs the border's neighbours, the other modes one position to repeat.
    const int64_t needed =
        p.mode == "constant" ? 0 : std::max(p.begin[i], p.end[i]) + (p.mode == "reflect" ? 1 : 0);
    if ((needed > out[i] && p.mode == "reflect" && needed > 1) || (needed > 0 && out[i] == 0)) {
      return NodeError(graph, node,
                       absl::StrCat("pads of ", p.begin[i], " and ", p.end[i], " in mode ", p.mode,
                                    " for an axis of ", out[i]));
    }
    out[i] += pads;
  }
  return out;
}

absl::StatusOr<Shape> SliceShape(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(Shape out, InputShape(graph, node, 0));
  AMC_ASSIGN_OR_RETURN(const SliceParams p, GetSliceParams(graph, node));
  for (const SliceParams::Range& range : p.ranges) {
    const int64_t span = std::abs(range.end - range.start);
    const int64_t step = std::abs(range.step);
    out[static_cast<size_t>(range.axis)] = (span + step - 1) / step;
  }
  return out;
}

absl::StatusOr<Shape> ReduceShape(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Shape in, InputShape(graph, node, 0));
  AMC_ASSIGN_OR_RETURN(const ReduceParams p, GetReduceParams(graph, node));
  Shape out;
  for (size_t i = 0; i < in.size(); ++i) {
    const bool reduced =
        std::find(p.axes.begin(), p.axes.end(), static_cast<int64_t>(i)) != p.axes.end();
    if (!reduced) {
      out.push_back(in[i]);
    } else if (in[i] == kDynamic) {
      return Unsupported(graph, node, "averages over the batch axis");
    } else if (p.keep_dims) {
      out.push_back(1);
    }
  }
  return out;
}

absl::StatusOr<Shape> GemmShape(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(Shape a, InputShape(graph, node, 0));
  AMC_ASSIGN_OR_RETURN(Shape b, InputShape(graph, node, 1));
  AMC_ASSIGN_OR_RETURN(const GemmParams p, GetGemmParams(graph, node));
  if (a.size() != 2 || b.size() != 2) {
    return NodeError(graph, node,
                     absl::StrCat("operands ", ShapeToString(a), " and ", ShapeToString(b),
                                  ", expected two matrices"));
  }
  if (p.trans_a) std::swap(a[0], a[1]);
  if (p.trans_b) std::swap(b[0], b[1]);
  if (a[1] != b[0]) {
    return NodeError(graph, node,
                     absl::StrCat("cannot multiply ", ShapeToString(a), " by ", ShapeToString(b)));
  }
  if (node.inputs.size() > 2 && node.inputs[2] != TensorId::kNone) {
    AMC_ASSIGN_OR_RETURN(const Shape c, InputShape(graph, node, 2));
    const Shape out = {a[0], b[1]};
    bool fits = c.size() <= 2;
    for (size_t i = 0; fits && i < c.size(); ++i) {
      const int64_t dim = c[c.size() - 1 - i];
      fits = dim == 1 || dim == out[1 - i];
    }
    if (!fits) {
      return NodeError(
          graph, node,
          absl::StrCat("bias has the shape ", ShapeToString(c), ", expected ", ShapeToString(out)));
    }
  }
  return Shape{a[0], b[1]};
}

// Numpy's matmul: vectors are widened to matrices and their axis dropped from the result.
absl::StatusOr<Shape> MatMulShape(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(Shape a, InputShape(graph, node, 0));
  AMC_ASSIGN_OR_RETURN(Shape b, InputShape(graph, node, 1));
  const std::string message =
      absl::StrCat("cannot multiply ", ShapeToString(a), " by ", ShapeToString(b));
  if (a.empty() || b.empty()) return NodeError(graph, node, message);
  const bool row = a.size() == 1;
  const bool column = b.size() == 1;
  if (row) a.insert(a.begin(), 1);
  if (column) b.push_back(1);
  if (a[a.size() - 1] != b[b.size() - 2]) return NodeError(graph, node, message);
  Shape out(std::max(a.size(), b.size()), 1);
  out[out.size() - 1] = b[b.size() - 1];
  out[out.size() - 2] = a[a.size() - 2];
  for (size_t i = 2; i < out.size(); ++i) {
    const int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1;
    const int64_t y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) {
      const bool may_fit = x == kDynamic || y == kDynamic;
      return may_fit ? Unsupported(graph, node, message) : NodeError(graph, node, message);
    }
    out[out.size() - 1 - i] = x == 1 ? y : x;
  }
  if (column) out.pop_back();
  if (row) out.erase(out.end() - (column ? 1 : 2));
  return out;
}

absl::StatusOr<Shape> TransposeShape(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Shape in, InputShape(graph, node, 0));
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> permutation, GetPermutation(graph, node));
  Shape out;
  for (const int64_t axis : permutation) out.push_back(in[static_cast<size_t>(axis)]);
  return out;
}

absl::StatusOr<Shape> SqueezeShape(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Shape in, InputShape(graph, node, 0));
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> axes, GetSqueezeAxes(graph, node));
  const auto listed = [&](size_t i) {
    return std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) != axes.end();
  };
  Shape out;
  if (node.op == Op::kSqueeze) {
    for (size_t i = 0; i < in.size(); ++i) {
      if (!listed(i)) {
        out.push_back(in[i]);
      } else if (in[i] == kDynamic) {
        return Unsupported(graph, node, "squeezes the batch axis");
      } else if (in[i] != 1) {
        return NodeError(graph, node, absl::StrCat("squeezes axis ", i, " of ", ShapeToString(in)));
      }
    }
    return out;
  }
  size_t next = 0;
  for (size_t i = 0; i < in.size() + axes.size(); ++i) out.push_back(listed(i) ? 1 : in[next++]);
  return out;
}

absl::StatusOr<Shape> FirstOutputShape(const Graph& graph, const Node& node) {
  switch (node.op) {
    case Op::kConv:
      return ConvShape(graph, node);
    case Op::kMaxPool:
    case Op::kAveragePool:
      return PoolShape(graph, node);
    case Op::kBatchNormalization:
      return BatchNormShape(graph, node);
    case Op::kAdd:
    case Op::kSub:
    case Op::kMul:
      return BroadcastShape(graph, node);
    case Op::kConcat:
      return ConcatShape(graph, node);
    case Op::kFlatten:
      return FlattenShape(graph, node);
    case Op::kReshape:
      return ReshapeShape(graph, node);
    case Op::kPad:
      return PadShape(graph, node);
    case Op::kSlice:
      return SliceShape(graph, node);
    case Op::kReduceMean:
      return ReduceShape(graph, node);
    case Op::kGemm:
      return GemmShape(graph, node);
    case Op::kMatMul:
      return MatMulShape(graph, node);
    case Op::kTranspose:
      return TransposeShape(graph, node);
    case Op::kSqueeze:
    case Op::kUnsqueeze:
      return SqueezeShape(graph, node);
    case Op::kGlobalAveragePool: {
      AMC_ASSIGN_OR_RETURN(Shape out, InputShape(graph, node, 0));
      if (out.size() < 3) {
        return NodeError(graph, node, absl::StrCat("input has the shape ", ShapeToString(out)));
      }
      std::fill(out.begin() + 2, out.end(), 1);
      return out;
    }
    case Op::kSoftmax:
      AMC_RETURN_IF_ERROR(GetAxis(graph, node).status());
      return InputShape(graph, node, 0);
    default:
      return InputShape(graph, node, 0);  // elementwise operators of one input
  }
}

absl::Status SetShape(Graph& graph, const Node& node, TensorId id, Shape shape) {
  if (id == TensorId::kNone) return absl::OkStatus();
  if (const absl::Status status = CheckShape(shape); !status.ok()) {
    return NodeError(graph, node,
                     absl::StrCat("output ", graph.tensor(id).name, ": ", status.message()));
  }
  graph.tensor(id).shape = std::move(shape);
  graph.tensor(id).shape_known = true;
  return absl::OkStatus();
}

absl::Status InferSplit(Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(Shape shape, InputShape(graph, node, 0));
  AMC_ASSIGN_OR_RETURN(const int64_t axis, GetAxis(graph, node));
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, GetSplitSizes(graph, node));
  for (size_t i = 0; i < sizes.size(); ++i) {
    shape[static_cast<size_t>(axis)] = sizes[i];
    AMC_RETURN_IF_ERROR(SetShape(graph, node, node.outputs[i], shape));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckShape(const Shape& shape) {
  int64_t product = 1;
  for (const int64_t dim : shape) {
    if (dim == kDynamic || dim == 0) continue;
    if (dim < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("shape ", ShapeToString(shape), " has the negative dimension ", dim));
    }
    if (dim > kMaxTensorElements / product) {
      return absl::InvalidArgumentError(absl::StrCat("shape ", ShapeToString(shape),
                                                     " multiplies to more than 2^34, zeros aside: "
                                                     "a corrupt dimension"));
    }
    product *= dim;
  }
  return absl::OkStatus();
}

absl::Status InferNodeShapes(Graph& graph, const Node& node) {
  if (node.op == Op::kConstant) return absl::OkStatus();
  AMC_RETURN_IF_ERROR(CheckArity(graph, node));
  if (node.op == Op::kSplit) return InferSplit(graph, node);
  AMC_ASSIGN_OR_RETURN(const Shape shape, FirstOutputShape(graph, node));
  AMC_RETURN_IF_ERROR(SetShape(graph, node, node.outputs[0], shape));
  // The mask of Dropout and the indices of MaxPool are like the first output; the statistics of
  // BatchNormalization are one per channel.
  for (size_t i = 1; i < node.outputs.size(); ++i) {
    AMC_RETURN_IF_ERROR(SetShape(graph, node, node.outputs[i],
                                 node.op == Op::kBatchNormalization ? Shape{shape[1]} : shape));
  }
  return absl::OkStatus();
}

absl::Status InferShapes(Graph& graph) {
  for (const Node& node : graph.nodes) {
    if (node.op != Op::kUnknown) AMC_RETURN_IF_ERROR(InferNodeShapes(graph, node));
  }
  return absl::OkStatus();
}

}  // namespace amc
