#include "env/graph/op_params.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace amc {
namespace {

// Amounts and sizes beyond this are corrupt; below it, sums and products of two do not overflow.
constexpr int64_t kMaxAmount = int64_t{1} << 31;

absl::Status NodeError(const Graph& graph, const Node& node, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(NodeLabel(graph, node), ": ", message));
}

// What ONNX allows and the graph cannot express.
absl::Status Unsupported(const Graph& graph, const Node& node, absl::string_view message) {
  return absl::UnimplementedError(absl::StrCat(NodeLabel(graph, node), ": ", message));
}

// The attribute `name` as T, or null when absent; InvalidArgument when it is of another type.
template <typename T>
absl::StatusOr<const T*> Find(const Graph& graph, const Node& node, const std::string& name) {
  const auto it = node.attributes.find(name);
  if (it == node.attributes.end()) return nullptr;
  const T* value = std::get_if<T>(&it->second);
  if (value == nullptr) {
    return NodeError(graph, node, absl::StrCat("attribute ", name, " has an unexpected type"));
  }
  return value;
}

absl::StatusOr<std::vector<int64_t>> GetInts(const Graph& graph, const Node& node,
                                             const std::string& name,
                                             std::vector<int64_t> fallback) {
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t>* value,
                       Find<std::vector<int64_t>>(graph, node, name));
  if (value == nullptr) return fallback;
  return *value;
}

absl::StatusOr<std::string> GetString(const Graph& graph, const Node& node, const std::string& name,
                                      std::string fallback) {
  AMC_ASSIGN_OR_RETURN(const std::string* value, Find<std::string>(graph, node, name));
  if (value == nullptr) return fallback;
  return *value;
}

bool HasInput(const Node& node, size_t i) {
  return i < node.inputs.size() && node.inputs[i] != TensorId::kNone;
}

absl::StatusOr<const Tensor*> ShapedInput(const Graph& graph, const Node& node, size_t i) {
  if (!HasInput(node, i)) {
    return NodeError(graph, node, absl::StrCat("input ", i, " is missing"));
  }
  const Tensor& tensor = graph.tensor(node.inputs[i]);
  if (!tensor.shape_known) {
    return NodeError(graph, node, absl::StrCat("the shape of ", tensor.name, " is unknown"));
  }
  return &tensor;
}

// Constant integers from input `i`, int32 widened.
absl::StatusOr<std::vector<int64_t>> InputInts(const Graph& graph, const Node& node, size_t i) {
  if (!HasInput(node, i)) {
    return NodeError(graph, node, absl::StrCat("input ", i, " is missing"));
  }
  const Tensor& tensor = graph.tensor(node.inputs[i]);
  if (tensor.is_constant && tensor.type == DataType::kInt32 && tensor.data != nullptr) {
    std::vector<int64_t> values;
    for (size_t at = 0; at + 4 <= tensor.data->size(); at += 4) {
      int32_t value;
      std::copy_n(tensor.data->data() + at, 4, reinterpret_cast<char*>(&value));
      values.push_back(value);
    }
    return values;
  }
  auto values = Values<int64_t>(graph, node.inputs[i]);
  if (!values.ok()) return Annotate(values.status(), NodeLabel(graph, node));
  return values;
}

absl::StatusOr<int64_t> NormalizeAxis(const Graph& graph, const Node& node, int64_t axis,
                                      int64_t rank) {
  if (axis < -rank || axis >= rank) {
    return NodeError(graph, node, absl::StrCat("axis ", axis, " of a tensor with ", rank, " axes"));
  }
  return axis < 0 ? axis + rank : axis;
}

absl::StatusOr<Pair> GetPair(const Graph& graph, const Node& node, const std::string& name,
                             Pair fallback, int64_t minimum) {
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> values,
                       GetInts(graph, node, name, {fallback[0], fallback[1]}));
  if (values.size() != 2) {
    return NodeError(graph, node,
                     absl::StrCat(name, " has ", values.size(),
                                  " entries, expected 2: only two spatial axes are supported"));
  }
  for (const int64_t value : values) {
    if (value < minimum || value > kMaxAmount) {
      return NodeError(graph, node, absl::StrCat(name, " holds ", value));
    }
  }
  return Pair{values[0], values[1]};
}

