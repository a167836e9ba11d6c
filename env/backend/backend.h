// A sparse runtime, real or simulated: its format, a kernel that runs it, and what running costs.
//
// Formats work on one layer at a time. A file is what Write gives; Read and Run take files from
// strangers. Runs are reference kernels, which work on the format itself and never on a decoded
// copy; they are made to be right and are fast only where a backend says so.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "env/graph/layer_weights.h"

namespace amc {

// One image's input to a layer: channels x height x width (linear layers: features x 1 x 1, or x
// rows), as ONNX lays it out. What dynamic sparsity is counted on.
struct LayerInput {
  std::vector<float> values = {};
};

// What a layer costs per image. Of simulated hardware: never mixed with what was measured.
struct BackendCost {
  int64_t nonzeros = 0;  // weights that the format keeps, explicit zeros included
  int64_t bytes = 0;     // of weights, indices, pointers and codebooks, as the runtime holds them
  int64_t cycles = 0;    // 0: the backend has no cycle model
  double microseconds = 0;  // of these cycles at the hardware's clock; 0: unknown
};

// Immutable, thread-safe.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual absl::string_view name() const = 0;       // "csr", "nvidia24"
  virtual absl::string_view extension() const = 0;  // of its files, "safetensors", "bin"
  // The order of columns of what Read gives and Run takes.
  virtual ColumnOrder column_order() const = 0;

  // Whether the runtime can run the layer: OK, or FailedPrecondition with the reason ("5 input
  // channels are no multiple of 4").
  virtual absl::Status CheckEligible(const LayerWeights& layer) const = 0;

  // The layer's file. FailedPrecondition as CheckEligible.
  virtual absl::StatusOr<std::string> Write(const LayerWeights& layer) const = 0;

  // The matrix that a file holds, dequantised where the format quantises. InvalidArgument names
  // what is wrong with it and at which byte or entry.
  virtual absl::StatusOr<DenseMatrix> Read(absl::string_view file) const = 0;

  // The largest |value that Read gives - value that Write took| that the format may cause: 0 where
  // it is exact.
  virtual absl::StatusOr<double> Tolerance(const LayerWeights& layer) const = 0;

  // The file's matrix times `inputs` (columns x vectors, row-major): rows x vectors, row-major.
  // InvalidArgument as Read, or if `inputs` is not of that shape.
  virtual absl::StatusOr<std::vector<float>> Run(absl::string_view file,
                                                 absl::Span<const float> inputs,
                                                 int64_t vectors) const = 0;

  // FailedPrecondition as CheckEligible; InvalidArgument if `input` has another size than the layer
  // reads.
  virtual absl::StatusOr<BackendCost> Cost(const LayerWeights& layer,
                                           const LayerInput& input) const = 0;

  // What a layer costs that the runtime runs dense because its weights do not fit the format;
  // FailedPrecondition where it cannot do that either.
  virtual absl::StatusOr<BackendCost> DenseCost(const LayerWeights& layer,
                                                const LayerInput& input) const {
    return Cost(layer, input);
  }
};

}  // namespace amc
