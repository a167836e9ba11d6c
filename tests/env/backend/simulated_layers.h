// Layers and inputs for tests of simulated accelerators, and a fuzzer of their files.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/rng.h"
#include "env/backend/backend.h"

namespace amc::testing {

struct ConvShape {
  int64_t outputs = 1, channels = 1, groups = 1;  // channels of one group
  Pair kernel = {1, 1}, stride = {1, 1}, pad = {0, 0};
  Pair input_size = {1, 1};
};

// Normally distributed weights, each kept with probability `density`.
inline LayerWeights RandomConv(const ConvShape& shape, double density, Rng& rng) {
  LayerWeights layer;
  layer.name = "conv";
  layer.outputs = shape.outputs;
  layer.channels = shape.channels;
  layer.conv.kernel = shape.kernel;
  layer.conv.stride = shape.stride;
  layer.conv.pad_begin = layer.conv.pad_end = shape.pad;
  layer.conv.groups = shape.groups;
  layer.conv.in_channels = shape.channels * shape.groups;
  layer.conv.out_channels = shape.outputs;
  layer.input_size = shape.input_size;
  for (size_t d = 0; d < 2; ++d) {
    layer.output_size[d] =
        (shape.input_size[d] + 2 * shape.pad[d] - shape.kernel[d]) / shape.stride[d] + 1;
  }
  const int64_t count = shape.outputs * layer.features();
  for (int64_t i = 0; i < count; ++i) {
    layer.values.push_back(rng.Uniform() < density ? static_cast<float>(rng.Normal()) : 0.0f);
  }
  return layer;
}

inline LayerWeights RandomLinear(int64_t outputs, int64_t inputs, double density, Rng& rng) {
  LayerWeights layer = RandomConv({.outputs = outputs, .channels = inputs}, density, rng);
  layer.form = LayerForm::kGemm;
  return layer;
}

inline LayerInput RandomInput(const LayerWeights& layer, double density, Rng& rng) {
  LayerInput input;
  const int64_t count =
      layer.channels * layer.conv.groups * layer.input_size[0] * layer.input_size[1];
  for (int64_t i = 0; i < count; ++i) {
    input.values.push_back(rng.Uniform() < density ? static_cast<float>(rng.Normal()) : 0.0f);
  }
  return input;
}

// What output position (oy, ox) reads at kernel position (ky, kx) of channel c: zero in the
// padding.
inline float InputAt(const LayerWeights& layer, const LayerInput& input, int64_t c, int64_t oy,
                     int64_t ox, int64_t ky, int64_t kx) {
  const int64_t y = oy * layer.conv.stride[0] + ky - layer.conv.pad_begin[0];
  const int64_t x = ox * layer.conv.stride[1] + kx - layer.conv.pad_begin[1];
  if (y < 0 || x < 0 || y >= layer.input_size[0] || x >= layer.input_size[1]) return 0;
  return input.values[(c * layer.input_size[0] + y) * layer.input_size[1] + x];
}

// Row-major products in double, of float factors.
inline std::vector<double> Product(const DenseMatrix& matrix, absl::Span<const float> inputs,
                                   int64_t vectors) {
  std::vector<double> sums(static_cast<size_t>(matrix.rows * vectors));
  for (int64_t r = 0; r < matrix.rows; ++r) {
    for (int64_t c = 0; c < matrix.columns; ++c) {
      for (int64_t v = 0; v < vectors; ++v) {
        sums[r * vectors + v] += static_cast<double>(matrix.at(r, c)) * inputs[c * vectors + v];
      }
    }
  }
  return sums;
}

// Write, Read and Run agree with each other and, but for `Tolerance`, with the layer.
inline void ExpectRunsWhatItReads(const Backend& backend, const LayerWeights& layer, Rng& rng) {
  const auto file = backend.Write(layer);
  ASSERT_TRUE(file.ok()) << file.status();
  const auto read = backend.Read(*file);
  ASSERT_TRUE(read.ok()) << read.status();
  const DenseMatrix written = ToMatrix(layer, backend.column_order()).value();
  ASSERT_EQ(read->rows, written.rows);
  ASSERT_EQ(read->columns, written.columns);
  const double tolerance = backend.Tolerance(layer).value();
  for (size_t i = 0; i < written.values.size(); ++i) {
    ASSERT_LE(std::abs(static_cast<double>(read->values[i]) - written.values[i]), tolerance) << i;
  }

  const int64_t vectors = 3;
  std::vector<float> inputs;
  for (int64_t i = 0; i < read->columns * vectors; ++i) {
    inputs.push_back(static_cast<float>(rng.Normal()));
  }
  const auto outputs = backend.Run(*file, inputs, vectors);
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  const std::vector<double> want = Product(*read, inputs, vectors);
  ASSERT_EQ(outputs->size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    // Sums in another order, rounded once to float.
    ASSERT_NEAR((*outputs)[i], want[i], 1e-6 * (1 + std::abs(want[i]))) << i;
  }
  EXPECT_EQ(backend.Run(*file, inputs, vectors + 1).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// `read(file)` gives an absl::Status. Cut anywhere, `file` is refused; with bytes changed it is
// refused or read, but never more than that.
template <typename Read>
void FuzzReader(const std::string& file, Read read) {
  ASSERT_TRUE(read(file).ok()) << read(file);
  Rng rng(1);
  for (size_t size = 0; size < file.size(); size += 1 + size / 64) {
    EXPECT_EQ(read(file.substr(0, size)).code(), absl::StatusCode::kInvalidArgument) << size;
  }
  EXPECT_EQ(read(file + '\0').code(), absl::StatusCode::kInvalidArgument);
  for (int round = 0; round < 2000; ++round) {
    std::string changed = file;
    for (uint64_t flips = 1 + rng.Below(3); flips > 0; --flips) {
      changed[rng.Below(file.size())] ^= static_cast<char>(1 << rng.Below(8));
    }
    const absl::Status status = read(changed);
    EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kInvalidArgument) << status;
  }
}

}  // namespace amc::testing
