// Layers with random weights, for tests of sparsity.
#pragma once

#include <string>

#include "base/rng.h"
#include "env/graph/layer_weights.h"

namespace amc::testing {

inline LayerWeights RandomConv(int64_t outputs, int64_t channels, Pair kernel, int64_t groups = 1,
                               uint64_t seed = 1) {
  LayerWeights layer;
  layer.name = "conv";
  layer.outputs = outputs;
  layer.channels = channels;
  layer.conv.kernel = kernel;
  layer.conv.groups = groups;
  layer.conv.in_channels = channels * groups;
  layer.conv.out_channels = outputs;
  Rng rng(seed);
  for (int64_t i = 0; i < outputs * layer.features(); ++i) {
    layer.values.push_back(static_cast<float>(rng.Normal()));
  }
  return layer;
}

inline LayerWeights RandomLinear(int64_t outputs, int64_t inputs, uint64_t seed = 1) {
  LayerWeights layer = RandomConv(outputs, inputs, {1, 1}, 1, seed);
  layer.name = "linear";
  layer.form = LayerForm::kGemm;
  return layer;
}

}  // namespace amc::testing
