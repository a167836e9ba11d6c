#include "env/exec/layer_inputs.h"

#include <algorithm>
#include <exception>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/exec/torch_network.h"

namespace amc {
namespace {

std::vector<float> ToVector(const torch::Tensor& tensor) {
  const torch::Tensor host = tensor.to(torch::kCPU, torch::kFloat32).contiguous();
  const float* const data = host.data_ptr<float>();
  return {data, data + host.numel()};
}

}  // namespace

absl::StatusOr<std::map<NodeId, std::vector<float>>> LayerInputs(const Graph& graph,
                                                                 absl::Span<const NodeId> nodes,
                                                                 absl::Span<const float> image,
                                                                 ExecOptions options) {
  if (graph.inputs.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the network has ", graph.inputs.size(), " inputs, want 1"));
  }
  Shape shape = graph.tensor(graph.inputs[0]).shape;
  if (!shape.empty()) shape[0] = 1;
  AMC_ASSIGN_OR_RETURN(const int64_t elements, NumElements(shape));
  if (static_cast<int64_t>(image.size()) != elements) {
    return absl::InvalidArgumentError(absl::StrCat("an image of ", image.size(), " values, want ",
                                                   elements, " (", ShapeToString(shape), ")"));
  }
  options.precision = Precision::kFloat32;
  options.fold_batch_norm = false;
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<TorchNetwork> network,
                       TorchNetwork::Create(graph, options));

  std::map<TensorId, std::vector<float>> read;  // what the nodes read
  for (const NodeId node : nodes) read[graph.node(node).inputs[0]];
  try {
    const torch::Tensor input = torch::from_blob(const_cast<float*>(image.data()), shape).clone();
    const auto keep = [&read](TensorId id, const torch::Tensor& tensor) {
      const auto found = read.find(id);
      if (found != read.end()) found->second = ToVector(tensor);
    };
    keep(graph.inputs[0], input);
    network->set_tap([&](NodeId id, std::vector<torch::Tensor>& outputs) {
      const std::vector<TensorId>& ids = graph.node(id).outputs;
      for (size_t i = 0; i < std::min(ids.size(), outputs.size()); ++i) keep(ids[i], outputs[i]);
    });
    AMC_RETURN_IF_ERROR(network->Forward(input).status());
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("cannot run the network: ", error.what()));
  }
  std::map<NodeId, std::vector<float>> inputs;
  for (const NodeId node : nodes) inputs[node] = read[graph.node(node).inputs[0]];
  return inputs;
}

}  // namespace amc
