// A Graph on libtorch, node by node.
//
// The executor is a plain interpreter: one eager libtorch call per node, tensors in channels_last,
// each activation freed after its last reader. That leaves every activation within reach:
// reconstruction and training need them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "env/exec/exec_options.h"
#include "env/exec/torch_api.h"
#include "env/graph/graph.h"

namespace amc {

// Thread-compatible. Methods throw nothing: torch's exceptions become Internal or InvalidArgument
// naming the node. Before every node an InterruptScope (base/interrupt.h) may end the run with
// Cancelled, so that whatever runs networks can be given up within a node and a batch.
class TorchNetwork {
 public:
  // Converts constants to tensors on the device. Unimplemented names the first node whose operator
  // cannot be run; FailedPrecondition if a constant is weightless or the device is missing. With
  // options.fold_batch_norm, batch norms that follow a convolution or linear layer directly (and
  // are its only reader) are folded into it: their node then is an identity.
  static absl::StatusOr<std::unique_ptr<TorchNetwork>> Create(const Graph& graph,
                                                              const ExecOptions& options);
  virtual ~TorchNetwork() = default;

  // input: N x C x H x W float32 on any device. Returns the first output, N x classes, float32.
  virtual absl::StatusOr<torch::Tensor> Forward(const torch::Tensor& input) = 0;

  // Forward from node `first` on. `given` has the activations that are alive there, as a network
  // with the same options made them; they stay as they are.
  virtual absl::StatusOr<torch::Tensor> ForwardFrom(
      size_t first, const std::map<TensorId, torch::Tensor>& given) = 0;

  // One node, for callers that walk the graph themselves: `inputs` parallel node.inputs for the
  // activations (undefined tensors for constants and omitted inputs). Returns its outputs. Where
  // `may_overwrite`, the first input may hold something else afterwards if no other node reads it.
  virtual absl::StatusOr<std::vector<torch::Tensor>> RunNode(
      NodeId node, const std::vector<torch::Tensor>& inputs, bool may_overwrite = false) = 0;

  // Called with each node's outputs during Forward, in topological order; may replace them.
  using Tap = std::function<void(NodeId, std::vector<torch::Tensor>&)>;
  virtual void set_tap(Tap tap) = 0;

  // In training mode batch norm uses and updates batch statistics, dropout drops; needs a network
  // made with fold_batch_norm = false. Parameters then require gradients.
  virtual void Train(bool on, double batch_norm_momentum = 0.1) = 0;

  // Constants as tensors (weights, biases, batch norm's four), by the graph's TensorId; undefined
  // for activations and constants read at creation only (pads, shapes). In place edits take effect.
  virtual torch::Tensor& constant(TensorId id) = 0;
  // The trainable ones: weights, biases, batch norm scale and shift.
  virtual std::vector<TensorId> parameters() const = 0;

  virtual const Graph& graph() const = 0;
  // The graph with the constants' present values (not for folded networks: FailedPrecondition).
  virtual absl::StatusOr<Graph> ToGraph() const = 0;
};

}  // namespace amc
