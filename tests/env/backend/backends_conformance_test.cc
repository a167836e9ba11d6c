// What every backend promises (env/backend/backend.h), on layers of many forms and densities.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/rng.h"
#include "env/backend/backends.h"
#include "tests/env/backend/simulated_layers.h"

namespace amc {
namespace {

using ::amc::testing::ConvShape;
using ::amc::testing::FuzzReader;
using ::amc::testing::Product;
using ::amc::testing::RandomConv;
using ::amc::testing::RandomInput;
using ::amc::testing::RandomLinear;

// Of every 4 neighbouring inputs the first and the last two in turn, so that 2:4 can run it too.
LayerWeights Thinned(LayerWeights layer) {
  const int64_t kernel = layer.conv.kernel[0] * layer.conv.kernel[1];
  for (size_t i = 0; i < layer.values.size(); ++i) {
    const auto weight = static_cast<int64_t>(i) / kernel;
    const bool early = weight % layer.channels % 4 < 2;
    if (early != (weight / layer.channels % 2 == 0)) layer.values[i] = 0;
  }
  return layer;
}

std::vector<LayerWeights> Layers() {
  Rng rng(1);
  std::vector<LayerWeights> layers;
  for (const double density : {0.0, 0.05, 0.3, 1.0}) {
    for (const ConvShape& shape : {
             ConvShape{.outputs = 8, .channels = 16, .input_size = {5, 4}},
             ConvShape{.outputs = 12,
             .channels = 8,
             .kernel = {3, 3},
             .stride = {2, 1},
             .pad = {1, 1},
             .input_size = {7, 5}},
             ConvShape{.outputs = 5,
             .channels = 3,
             .kernel = {3, 3},
             .pad = {1, 1},
             .input_size = {4, 4}},
             ConvShape{
                 .outputs = 8, .channels = 4, .groups = 2, .kernel = {1, 3}, .input_size = {3, 6}},
             ConvShape{
                 .outputs = 6, .groups = 6, .kernel = {3, 3}, .pad = {1, 1}, .input_size = {3, 3}},
         }) {
      layers.push_back(RandomConv(shape, density, rng));
      layers.push_back(Thinned(layers.back()));
    }
    layers.push_back(RandomLinear(7, 30, density, rng));
    layers.push_back(Thinned(RandomLinear(32, 64, density, rng)));
    layers.push_back(Thinned(RandomLinear(1, 300, density, rng)));
  }
  // Empty rows among full ones, and a single weight.
  LayerWeights rows = Thinned(RandomLinear(16, 24, 1, rng));
  std::fill(rows.values.begin(), rows.values.begin() + 5 * 24, 0.0f);
  layers.push_back(rows);
  std::fill(rows.values.begin(), rows.values.end() - 1, 0.0f);
  rows.values.back() = -0.25f;
  layers.push_back(rows);
  return layers;
}

class BackendsConformanceTest : public ::testing::TestWithParam<std::string> {
 protected:
  const Backend& backend() const { return *FindBackend(GetParam()).value(); }
  std::vector<LayerWeights> EligibleLayers() const {
    std::vector<LayerWeights> layers = Layers();
    std::erase_if(layers, [&](const auto& layer) { return !backend().CheckEligible(layer).ok(); });
    return layers;
  }
};
INSTANTIATE_TEST_SUITE_P(Backends, BackendsConformanceTest, ::testing::ValuesIn(BackendNames()),
                         [](const auto& info) { return info.param; });

TEST_P(BackendsConformanceTest, IsFoundByItsName) {
  EXPECT_EQ(backend().name(), GetParam());
  EXPECT_FALSE(backend().extension().empty());
  // Enough of the layers are eligible for what follows to mean something.
  EXPECT_GE(EligibleLayers().size(), 8u);
}

TEST_P(BackendsConformanceTest, RefusesLayersWithAReason) {
  for (const LayerWeights& layer : Layers()) {
    const absl::Status status = backend().CheckEligible(layer);
    if (status.ok()) continue;
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(layer.name));
    EXPECT_EQ(backend().Write(layer).status(), status);
    EXPECT_EQ(backend().Tolerance(layer).status(), status);
    Rng rng(2);
    EXPECT_EQ(backend().Cost(layer, RandomInput(layer, 1, rng)).status(), status);
  }
}

TEST_P(BackendsConformanceTest, ReadsWhatItWroteWithinTolerance) {
  for (const LayerWeights& layer : EligibleLayers()) {
    const auto file = backend().Write(layer);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(backend().Write(layer).value(), *file);
    const auto read = backend().Read(*file);
    ASSERT_TRUE(read.ok()) << read.status();
    const DenseMatrix want = ToMatrix(layer, backend().column_order()).value();
    const double tolerance = backend().Tolerance(layer).value();
    if (tolerance == 0) {
      EXPECT_EQ(*read, want);
      continue;
    }
    ASSERT_EQ(read->rows, want.rows);
    ASSERT_EQ(read->columns, want.columns);
    ASSERT_EQ(read->values.size(), want.values.size());
    for (size_t i = 0; i < want.values.size(); ++i) {
      ASSERT_LE(std::fabs(double{read->values[i]} - want.values[i]), tolerance);
      ASSERT_TRUE(want.values[i] != 0 || read->values[i] == 0) << "a zero became a weight";
    }
  }
}

TEST_P(BackendsConformanceTest, RunsWhatItReads) {
  Rng rng(3);
  for (const LayerWeights& layer : EligibleLayers()) {
    const std::string file = backend().Write(layer).value();
    const DenseMatrix matrix = backend().Read(file).value();
    for (const int64_t vectors : {1, 5, 19}) {
      std::vector<float> inputs(static_cast<size_t>(matrix.columns * vectors));
      for (float& value : inputs) value = static_cast<float>(rng.Normal());
      const auto run = backend().Run(file, inputs, vectors);
      ASSERT_TRUE(run.ok()) << run.status();
      const std::vector<double> want = Product(matrix, inputs, vectors);
      // Sums may be taken in any order: the error is relative to the magnitudes summed.
      DenseMatrix magnitudes = matrix;
      for (float& value : magnitudes.values) value = std::fabs(value);
      for (float& value : inputs) value = std::fabs(value);
      const std::vector<double> scale = Product(magnitudes, inputs, vectors);
      ASSERT_EQ(run->size(), want.size());
      for (size_t i = 0; i < want.size(); ++i) {
        ASSERT_LE(std::fabs((*run)[i] - want[i]), 1e-5 * scale[i]) << i;
      }
    }
  }
}

TEST_P(BackendsConformanceTest, RefusesInputsOfAnotherSize) {
  Rng rng(4);
  const LayerWeights layer = EligibleLayers().front();
  const std::string file = backend().Write(layer).value();
  const int64_t columns = backend().Read(file)->columns;
  const std::vector<float> inputs(static_cast<size_t>(columns * 4));
  EXPECT_TRUE(backend().Run(file, inputs, 4).ok());
  for (const int64_t vectors : {int64_t{-4}, int64_t{0}, int64_t{3}, int64_t{5}, int64_t{1} << 62,
                                (int64_t{1} << 62) + 4}) {
    EXPECT_EQ(backend().Run(file, inputs, vectors).status().code(),
              absl::StatusCode::kInvalidArgument)
        << vectors;
  }
  EXPECT_TRUE(backend().Run(file, {}, 0).ok());

  LayerInput input = RandomInput(layer, 1, rng);
  EXPECT_TRUE(backend().Cost(layer, input).ok());
  input.values.push_back(0);
  EXPECT_EQ(backend().Cost(layer, input).status().code(), absl::StatusCode::kInvalidArgument);
  input.values.clear();
  EXPECT_EQ(backend().Cost(layer, input).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(BackendsConformanceTest, CostsAtLeastItsWeights) {
  Rng rng(5);
  for (const LayerWeights& layer : EligibleLayers()) {
    const auto cost = backend().Cost(layer, RandomInput(layer, 0.5, rng));
    ASSERT_TRUE(cost.ok()) << cost.status();
    EXPECT_GE(cost->nonzeros, layer.NonZeros());
    EXPECT_GT(cost->bytes, 0);
    EXPECT_GE(cost->cycles, 0);
    EXPECT_EQ(cost->microseconds > 0, cost->cycles > 0);
  }
}

// Files come from strangers: refused or read, and what is read also runs.
TEST_P(BackendsConformanceTest, SurvivesDamagedFiles) {
  std::vector<LayerWeights> layers = EligibleLayers();
  std::erase_if(layers, [](const auto& layer) { return layer.NonZeros() == 0; });
  for (size_t i = 0; i < layers.size(); i += std::max<size_t>(layers.size() / 4, 1)) {
    FuzzReader(backend().Write(layers[i]).value(), [&](const std::string& file) {
      const auto read = backend().Read(file);
      if (!read.ok()) return read.status();
      const std::vector<float> inputs(static_cast<size_t>(read->columns), 1.0f);
      return backend().Run(file, inputs, 1).status();
    });
  }
  EXPECT_EQ(backend().Read("").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace amc
