// Convolutions, pools, padding and slicing: where ONNX and libtorch differ most. libtorch knows
// symmetric padding only, at most half a window of it in pools, no dilation in average pools and
// neither reflection nor edges along channels; what it lacks is built here from what it has.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/exec/torch_ops.h"
#include "env/graph/op_params.h"

namespace amc {
namespace {

using Tensors = std::vector<torch::Tensor>;

at::IntArrayRef Ref(const Pair& pair) { return at::IntArrayRef(pair.data(), pair.size()); }

// x with `value` around it; negative amounts crop. Height and width are the last two axes.
torch::Tensor PadSpatially(const torch::Tensor& x, const Pair& begin, const Pair& end,
                           double value) {
  return at::constant_pad_nd(x, {begin[1], end[1], begin[0], end[0]}, value);
}

// How many windows ONNX puts along an axis. Rounding up never adds one that starts beyond the data
// and its first padding.
int64_t WindowCount(const PoolParams& pool, size_t axis, int64_t size) {
  const int64_t padded = size + pool.pad_begin[axis] + pool.pad_end[axis];
  const int64_t reach = pool.dilation[axis] * (pool.kernel[axis] - 1) + 1;
  const int64_t steps = padded - reach;
  TORCH_CHECK(steps >= 0, "a window of ", reach, " on ", padded, " padded positions");
  int64_t count = steps / pool.stride[axis] + 1;
  if (pool.ceil_mode && steps % pool.stride[axis] != 0 &&
      count * pool.stride[axis] < size + pool.pad_begin[axis]) {
    ++count;
  }
  return count;
}

// The end padding (possibly negative) with which windows fit exactly WindowCount times.
Pair ExactEndPadding(const PoolParams& pool, const torch::Tensor& x) {
  Pair end{};
  for (size_t axis = 0; axis < 2; ++axis) {
    const int64_t size = x.size(static_cast<int64_t>(axis) + 2);
    const int64_t reach = pool.dilation[axis] * (pool.kernel[axis] - 1) + 1;
    end[axis] = (WindowCount(pool, axis, size) - 1) * pool.stride[axis] + reach - size -
                pool.pad_begin[axis];
  }
  return end;
}

// Whether libtorch's pools can do the padding themselves.
bool HasNativePadding(const PoolParams& pool) {
  for (size_t axis = 0; axis < 2; ++axis) {
    if (pool.pad_begin[axis] != pool.pad_end[axis]) return false;
    if (pool.pad_begin[axis] * 2 > pool.kernel[axis]) return false;
  }
  return true;
}

// Sums over each window, without padding.
torch::Tensor WindowSums(const torch::Tensor& x, const PoolParams& pool) {
  const torch::Tensor planes = x.reshape({x.size(0) * x.size(1), 1, x.size(2), x.size(3)});
  const torch::Tensor ones = at::ones({1, 1, pool.kernel[0], pool.kernel[1]}, x.options());
  const torch::Tensor sums = at::conv2d(planes, ones, torch::Tensor(), Ref(pool.stride),
                                        at::IntArrayRef({0, 0}), Ref(pool.dilation));
  return sums.reshape({x.size(0), x.size(1), sums.size(2), sums.size(3)});
}

// Average pooling by definition: the sum of a window over how many of its positions count.
torch::Tensor AveragePoolBySums(const torch::Tensor& x, const PoolParams& pool) {
  const Pair end = ExactEndPadding(pool, x);
  torch::Tensor counted = at::ones({1, 1, x.size(2), x.size(3)}, x.options());
  if (pool.count_include_pad) {
    counted = PadSpatially(counted, pool.pad_begin, pool.pad_end, 1);
    const Pair rest{end[0] - pool.pad_end[0], end[1] - pool.pad_end[1]};
    counted = PadSpatially(counted, {0, 0}, rest, 0);
  } else {
    counted = PadSpatially(counted, pool.pad_begin, end, 0);
  }
  const torch::Tensor sums = WindowSums(PadSpatially(x, pool.pad_begin, end, 0), pool);
  return sums / WindowSums(counted, pool);
}

// Where position `i` of an axis of `size` comes from once it is padded, i counting from the first
// original position.
int64_t SourceIndex(const std::string& mode, int64_t i, int64_t size) {
  if (mode == "edge") return std::clamp<int64_t>(i, 0, size - 1);
  if (mode == "wrap") return ((i % size) + size) % size;
  const int64_t period = std::max<int64_t>(2 * (size - 1), 1);  // reflect, any number of times
  const int64_t phase = ((i % period) + period) % period;
  return std::min(phase, period - phase);
}

}  // namespace

absl::StatusOr<TorchOp> MakeConv(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const ConvParams conv, GetConvParams(graph, node));
  const bool symmetric = conv.pad_begin == conv.pad_end;
  return TorchOp([conv, symmetric](const Tensors& in, const OpMode&) -> Tensors {
    const torch::Tensor bias = in.size() > 2 ? in[2] : torch::Tensor();
    const torch::Tensor x =
        symmetric ? in[0] : PadSpatially(in[0], conv.pad_begin, conv.pad_end, 0);
    const Pair padding = symmetric ? conv.pad_begin : Pair{0, 0};
    return {at::conv2d(x, in[1], bias, Ref(conv.stride), Ref(padding), Ref(conv.dilation),
                       conv.groups)};
  });
}

