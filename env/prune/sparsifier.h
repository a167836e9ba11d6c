// Decisions in, the same network with zeros in its weights out: choose weights, fit what stays.
//
// The counterpart of Pruner (pruner.h) within tensors. Magnitudes choose (sparse_mask.h); then each
// output of a layer is fitted anew to what the original computes, from the inputs that it still
// reads and from the original's activations, and recalibration gives every channel the moments that
// the original's has (torch_sparse_fit.h, recalibration.h). The network may be one that lost
// channels before: what it computes is the original here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/exec/data_pack.h"
#include "env/exec/exec_options.h"
#include "env/graph/graph.h"
#include "env/graph/layer_weights.h"
#include "env/prune/sparse_mask.h"
#include "env/prune/sparsity.h"

namespace amc {

struct SparsifyOptions {
  SparsityOptions sparsity;
  ExecOptions exec;
  int64_t reconstruction_images = 4000;  // from the reconstruction split (all if it has fewer)
  int64_t samples_per_layer = 40000;     // output positions that enter a layer's normal equations
  int64_t recalibration_images = 128;    // 0: never
  double ridge = 1e-4;                   // relative to the mean diagonal of X^T X
  uint64_t seed = 0;                     // of the sampled positions
};

struct SparseLayer {
  std::string target;  // the weight's tensor
  SparseMask mask;
};

struct SparseNetwork {
  Graph graph;                           // a weight that its mask removes is +0
  std::vector<SparseLayer> layers = {};  // as decided, but for dense ones
};

// What a job keeps of one network and one data set: the moments of the original's activations,
// measured on first need. Thread-compatible; deterministic in its arguments.
class Sparsifier {
 public:
  using Progress = std::function<void(int64_t done, int64_t total)>;

  // Copies the graph; `pack` must outlive the sparsifier. InvalidArgument when they do not fit or
  // for an option out of range.
  static absl::StatusOr<std::unique_ptr<Sparsifier>> Create(const Graph& graph,
                                                            const DataPack& pack,
                                                            const SparsifyOptions& options);
  virtual ~Sparsifier() = default;

  // What decisions can name, in topological order.
  virtual const std::vector<LayerWeights>& layers() const = 0;

  // Both can be interrupted (base/interrupt.h), and leave what is kept as it was.

  // Measures the moments that reconstruction needs. Optional: Sparsify does it otherwise.
  virtual absl::Status Prepare(const Progress& progress) = 0;

  // Layers without a decision stay as they are; so does everything if all decisions are dense.
  // Without `reconstruct` the weights that stay keep their values. Layers with shared or scaled
  // biases or more than 6,000 features keep them anyway. InvalidArgument for a layer that is
  // unknown or decided twice; errors of SelectWeights; FailedPrecondition without images to
  // reconstruct from.
  virtual absl::StatusOr<SparseNetwork> Sparsify(absl::Span<const SparseDecision> decisions,
                                                 bool reconstruct, const Progress& progress) = 0;
};

}  // namespace amc
