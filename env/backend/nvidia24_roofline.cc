#include "env/backend/nvidia24_roofline.h"

#include <algorithm>
#include <cmath>

namespace amc {
namespace {

constexpr double kMacsPerMicrosecond16 = 156e6;  // dense; 312 T operations a second
constexpr double kBytesPerMicrosecond = 2039e3;

// Numbers that the layer reads and makes of one image.
int64_t Activations(const LayerWeights& layer) {
  const int64_t read =
      layer.channels * layer.conv.groups * layer.input_size[0] * layer.input_size[1];
  return read + layer.outputs * layer.positions();
}

}  // namespace

RooflineTime A100Time(const LayerWeights& layer, int64_t weight_bytes, Nvidia24Type type,
                      TensorCores cores) {
  const auto macs = static_cast<double>(layer.size() * layer.positions());
  const double peak = kMacsPerMicrosecond16 * (type == Nvidia24Type::kInt8 ? 2 : 1) *
                      (cores == TensorCores::kTwoOfFour ? 2 : 1);
  const int64_t bytes = weight_bytes + Activations(layer) * Nvidia24ValueBytes(type);
  const double microseconds =
      std::max(macs / peak, static_cast<double>(bytes) / kBytesPerMicrosecond);
  return {.cycles = static_cast<int64_t>(std::ceil(microseconds * kA100Megahertz)),
          .microseconds = microseconds};
}

}  // namespace amc