absl::StatusOr<TorchOp> MakeMaxPool(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const PoolParams pool, GetPoolParams(graph, node));
  if (HasNativePadding(pool)) {
    return TorchOp([pool](const Tensors& in, const OpMode&) -> Tensors {
      return {at::max_pool2d(in[0], Ref(pool.kernel), Ref(pool.stride), Ref(pool.pad_begin),
                             Ref(pool.dilation), pool.ceil_mode)};
    });
  }
  return TorchOp([pool](const Tensors& in, const OpMode&) -> Tensors {
    const torch::Tensor x = PadSpatially(in[0], pool.pad_begin, ExactEndPadding(pool, in[0]),
                                         -std::numeric_limits<double>::infinity());
    return {
        at::max_pool2d(x, Ref(pool.kernel), Ref(pool.stride), /*padding=*/0, Ref(pool.dilation))};
  });
}

absl::StatusOr<TorchOp> MakeAveragePool(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const PoolParams pool, GetPoolParams(graph, node));
  const bool dilated = pool.dilation != Pair{1, 1};
  if (HasNativePadding(pool) && !dilated) {
    return TorchOp([pool](const Tensors& in, const OpMode&) -> Tensors {
      return {at::avg_pool2d(in[0], Ref(pool.kernel), Ref(pool.stride), Ref(pool.pad_begin),
                             pool.ceil_mode, pool.count_include_pad)};
    });
  }
  return TorchOp([pool](const Tensors& in, const OpMode&) -> Tensors {
    return {AveragePoolBySums(in[0], pool)};
  });
}

absl::StatusOr<TorchOp> MakePad(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const PadParams pad, GetPadParams(graph, node));
  if (pad.mode == "constant") {
    std::vector<int64_t> amounts;  // libtorch's order: the last axis first
    for (size_t axis = pad.begin.size(); axis-- > 0;) {
      amounts.push_back(pad.begin[axis]);
      amounts.push_back(pad.end[axis]);
    }
    return TorchOp([amounts, value = pad.value](const Tensors& in, const OpMode&) -> Tensors {
      return {at::constant_pad_nd(in[0], amounts, value)};
    });
  }
  if (pad.mode != "reflect" && pad.mode != "edge" && pad.mode != "wrap") {
    return absl::UnimplementedError(
        absl::StrCat(NodeLabel(graph, node), ": padding mode \"", pad.mode, "\""));
  }
  return TorchOp([pad](const Tensors& in, const OpMode&) -> Tensors {
    torch::Tensor x = in[0];
    for (size_t axis = 0; axis < pad.begin.size(); ++axis) {
      if (pad.begin[axis] == 0 && pad.end[axis] == 0) continue;
      const auto dim = static_cast<int64_t>(axis);
      const int64_t size = x.size(dim);
      std::vector<int64_t> source;
      for (int64_t i = -pad.begin[axis]; i < size + pad.end[axis]; ++i) {
        source.push_back(SourceIndex(pad.mode, i, size));
      }
      x = x.index_select(dim, at::tensor(source, at::kLong).to(x.device()));
    }
    return {x};
  });
}

absl::StatusOr<TorchOp> MakeSlice(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const SliceParams slice, GetSliceParams(graph, node));
  return TorchOp([slice](const Tensors& in, const OpMode&) -> Tensors {
    torch::Tensor x = in[0];
    for (const SliceParams::Range& range : slice.ranges) {
      if (range.step > 0) {
        x = x.slice(range.axis, range.start, range.end, range.step);
        continue;
      }
      std::vector<int64_t> source;
      for (int64_t i = range.start; i > range.end; i += range.step) source.push_back(i);
      x = x.index_select(range.axis, at::tensor(source, at::kLong).to(x.device()));
    }
    return {x};
  });
}

}  // namespace amc
