#include "env/backend/windows.h"

#include "absl/strings/str_cat.h"

namespace amc {

absl::Status CheckInput(const LayerWeights& layer, const LayerInput& input) {
  const int64_t want =
      layer.channels * layer.conv.groups * layer.input_size[0] * layer.input_size[1];
  if (static_cast<int64_t>(input.values.size()) != want) {
    return absl::InvalidArgumentError(absl::StrCat("layer ", layer.name, ": an input of ",
                                                   input.values.size(), " values, want ", want));
  }
  return absl::OkStatus();
}

std::vector<int64_t> WindowOffsets(const LayerWeights& layer, int64_t position) {
  const ConvParams& conv = layer.conv;
  const int64_t top = position / layer.output_size[1] * conv.stride[0] - conv.pad_begin[0];
  const int64_t left = position % layer.output_size[1] * conv.stride[1] - conv.pad_begin[1];
  std::vector<int64_t> offsets;
  for (int64_t ky = 0; ky < conv.kernel[0]; ++ky) {
    for (int64_t kx = 0; kx < conv.kernel[1]; ++kx) {
      const int64_t y = top + ky * conv.dilation[0], x = left + kx * conv.dilation[1];
      const bool inside = y >= 0 && y < layer.input_size[0] && x >= 0 && x < layer.input_size[1];
      offsets.push_back(inside ? y * layer.input_size[1] + x : -1);
    }
  }
  return offsets;
}

}  // namespace amc
