// What layers read of an image: the activations before them.
#pragma once

#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/exec/exec_options.h"
#include "env/graph/graph.h"

namespace amc {

// Runs the network in float32 on one image (C x H x W, preprocessed) and returns the first input of
// each of `nodes`, row-major as ONNX lays it out, without the batch axis. Errors as
// TorchNetwork::Create and Forward; InvalidArgument if the image's size is not the input's.
absl::StatusOr<std::map<NodeId, std::vector<float>>> LayerInputs(const Graph& graph,
                                                                 absl::Span<const NodeId> nodes,
                                                                 absl::Span<const float> image,
                                                                 ExecOptions options);

}  // namespace amc
