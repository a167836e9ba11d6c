// ONNX operators as libtorch calls: one table from Op to a function that reads a node's attributes
// once and returns what runs it. Layer operators (convolutions, pools, padding) are in
// torch_spatial_ops.cc, everything else in torch_ops.cc.
#pragma once

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "env/exec/torch_api.h"
#include "env/graph/graph.h"

namespace amc {

// What may change between runs of the same network.
struct OpMode {
  bool training = false;
  double batch_norm_momentum = 0.1;  // weight of the new batch's statistics
  // The first input is a temporary that nobody reads again: it may be overwritten.
  bool may_overwrite = false;
};

// Inputs are parallel to node.inputs; constants that IsDataInput() denies are undefined. Throws
// torch's exceptions. Returns the first output, or all of a Split's.
using TorchOp =
    std::function<std::vector<torch::Tensor>(const std::vector<torch::Tensor>&, const OpMode&)>;

// Unimplemented if the operator is unknown or one of its optional outputs is asked for;
// InvalidArgument if its attributes make no sense.
absl::StatusOr<TorchOp> MakeTorchOp(const Graph& graph, const Node& node);

// The table's parts.
absl::StatusOr<TorchOp> MakeConv(const Graph& graph, const Node& node);
absl::StatusOr<TorchOp> MakeMaxPool(const Graph& graph, const Node& node);
absl::StatusOr<TorchOp> MakeAveragePool(const Graph& graph, const Node& node);
absl::StatusOr<TorchOp> MakePad(const Graph& graph, const Node& node);
absl::StatusOr<TorchOp> MakeSlice(const Graph& graph, const Node& node);

}  // namespace amc