// Window settings that convolutions and pools share; `kernel` is known already.
template <typename Params>
absl::Status GetWindow(const Graph& graph, const Node& node, const Tensor& input, Params& params) {
  AMC_ASSIGN_OR_RETURN(params.stride, GetPair(graph, node, "strides", {1, 1}, 1));
  AMC_ASSIGN_OR_RETURN(params.dilation, GetPair(graph, node, "dilations", {1, 1}, 1));
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> pads, GetInts(graph, node, "pads", {0, 0, 0, 0}));
  AMC_ASSIGN_OR_RETURN(const std::string auto_pad, GetString(graph, node, "auto_pad", "NOTSET"));
  const auto is_bad = [](int64_t p) { return p < 0 || p > kMaxAmount; };
  if (pads.size() != 4 || std::any_of(pads.begin(), pads.end(), is_bad)) {
    return NodeError(graph, node,
                     absl::StrCat("pads [", absl::StrJoin(pads, ", "),
                                  "], expected four numbers from 0 to 2^31"));
  }
  if (auto_pad == "NOTSET" || auto_pad.empty()) {
    params.pad_begin = {pads[0], pads[1]};
    params.pad_end = {pads[2], pads[3]};
    return absl::OkStatus();
  }
  if (auto_pad == "VALID") return absl::OkStatus();
  if (auto_pad != "SAME_UPPER" && auto_pad != "SAME_LOWER") {
    return NodeError(graph, node, absl::StrCat("auto_pad is \"", auto_pad, "\""));
  }
  for (size_t i = 0; i < 2; ++i) {
    const int64_t size = input.shape[i + 2];
    const int64_t out = (size + params.stride[i] - 1) / params.stride[i];
    const int64_t window = (params.kernel[i] - 1) * params.dilation[i] + 1;
    const int64_t total = std::max<int64_t>(0, (out - 1) * params.stride[i] + window - size);
    const int64_t small = total / 2;
    params.pad_begin[i] = auto_pad == "SAME_UPPER" ? small : total - small;
    params.pad_end[i] = total - params.pad_begin[i];
  }
  return absl::OkStatus();
}

absl::StatusOr<const Tensor*> ImageInput(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Tensor* input, ShapedInput(graph, node, 0));
  const Shape& shape = input->shape;
  if (shape.size() != 4 || std::count(shape.begin() + 1, shape.end(), kDynamic) != 0) {
    return Unsupported(graph, node,
                       absl::StrCat("input ", input->name, " has the shape ", ShapeToString(shape),
                                    ", only N x C x H x W is supported"));
  }
  return input;
}

// Axes from input `i` (newer opsets) or the attribute (older ones).
struct OptionalAxes {
  bool found = false;
  std::vector<int64_t> axes;
};
absl::StatusOr<OptionalAxes> GetAxes(const Graph& graph, const Node& node, size_t i, int64_t rank) {
  OptionalAxes result;
  if (HasInput(node, i)) {
    AMC_ASSIGN_OR_RETURN(result.axes, InputInts(graph, node, i));
    result.found = true;
  } else if (node.attributes.count("axes") != 0) {
    AMC_ASSIGN_OR_RETURN(result.axes, GetInts(graph, node, "axes", {}));
    result.found = true;
  }
  for (int64_t& axis : result.axes) {
    AMC_ASSIGN_OR_RETURN(axis, NormalizeAxis(graph, node, axis, rank));
  }
  std::sort(result.axes.begin(), result.axes.end());
  if (std::adjacent_find(result.axes.begin(), result.axes.end()) != result.axes.end()) {
    return NodeError(graph, node, "an axis is listed twice");
  }
  return result;
}

}  // namespace

bool IsDataInput(const Node& node, size_t index) {
  switch (node.op) {
    case Op::kClip:
    case Op::kDropout:
    case Op::kPad:
    case Op::kReduceMean:
    case Op::kReshape:
    case Op::kSlice:
    case Op::kSplit:
    case Op::kSqueeze:
    case Op::kUnsqueeze:
      return index == 0;
    default:
      return true;
  }
}

