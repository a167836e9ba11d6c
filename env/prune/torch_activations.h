// Activations of many images at once, node by node.
//
// TorchNetwork::Forward takes one batch through the whole network; reconstruction and recalibration
// need all images to pass a layer before the next layer runs. Images stay in chunks of a batch
// each, and an activation is freed after its last reader.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/exec/data_pack.h"
#include "env/exec/exec_options.h"
#include "env/exec/prefix_cache.h"
#include "env/exec/torch_network.h"

namespace amc {

// How a network has to run for that: in float32, batch norms by themselves.
ExecOptions WalkOptions(ExecOptions options);

// Thread-compatible. The network must outlive it.
class TorchActivations {
 public:
  explicit TorchActivations(TorchNetwork& network);

  // Starts again with these images, one tensor N x C x H x W per chunk.
  void SetInput(std::vector<torch::Tensor> chunks);

  // Starts again at a cut, with the activations that its cache (which there must be) keeps of its
  // images, batch by batch: nodes before it are not to be run.
  void SetStart(const PrefixStart& start);

  // Runs nodes [first, last) on every chunk. Their inputs must have been computed and not freed.
  // Chunk after chunk, so that what one node computes is still near when the next one reads it;
  // what a ReLU or Clip alone reads is overwritten by it.
  absl::Status Run(size_t first, size_t last);
  absl::Status Run(NodeId node) { return Run(Index(node), Index(node) + 1); }

  // One tensor per chunk; empty if not computed yet or freed.
  const std::vector<torch::Tensor>& of(TensorId id) const { return values_[Index(id)]; }

  // Maps channel c (dimension 1) of a computed activation to scale[c] * x + shift[c], in place.
  void Transform(TensorId id, const torch::Tensor& scale, const torch::Tensor& shift);

  const Graph& graph() const { return network_.graph(); }

 private:
  absl::Status RunOn(size_t chunk, size_t node, std::vector<int>& waiting);
  bool IsFreed(TensorId id, const std::vector<int>& waiting) const;

  TorchNetwork& network_;
  size_t chunks_ = 0;
  std::vector<std::vector<torch::Tensor>> values_;  // by TensorId
  std::vector<int> readers_;                        // by TensorId; -1 for outputs: never freed
  std::vector<int> waiting_;                        // readers that have not run
  std::vector<bool> is_given_;                      // by TensorId: others hold it too
};

// Images [first, first + count) of the split in chunks of at most options.batch_size, on its
// device.
absl::StatusOr<std::vector<torch::Tensor>> LoadChunks(const DataPack& pack, Split split,
                                                      int64_t first, int64_t count,
                                                      const ExecOptions& options);

// Bytes of activations alive at once per image while `graph` is walked node by node, at least 1.
int64_t PeakActivationBytes(const Graph& graph);

}  // namespace amc
