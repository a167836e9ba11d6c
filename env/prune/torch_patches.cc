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
  const torch::Tensor padded = at::constant_pad_nd(
      input, {conv.pad_begin[1], conv.pad_end[1], conv.pad_begin[0], conv.pad_end[0]});
  const int64_t channels = padded.size(1), rows = padded.size(2), columns = padded.size(3);
  const torch::Tensor pixels = padded.permute({0, 2, 3, 1}).reshape({-1, channels});
  const torch::Tensor image = at.div(height * width, "floor");
  const torch::Tensor row = at.div(width, "floor").remainder(height) * conv.stride[0];
  const torch::Tensor column = at.remainder(width) * conv.stride[1];
  const torch::Tensor corner = (image * rows + row) * columns + column;
  std::vector<torch::Tensor> taps;
  for (int64_t i = 0; i < conv.kernel[0]; ++i) {
    for (int64_t j = 0; j < conv.kernel[1]; ++j) {
      const int64_t offset = i * conv.dilation[0] * columns + j * conv.dilation[1];
      taps.push_back(pixels.index_select(0, corner + offset));
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