absl::StatusOr<int64_t> GetInt(const Graph& graph, const Node& node, const std::string& name,
                               int64_t fallback) {
  AMC_ASSIGN_OR_RETURN(const int64_t* value, Find<int64_t>(graph, node, name));
  return value == nullptr ? fallback : *value;
}

absl::StatusOr<float> GetFloat(const Graph& graph, const Node& node, const std::string& name,
                               float fallback) {
  AMC_ASSIGN_OR_RETURN(const float* value, Find<float>(graph, node, name));
  return value == nullptr ? fallback : *value;
}

absl::StatusOr<ConvParams> GetConvParams(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Tensor* input, ImageInput(graph, node));
  AMC_ASSIGN_OR_RETURN(const Tensor* weight, ShapedInput(graph, node, 1));
  if (weight->shape.size() != 4 || weight->shape[0] < 1 || weight->shape[1] < 1) {
    return NodeError(graph, node,
                     absl::StrCat("weight ", weight->name, " has the shape ",
                                  ShapeToString(weight->shape), ", expected O x I x KH x KW"));
  }
  ConvParams params;
  AMC_ASSIGN_OR_RETURN(params.groups, GetInt(graph, node, "group", 1));
  params.out_channels = weight->shape[0];
  params.kernel = {weight->shape[2], weight->shape[3]};
  AMC_ASSIGN_OR_RETURN(const Pair kernel, GetPair(graph, node, "kernel_shape", params.kernel, 1));
  if (kernel != params.kernel) {
    return NodeError(graph, node,
                     absl::StrCat("kernel_shape ", kernel[0], "x", kernel[1], ", but weight ",
                                  weight->name, " is ", ShapeToString(weight->shape)));
  }
  const int64_t in_channels = input->shape[1];
  if (params.groups < 1 || params.groups > std::max<int64_t>(1, in_channels) ||
      weight->shape[1] > kMaxAmount) {
    return NodeError(
        graph, node,
        absl::StrCat("group is ", params.groups, " for an input of ", in_channels, " channels"));
  }
  params.in_channels = weight->shape[1] * params.groups;
  if (params.in_channels != in_channels || params.out_channels % params.groups != 0) {
    return NodeError(graph, node,
                     absl::StrCat("weight ", weight->name, " ", ShapeToString(weight->shape),
                                  " with ", params.groups, " groups does not fit the input ",
                                  ShapeToString(input->shape)));
  }
  AMC_RETURN_IF_ERROR(GetWindow(graph, node, *input, params));
  return params;
}

absl::StatusOr<PoolParams> GetPoolParams(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Tensor* input, ImageInput(graph, node));
  PoolParams params;
  if (node.attributes.count("kernel_shape") == 0) {
    return NodeError(graph, node, "kernel_shape is missing");
  }
  AMC_ASSIGN_OR_RETURN(params.kernel, GetPair(graph, node, "kernel_shape", {1, 1}, 1));
  AMC_RETURN_IF_ERROR(GetWindow(graph, node, *input, params));
  AMC_ASSIGN_OR_RETURN(const int64_t ceil_mode, GetInt(graph, node, "ceil_mode", 0));
  AMC_ASSIGN_OR_RETURN(const int64_t include, GetInt(graph, node, "count_include_pad", 0));
  params.ceil_mode = ceil_mode != 0;
  params.count_include_pad = include != 0;
  return params;
}

absl::StatusOr<ClipParams> GetClipParams(const Graph& graph, const Node& node) {
  ClipParams params;
  AMC_ASSIGN_OR_RETURN(params.min, GetFloat(graph, node, "min", params.min));
  AMC_ASSIGN_OR_RETURN(params.max, GetFloat(graph, node, "max", params.max));
  for (size_t i = 1; i <= 2; ++i) {
    if (!HasInput(node, i)) continue;
    auto values = Values<float>(graph, node.inputs[i]);
    if (!values.ok()) return Annotate(values.status(), NodeLabel(graph, node));
    if (values->size() != 1) {
      return NodeError(graph, node,
                       absl::StrCat("bound ", i, " has ", values->size(), " values, expected 1"));
    }
    (i == 1 ? params.min : params.max) = values->front();
  }
  return params;
}

