// What a node's attributes and constant inputs say, read in one place: defaults filled in, opset
// differences (Clip, Pad, Slice, ReduceMean, Squeeze: attribute then, input now) hidden.
//
// Every function returns InvalidArgument, naming the node, when values are missing, have the wrong
// length or make no sense, and Unimplemented for what ONNX allows and the graph cannot express (one
// or three spatial axes, a part of the batch). Two spatial dimensions throughout, in the order
// height, width. The shape of the first input must be known, and that of weights.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "env/graph/graph.h"

namespace amc {

using Pair = std::array<int64_t, 2>;

struct ConvParams {
  Pair kernel{1, 1}, stride{1, 1}, dilation{1, 1};
  Pair pad_begin{0, 0}, pad_end{0, 0};  // auto_pad resolved from the input's shape
  int64_t groups = 1;
  int64_t in_channels = 0, out_channels = 0;  // of the whole convolution
};
absl::StatusOr<ConvParams> GetConvParams(const Graph& graph, const Node& node);

struct PoolParams {
  Pair kernel{1, 1}, stride{1, 1}, dilation{1, 1};
  Pair pad_begin{0, 0}, pad_end{0, 0};
  bool ceil_mode = false;
  bool count_include_pad = false;
};
absl::StatusOr<PoolParams> GetPoolParams(const Graph& graph, const Node& node);

struct ClipParams {
  float min = -std::numeric_limits<float>::infinity();
  float max = std::numeric_limits<float>::infinity();
};
absl::StatusOr<ClipParams> GetClipParams(const Graph& graph, const Node& node);

struct PadParams {
  std::string mode = "constant";
  std::vector<int64_t> begin, end;  // one per axis of the input; negative crops
  float value = 0;
};
absl::StatusOr<PadParams> GetPadParams(const Graph& graph, const Node& node);

// One range per listed axis, normalised: axis and bounds non-negative, within the dimension; only
// where the step is negative may the end be -1, before the first position. A range that takes the
// whole batch axis is left out.
struct SliceParams {
  struct Range {
    int64_t axis = 0, start = 0, end = 0, step = 1;  // end exclusive
  };
  std::vector<Range> ranges;
};
absl::StatusOr<SliceParams> GetSliceParams(const Graph& graph, const Node& node);

struct ReduceParams {
  std::vector<int64_t> axes;  // normalised, ascending; all axes if the node lists none
  bool keep_dims = true;
};
absl::StatusOr<ReduceParams> GetReduceParams(const Graph& graph, const Node& node);

struct GemmParams {
  float alpha = 1, beta = 1;
  bool trans_a = false, trans_b = false;
};
absl::StatusOr<GemmParams> GetGemmParams(const Graph& graph, const Node& node);

absl::StatusOr<float> GetBatchNormEpsilon(const Graph& graph, const Node& node);

// The normalised `axis` of Concat, Flatten, Softmax, Split.
absl::StatusOr<int64_t> GetAxis(const Graph& graph, const Node& node);
// The normalised axes of Squeeze and Unsqueeze (for Squeeze without any: those of size 1).
absl::StatusOr<std::vector<int64_t>> GetSqueezeAxes(const Graph& graph, const Node& node);
// The permutation of Transpose.
absl::StatusOr<std::vector<int64_t>> GetPermutation(const Graph& graph, const Node& node);
// The sizes of Split's outputs along its axis.
absl::StatusOr<std::vector<int64_t>> GetSplitSizes(const Graph& graph, const Node& node);

// Whether input `index` of `node` is a tensor to compute with; false where it is a parameter that
// is read when the network is made, and so must be a constant (amounts of a Pad, bounds of a Slice,
// ...).
bool IsDataInput(const Node& node, size_t index);

// Optional attributes with defaults; InvalidArgument if present with another type.
absl::StatusOr<int64_t> GetInt(const Graph& graph, const Node& node, const std::string& name,
                               int64_t fallback);
absl::StatusOr<float> GetFloat(const Graph& graph, const Node& node, const std::string& name,
                               float fallback);

}  // namespace amc
