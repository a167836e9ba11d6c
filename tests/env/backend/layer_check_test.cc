#include "env/backend/layer_check.h"

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "env/backend/backends.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

// Two outputs, four inputs, kernels of 1 x 2.
LayerWeights Layer(std::vector<float> values) {
  LayerWeights layer;
  layer.name = "w";
  layer.outputs = 2;
  layer.channels = 4;
  layer.conv.kernel = {1, 2};
  layer.conv.in_channels = 4;
  layer.conv.out_channels = 2;
  layer.values = std::move(values);
  return layer;
}

TEST(ZeroPatternTest, NamesTheCoarsest) {
  EXPECT_EQ(ZeroPattern(Layer({1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8})), "dense");
  EXPECT_EQ(ZeroPattern(Layer({1, 2, 0, 0, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8})), "kernel");
  EXPECT_EQ(ZeroPattern(Layer({1, 0, 0, 4, 5, 0, 0, 8, 0, 2, 3, 0, 0, 0, 7, 8})), "2:4");
  EXPECT_EQ(ZeroPattern(Layer({1, 0, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8})), "element");
}

// A layer of `outputs` x `channels` kernels of height x width with ones where `kept` says.
LayerWeights Kept(int64_t outputs, int64_t channels, Pair kernel,
                  const std::function<bool(int64_t o, int64_t c, int64_t k)>& kept) {
  LayerWeights layer;
  layer.outputs = outputs;
  layer.channels = channels;
  layer.conv.kernel = kernel;
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t k = 0; k < kernel[0] * kernel[1]; ++k) layer.values.push_back(kept(o, c, k));
    }
  }
  return layer;
}

TEST(ZeroPatternTest, BlocksAreOfOutputsAndFeatures) {
  const auto block = [](int64_t o, int64_t c, int64_t k) {
    return (o / 4 + (c * 9 + k) / 4) % 2 == 0;
  };
  EXPECT_EQ(ZeroPattern(Kept(8, 4, {3, 3}, block)), "block");
  // A block too few at the bottom, at the right, and one that has an entry.
  EXPECT_EQ(ZeroPattern(Kept(6, 4, {3, 3}, block)), "element");
  EXPECT_EQ(ZeroPattern(Kept(8, 3, {3, 3}, block)), "element");
  LayerWeights entry = Kept(8, 4, {3, 3}, block);
  entry.values[4] = 1;
  EXPECT_EQ(ZeroPattern(entry), "element");
  // Linear layers have blocks too; those of whole kernels are said to be kernels.
  EXPECT_EQ(ZeroPattern(Kept(4, 8, {1, 1}, [](int64_t, int64_t c, int64_t) { return c < 4; })),
            "block");
  EXPECT_EQ(ZeroPattern(Kept(4, 8, {2, 2}, [](int64_t, int64_t c, int64_t) { return c < 4; })),
            "kernel");
}

TEST(ZeroPatternTest, PatternsKeepFourEntriesOfKernelsOfNine) {
  const auto four = [](int64_t o, int64_t c, int64_t k) { return (o + c + k) % 9 < 4 && c != 1; };
  EXPECT_EQ(ZeroPattern(Kept(2, 4, {3, 3}, four)), "pattern");
  LayerWeights five = Kept(2, 4, {3, 3}, four);
  five.values[8] = 1;
  EXPECT_EQ(ZeroPattern(five), "element");
  EXPECT_EQ(ZeroPattern(Kept(2, 4, {1, 9}, four)), "element");
}

TEST(ZeroPatternTest, FinerOnesAreRowsOfKernelsAndEntries) {
  // Rows of 3x3 kernels, two of three where the kernel is kept: 6 entries are no pattern.
  EXPECT_EQ(
      ZeroPattern(Kept(2, 3, {3, 3}, [](int64_t, int64_t c, int64_t k) { return k / 3 != c; })),
      "vector");
  EXPECT_EQ(
      ZeroPattern(Kept(2, 4, {3, 3}, [](int64_t, int64_t c, int64_t k) { return k % 9 != c; })),
      "element");
  // Five and four entries of the kernels, two of four channels.
  EXPECT_EQ(
      ZeroPattern(Kept(2, 4, {3, 3},
                       [](int64_t, int64_t c, int64_t k) { return (c < 2) == (k % 2 == 0); })),
      "2:4");
}

TEST(LayerCheckTest, FindsWhatIsNotTheNetworks) {
  const Backend& csr = **FindBackend("csr");
  const LayerWeights layer = Layer({1, 0, 0, 4, 5, 0, 0, 8, 0, 2, 3, 0, 0, 0, 7, 8});
  const std::string file = csr.Write(layer).value();
  EXPECT_TRUE(CheckLayerFile(csr, layer, file).ok());
  LayerWeights other = layer;
  other.values[7] = 9;
  EXPECT_THAT(CheckLayerFile(csr, other, file).status().message(),
              HasSubstr("has 8 in row 0, column 7, the network 9 (0 is allowed)"));
  other = layer;
  other.outputs = 1;
  other.values.resize(8);
  EXPECT_THAT(CheckLayerFile(csr, other, file).status().message(),
              HasSubstr("holds a matrix of 2 x 8, the network one of 1 x 8"));
}

// Of a depthwise convolution with few weights and a matrix of 1 GiB.
TEST(LayerCheckTest, MakesNoMatrixThatTheBackendRefuses) {
  const Backend& csr = **FindBackend("csr");
  const std::string file = csr.Write(Layer(std::vector<float>(16, 1))).value();
  LayerWeights layer = Layer(std::vector<float>(16385, 1));
  layer.outputs = layer.conv.groups = 16385;
  layer.channels = 1;
  layer.conv.kernel = {1, 1};
  const absl::Status status = CheckLayerFile(csr, layer, file).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("16385 x 16385"));
}

}  // namespace
}  // namespace amc