absl::StatusOr<PadParams> GetPadParams(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Tensor* input, ShapedInput(graph, node, 0));
  const size_t rank = input->shape.size();
  PadParams params;
  AMC_ASSIGN_OR_RETURN(params.mode, GetString(graph, node, "mode", "constant"));
  AMC_ASSIGN_OR_RETURN(params.value, GetFloat(graph, node, "value", 0));
  std::vector<int64_t> pads;
  if (HasInput(node, 1)) {
    AMC_ASSIGN_OR_RETURN(pads, InputInts(graph, node, 1));
  } else {
    AMC_ASSIGN_OR_RETURN(pads, GetInts(graph, node, "pads", {}));
  }
  if (HasInput(node, 2)) {
    auto values = Values<float>(graph, node.inputs[2]);
    if (!values.ok()) return Annotate(values.status(), NodeLabel(graph, node));
    if (values->size() != 1) {
      return NodeError(graph, node,
                       absl::StrCat("pad value has ", values->size(), " values, expected 1"));
    }
    params.value = values->front();
  }
  if (params.mode != "constant" && params.mode != "reflect" && params.mode != "edge" &&
      params.mode != "wrap") {
    return NodeError(graph, node, absl::StrCat("mode is \"", params.mode, "\""));
  }
  for (const int64_t pad : pads) {
    if (pad < -kMaxAmount || pad > kMaxAmount) {
      return NodeError(graph, node, absl::StrCat("pads by ", pad));
    }
  }
  params.begin.assign(rank, 0);
  params.end.assign(rank, 0);
  if (HasInput(node, 3)) {  // opset 18: pads for the listed axes only
    AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> axes, InputInts(graph, node, 3));
    if (pads.size() != 2 * axes.size()) {
      return NodeError(graph, node, absl::StrCat(pads.size(), " pads for ", axes.size(), " axes"));
    }
    for (size_t i = 0; i < axes.size(); ++i) {
      AMC_ASSIGN_OR_RETURN(const int64_t axis,
                           NormalizeAxis(graph, node, axes[i], static_cast<int64_t>(rank)));
      params.begin[static_cast<size_t>(axis)] = pads[i];
      params.end[static_cast<size_t>(axis)] = pads[axes.size() + i];
    }
    return params;
  }
  if (pads.size() != 2 * rank) {
    return NodeError(graph, node,
                     absl::StrCat(pads.size(), " pads for a tensor with ", rank, " axes"));
  }
  std::copy_n(pads.begin(), rank, params.begin.begin());
  std::copy_n(pads.begin() + static_cast<std::ptrdiff_t>(rank), rank, params.end.begin());
  return params;
}

namespace {

// The range that ONNX means by start, end and step on an axis of `size` positions.
SliceParams::Range NormalizeRange(int64_t axis, int64_t size, int64_t start, int64_t end,
                                  int64_t step) {
  SliceParams::Range range{.axis = axis, .step = std::clamp(step, -kMaxAmount, kMaxAmount)};
  if (start < 0) start += size;
  if (end < 0) end += size;
  if (size == 0) return range;
  if (step > 0) {
    range.start = std::clamp<int64_t>(start, 0, size);
    range.end = std::max(range.start, std::clamp<int64_t>(end, 0, size));
  } else {
    range.start = std::clamp<int64_t>(start, 0, size - 1);
    range.end = std::min(range.start, std::clamp<int64_t>(end, -1, size - 1));
  }
  return range;
}

}  // namespace

