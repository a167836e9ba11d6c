#include "env/prune/torch_patches.h"

#include <vector>

namespace amc {

int64_t PositionsPerImage(const torch::Tensor& output, bool is_conv) {
  if (is_conv) return output.size(2) * output.size(3);
  return output.numel() / (output.size(0) * output.size(-1));
}

torch::Tensor SamplePositions(int64_t images, int64_t positions, int64_t per_image, Rng& rng) {
  if (per_image >= positions) return torch::arange(images * positions, at::kLong);
  torch::Tensor sampled = torch::empty({images * per_image}, at::kLong);
  int64_t* out = sampled.data_ptr<int64_t>();
  for (int64_t n = 0; n < images; ++n) {
    for (int64_t i = 0; i < per_image; ++i) {
      *out++ = n * positions + static_cast<int64_t>(rng.Below(static_cast<uint64_t>(positions)));
    }
  }
  return sampled;
}

torch::Tensor GatherOutputs(const torch::Tensor& output, bool is_conv,
                            const torch::Tensor& positions) {
  const torch::Tensor last = is_conv ? output.permute({0, 2, 3, 1}) : output;
  return last.reshape({-1, last.size(-1)}).index_select(0, positions.to(output.device()));
}

torch::Tensor GatherPatches(const Layer& layer, const torch::Tensor& input, int64_t height,
                            int64_t width, const torch::Tensor& positions) {
  const torch::Tensor at = positions.to(input.device());
  if (!layer.is_conv) {
    return input.reshape({-1, input.size(-1)}).index_select(0, at).unsqueeze(0);
  }
  const ConvParams& conv = layer.conv;
  const int64_t channels = input.size(1), rows = input.size(2), columns = input.size(3);
  const torch::Tensor pixels = input.permute({0, 2, 3, 1}).reshape({-1, channels});
  const torch::Tensor image = at.div(height * width, "floor");
  const torch::Tensor top =
      at.div(width, "floor").remainder(height) * conv.stride[0] - conv.pad_begin[0];
  const torch::Tensor left = at.remainder(width) * conv.stride[1] - conv.pad_begin[1];
  std::vector<torch::Tensor> taps;
  for (int64_t i = 0; i < conv.kernel[0]; ++i) {
    for (int64_t j = 0; j < conv.kernel[1]; ++j) {
      const torch::Tensor row = top + i * conv.dilation[0], column = left + j * conv.dilation[1];
      const torch::Tensor padding = row.lt(0)
                                        .logical_or_(row.ge(rows))
                                        .logical_or_(column.lt(0))
                                        .logical_or_(column.ge(columns));
      const torch::Tensor pixel =
          (image * rows + row.clamp(0, rows - 1)) * columns + column.clamp(0, columns - 1);
      taps.push_back(pixels.index_select(0, pixel).masked_fill_(padding.unsqueeze(1), 0));
    }
  }
  return torch::stack(taps, 2)
      .reshape({positions.size(0), layer.groups, -1})
      .transpose(0, 1)
      .contiguous();
}

torch::Tensor WeightMatrix(const Layer& layer, const torch::Tensor& weight) {
  if (!layer.weight_by_output) return weight.t().unsqueeze(0);
  return weight.contiguous().reshape({layer.groups, weight.size(0) / layer.groups, -1});
}

torch::Tensor FromWeightMatrix(const Layer& layer, const torch::Tensor& matrix,
                               at::IntArrayRef shape) {
  if (!layer.weight_by_output) return matrix.squeeze(0).t().contiguous();
  return matrix.reshape(shape);
}

}  // namespace amc
