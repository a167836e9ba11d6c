// A matrix times vectors on XNNPACK, with its sparse or its dense kernels.
//
// Sparse: a 1x1 convolution on NCHW (xnn_create_convolution2d_nchw_f32) packs what is not zero of
// its dense weights and multiplies that, at any density. XNNPACK's graph runtime takes it where
// sparse inference is asked for and more than two thirds of the 1x1 convolutions' weights are zero.
// Dense: a fully connected layer (xnn_create_fully_connected_nc_f32), which is what XNNPACK makes
// of a 1x1 convolution on NHWC.
//
// The .cc is the only file that includes xnnpack.h.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/graph/layer_weights.h"

struct xnn_operator;  // XNNPACK's

namespace amc {

// One thread at a time. Owns weights, inputs and outputs, so that XNNPACK may read behind them as
// it does (XNN_EXTRA_BYTES).
class XnnpackProduct {
 public:
  enum class Kernel { kSparse, kDense };

  // InvalidArgument if the matrix has no rows or columns, its values are not so many, or there are
  // no vectors; errors of XNNPACK as FailedPrecondition (a processor that it does not know) or
  // Internal.
  static absl::StatusOr<XnnpackProduct> Create(const DenseMatrix& matrix, int64_t vectors,
                                               Kernel kernel);

  // Sparse: columns x vectors. Dense: vectors x columns. Row-major, zeros at first.
  absl::Span<float> inputs() { return {inputs_.data(), static_cast<size_t>(columns_ * vectors_)}; }
  // Computes outputs(). Internal if XNNPACK fails.
  absl::Status Run();
  // Sparse: rows x vectors. Dense: vectors x rows. Row-major.
  absl::Span<const float> outputs() const { return outputs_; }

 private:
  struct Deleter {
    void operator()(xnn_operator* op) const;
  };

  XnnpackProduct(int64_t rows, int64_t columns, int64_t vectors);

  int64_t columns_, vectors_;
  std::vector<float> inputs_, outputs_;
  std::unique_ptr<xnn_operator, Deleter> operator_;
};

}  // namespace amc