absl::StatusOr<SliceParams> GetSliceParams(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Tensor* input, ShapedInput(graph, node, 0));
  const int64_t rank = static_cast<int64_t>(input->shape.size());
  std::vector<int64_t> starts, ends, axes, steps;
  if (HasInput(node, 1)) {
    AMC_ASSIGN_OR_RETURN(starts, InputInts(graph, node, 1));
    AMC_ASSIGN_OR_RETURN(ends, InputInts(graph, node, 2));
    if (HasInput(node, 3)) {
      AMC_ASSIGN_OR_RETURN(axes, InputInts(graph, node, 3));
    }
    if (HasInput(node, 4)) {
      AMC_ASSIGN_OR_RETURN(steps, InputInts(graph, node, 4));
    }
  } else if (node.attributes.count("starts") != 0) {
    AMC_ASSIGN_OR_RETURN(starts, GetInts(graph, node, "starts", {}));
    AMC_ASSIGN_OR_RETURN(ends, GetInts(graph, node, "ends", {}));
    AMC_ASSIGN_OR_RETURN(axes, GetInts(graph, node, "axes", {}));
  } else {
    return NodeError(graph, node, "starts are missing");
  }
  if (axes.empty()) {
    for (size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  }
  if (steps.empty()) steps.assign(starts.size(), 1);
  if (ends.size() != starts.size() || axes.size() != starts.size() ||
      steps.size() != starts.size()) {
    return NodeError(graph, node,
                     absl::StrCat(starts.size(), " starts, ", ends.size(), " ends, ", axes.size(),
                                  " axes and ", steps.size(), " steps"));
  }
  SliceParams params;
  std::vector<bool> seen(static_cast<size_t>(rank), false);
  for (size_t i = 0; i < starts.size(); ++i) {
    AMC_ASSIGN_OR_RETURN(const int64_t axis, NormalizeAxis(graph, node, axes[i], rank));
    if (seen[static_cast<size_t>(axis)]) {
      return NodeError(graph, node, absl::StrCat("axis ", axis, " is listed twice"));
    }
    seen[static_cast<size_t>(axis)] = true;
    if (steps[i] == 0) return NodeError(graph, node, absl::StrCat("step 0 on axis ", axis));
    const int64_t size = input->shape[static_cast<size_t>(axis)];
    if (size == kDynamic) {
      if (starts[i] == 0 && ends[i] >= kMaxAmount - 1 && steps[i] == 1) continue;  // all of it
      return Unsupported(graph, node, "slices the batch axis");
    }
    params.ranges.push_back(NormalizeRange(axis, size, starts[i], ends[i], steps[i]));
  }
  return params;
}

absl::StatusOr<ReduceParams> GetReduceParams(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Tensor* input, ShapedInput(graph, node, 0));
  const int64_t rank = static_cast<int64_t>(input->shape.size());
  ReduceParams params;
  AMC_ASSIGN_OR_RETURN(OptionalAxes axes, GetAxes(graph, node, 1, rank));
  AMC_ASSIGN_OR_RETURN(const int64_t keep_dims, GetInt(graph, node, "keepdims", 1));
  AMC_ASSIGN_OR_RETURN(const int64_t noop, GetInt(graph, node, "noop_with_empty_axes", 0));
  params.keep_dims = keep_dims != 0;
  params.axes = std::move(axes.axes);
  if (params.axes.empty() && noop == 0) {
    for (int64_t axis = 0; axis < rank; ++axis) params.axes.push_back(axis);
  }
  return params;
}

absl::StatusOr<GemmParams> GetGemmParams(const Graph& graph, const Node& node) {
  GemmParams params;
  AMC_ASSIGN_OR_RETURN(params.alpha, GetFloat(graph, node, "alpha", 1));
  AMC_ASSIGN_OR_RETURN(params.beta, GetFloat(graph, node, "beta", 1));
  AMC_ASSIGN_OR_RETURN(const int64_t trans_a, GetInt(graph, node, "transA", 0));
  AMC_ASSIGN_OR_RETURN(const int64_t trans_b, GetInt(graph, node, "transB", 0));
  params.trans_a = trans_a != 0;
  params.trans_b = trans_b != 0;
  return params;
}

absl::StatusOr<float> GetBatchNormEpsilon(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const float epsilon, GetFloat(graph, node, "epsilon", 1e-5f));
  if (!(epsilon >= 0)) return NodeError(graph, node, absl::StrCat("epsilon is ", epsilon));
  return epsilon;
}

