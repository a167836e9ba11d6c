// A layer as a regression: rows of its unfolded input and of its output, at sampled positions.
//
// A position is an index into the N x H x W outputs of a convolution, or into the rows of a linear
// layer's output. The features of a row are the input patch that the position sees, zero where it
// reaches into the padding, in the order of the weight: channel, kernel row, kernel column.
#pragma once

#include <cstdint>

#include "base/rng.h"
#include "env/exec/torch_api.h"
#include "env/prune/layers.h"

namespace amc {

// Positions per image of an activation: H * W, or rows for a linear layer.
int64_t PositionsPerImage(const torch::Tensor& output, bool is_conv);

// `per_image` random positions of each of `images` images, `positions` each; all of them, once, if
// that is no fewer. int64, on the CPU.
torch::Tensor SamplePositions(int64_t images, int64_t positions, int64_t per_image, Rng& rng);

// positions x outputs.
torch::Tensor GatherOutputs(const torch::Tensor& output, bool is_conv,
                            const torch::Tensor& positions);

// groups x positions x features, from the layer's input N x C x H x W (or rows x features).
// `height` and `width` are those of a convolution's output.
torch::Tensor GatherPatches(const Layer& layer, const torch::Tensor& input, int64_t height,
                            int64_t width, const torch::Tensor& positions);

// The layer's weight as groups x outputs per group x features: a view where it can be.
torch::Tensor WeightMatrix(const Layer& layer, const torch::Tensor& weight);
// The inverse of WeightMatrix, in the weight's own shape.
torch::Tensor FromWeightMatrix(const Layer& layer, const torch::Tensor& matrix,
                               at::IntArrayRef shape);

}  // namespace amc
