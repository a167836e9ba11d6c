// Cuts constants along dimensions, on their bytes.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/graph/graph.h"

namespace amc {

// `tensor` with only the positions `kept` of dimension `dim`, in that order. Weightless stays
// weightless. InvalidArgument if the bytes do not match the shape.
absl::StatusOr<Tensor> SliceConstant(const Tensor& tensor, int dim, absl::Span<const int32_t> kept);

// The weight (out x in/groups x ...) of a grouped convolution, cut along both axes at once: row r,
// one of `rows`, belongs to the convolution group r / (out / groups) and keeps those of `columns`
// (positions among all input channels) that lie in that group. Every convolution group must keep
// equally many.
absl::StatusOr<Tensor> SliceGroupedWeight(const Tensor& weight, int64_t groups,
                                          absl::Span<const int32_t> rows,
                                          absl::Span<const int32_t> columns);

}  // namespace amc