absl::StatusOr<int64_t> GetAxis(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Tensor* input, ShapedInput(graph, node, 0));
  const int64_t rank = static_cast<int64_t>(input->shape.size());
  int64_t fallback = 0;
  if (node.op == Op::kFlatten) fallback = 1;
  if (node.op == Op::kSoftmax) fallback = graph.opset() >= 13 ? -1 : 1;
  AMC_ASSIGN_OR_RETURN(const int64_t axis, GetInt(graph, node, "axis", fallback));
  if (node.op == Op::kFlatten && axis == rank) return axis;
  return NormalizeAxis(graph, node, axis, rank);
}

absl::StatusOr<std::vector<int64_t>> GetSqueezeAxes(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Tensor* input, ShapedInput(graph, node, 0));
  int64_t rank = static_cast<int64_t>(input->shape.size());
  if (node.op == Op::kUnsqueeze) {  // axes count in the output
    size_t added = 0;
    if (HasInput(node, 1)) {
      AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> axes, InputInts(graph, node, 1));
      added = axes.size();
    } else {
      AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> axes, GetInts(graph, node, "axes", {}));
      added = axes.size();
    }
    rank += static_cast<int64_t>(added);
  }
  AMC_ASSIGN_OR_RETURN(OptionalAxes axes, GetAxes(graph, node, 1, rank));
  if (!axes.found && node.op == Op::kSqueeze) {
    for (int64_t axis = 0; axis < rank; ++axis) {
      if (input->shape[static_cast<size_t>(axis)] == 1) axes.axes.push_back(axis);
    }
  } else if (!axes.found) {
    return NodeError(graph, node, "axes are missing");
  }
  return std::move(axes.axes);
}

absl::StatusOr<std::vector<int64_t>> GetPermutation(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Tensor* input, ShapedInput(graph, node, 0));
  const size_t rank = input->shape.size();
  std::vector<int64_t> reversed(rank);
  for (size_t i = 0; i < rank; ++i) reversed[i] = static_cast<int64_t>(rank - 1 - i);
  AMC_ASSIGN_OR_RETURN(std::vector<int64_t> permutation, GetInts(graph, node, "perm", reversed));
  std::vector<int64_t> sorted = permutation;
  std::sort(sorted.begin(), sorted.end());
  std::reverse(reversed.begin(), reversed.end());
  if (sorted != reversed) {
    return NodeError(graph, node,
                     absl::StrCat("perm [", absl::StrJoin(permutation, ", "), "] does not permute ",
                                  rank, " axes"));
  }
  return permutation;
}

absl::StatusOr<std::vector<int64_t>> GetSplitSizes(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const Tensor* input, ShapedInput(graph, node, 0));
  AMC_ASSIGN_OR_RETURN(const int64_t axis, GetAxis(graph, node));
  const int64_t size = input->shape[static_cast<size_t>(axis)];
  if (size == kDynamic) return Unsupported(graph, node, "splits the batch axis");
  std::vector<int64_t> sizes;
  if (HasInput(node, 1)) {
    AMC_ASSIGN_OR_RETURN(sizes, InputInts(graph, node, 1));
  } else {
    AMC_ASSIGN_OR_RETURN(sizes, GetInts(graph, node, "split", {}));
  }
  const int64_t parts = static_cast<int64_t>(node.outputs.size());
  if (sizes.empty() && parts > 0) {  // even parts; from opset 18 on the last may be smaller
    if (graph.opset() < 18 && size % parts != 0) {
      return NodeError(graph, node, absl::StrCat(parts, " equal parts of an axis of ", size));
    }
    const int64_t part = (size + parts - 1) / parts;
    for (int64_t i = 0; i < parts; ++i) {
      sizes.push_back(std::min(part, std::max<int64_t>(0, size - i * part)));
    }
  }
  int64_t total = 0;
  for (const int64_t part : sizes) {
    if (part < 0 || part > size) {
      return NodeError(graph, node, absl::StrCat("a part of ", part, " of ", size));
    }
    total += part;
  }
  if (static_cast<int64_t>(sizes.size()) != parts || total != size) {
    return NodeError(graph, node,
                     absl::StrCat("parts [", absl::StrJoin(sizes, ", "), "] for ", parts,
                                  " outputs of an axis of ", size));
  }
  return sizes;
}

}  // namespace amc
