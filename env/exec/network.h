// Running a network from code that does not know torch.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/exec/exec_options.h"
#include "env/exec/prefix_cache.h"
#include "env/graph/graph.h"

namespace amc {

// Inference on host memory. Thread-compatible.
class Network {
 public:
  // Errors as TorchNetwork::Create.
  static absl::StatusOr<std::unique_ptr<Network>> Create(const Graph& graph,
                                                         const ExecOptions& options);
  virtual ~Network() = default;

  // images: batch x C x H x W, row-major, preprocessed. Runs in batches of options.batch_size and
  // returns batch x classes (the first output, flattened per image). InvalidArgument if the size
  // does not fit the graph's input; Cancelled as TorchNetwork.
  virtual absl::StatusOr<std::vector<float>> Run(absl::Span<const float> images, int64_t batch) = 0;

  // The same of batch number `batch` of a cache's images, from one of its cuts on: what Run gives
  // for them.
  virtual absl::StatusOr<std::vector<float>> RunFrom(const PrefixStart& start, size_t batch) = 0;
};

}  // namespace amc
