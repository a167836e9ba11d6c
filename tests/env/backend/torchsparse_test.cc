#include "env/backend/torchsparse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "env/backend/safetensors.h"
#include "env/backend/sparse_conv.h"
#include "tests/env/backend/simulated_layers.h"
#include "tests/env/backend/sparse_points.h"

namespace amc {
namespace {

using ::amc::testing::ConvShape;
using ::amc::testing::RandomConv;
using ::amc::testing::RandomInput;
using ::amc::testing::RandomLinear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Two outputs, one channel, 1 x 3: outputs lie together at each position.
TEST(TorchSparseTest, GoldenBytes) {
  LayerWeights layer;
  layer.name = "w";
  layer.outputs = 2;
  layer.channels = 1;
  layer.conv.kernel = {1, 3};
  layer.conv.pad_begin = layer.conv.pad_end = {0, 1};
  layer.values = {1, 2, 0, 4, 0, -1};
  const auto file = TorchSparseBackend().Write(layer);
  ASSERT_TRUE(file.ok()) << file.status();
  std::string header = R"({"__metadata__":{"format":"torchsparse","kernel_x":"3","kernel_y":"1"},)"
                       R"("kernel":{"dtype":"F32","shape":[3,1,2],"data_offsets":[0,24]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string expected(1, static_cast<char>(header.size()));
  expected += std::string(7, '\0') + header;
  // 1 4, 2 0, 0 -1
  expected += std::string("\x00\x00\x80\x3f\x00\x00\x80\x40\x00\x00\x00\x40", 12);
  expected += std::string("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\xbf", 12);
  EXPECT_EQ(*file, expected);
  EXPECT_THAT(TorchSparseBackend().Read(*file)->values, ElementsAre(1, 2, 0, 4, 0, -1));
}

// The file's parameter on some pixels of an image gives the outputs that a dense convolution of the
// image has there, if the other pixels are zero.
TEST(TorchSparseTest, FileRunsOnSparsePixels) {
  Rng rng(1);
  for (int round = 0; round < 20; ++round) {
    const ConvShape shape{
        .outputs = 5, .channels = 4, .kernel = {3, 5}, .pad = {1, 2}, .input_size = {7, 9}};
    LayerWeights layer = RandomConv(shape, 0.3, rng);
    const Points points = testing::RandomPoints(2, 30, 0, 7, rng);
    LayerInput image{std::vector<float>(static_cast<size_t>(4 * 7 * 9))};
    std::vector<float> features;
    for (int64_t i = 0; i < points.size(); ++i) {
      for (int64_t c = 0; c < 4; ++c) {
        features.push_back(static_cast<float>(rng.Normal()));
        const int32_t x = points.coordinates[2 * i], y = points.coordinates[2 * i + 1];
        image.values[(c * 7 + y) * 9 + x] = features.back();
      }
    }
    const std::string file = TorchSparseBackend().Write(layer).value();
    const Safetensors content = ParseSafetensors(file).value();
    const SafetensorsTensor& kernel = content.tensors.at("kernel");
    const auto weights = SparseConvWeights::Create(kernel.shape[0], kernel.shape[1],
                                                   kernel.shape[2], CopyElements<float>(kernel));
    ASSERT_TRUE(weights.ok()) << weights.status();
    const KernelMap map = BuildKernelMapByHash(points, points, {{5, 3}}).value();
    const std::vector<float> run =
        GatherMatmulScatter(*weights, map, GroupOffsets(map, {}), features).value();
    for (int64_t i = 0; i < points.size(); ++i) {
      for (int64_t o = 0; o < 5; ++o) {
        double sum = 0;
        for (int64_t c = 0; c < 4; ++c) {
          for (int64_t ky = 0; ky < 3; ++ky) {
            for (int64_t kx = 0; kx < 5; ++kx) {
              sum += layer.values[((o * 4 + c) * 3 + ky) * 5 + kx] *
                     testing::InputAt(layer, image, c, points.coordinates[2 * i + 1],
                                      points.coordinates[2 * i], ky, kx);
            }
          }
        }
        EXPECT_NEAR(run[i * 5 + o], sum, 1e-5);
      }
    }
  }
}

TEST(TorchSparseTest, CostsWhatPruningLeaves) {
  Rng rng(2);
  const ConvShape shape{
      .outputs = 6, .channels = 4, .kernel = {3, 3}, .pad = {1, 1}, .input_size = {4, 4}};
  LayerWeights layer = RandomConv(shape, 1, rng);
  const LayerInput input = RandomInput(layer, 1, rng);
  EXPECT_EQ(TorchSparseBackend().Cost(layer, input)->nonzeros, 6 * 4 * 9);
  // One channel at all positions, and position 0 whole; then a single weight, which saves nothing.
  for (int64_t o = 0; o < 6; ++o) {
    for (int64_t c = 0; c < 4; ++c) {
      for (int64_t k = 0; k < 9; ++k) {
        if (c == 2 || k == 0) layer.values[(o * 4 + c) * 9 + k] = 0;
      }
    }
  }
  layer.values[1] = 0;
  const auto cost = TorchSparseBackend().Cost(layer, input);
  ASSERT_TRUE(cost.ok()) << cost.status();
  EXPECT_EQ(cost->nonzeros, 6 * 3 * 8);
  EXPECT_EQ(cost->bytes, 4 * (6 * 3 * 8 + (6 + 3) * 8 + 2 * 9));
  EXPECT_EQ(cost->cycles, 0);
}

TEST(TorchSparseTest, SaysWhyNot) {
  Rng rng(3);
  const auto reason = [&](const ConvShape& shape) {
    return std::string(TorchSparseBackend().CheckEligible(RandomConv(shape, 1, rng)).message());
  };
  EXPECT_THAT(reason({.kernel = {3, 2}, .pad = {1, 0}, .input_size = {4, 4}}),
              HasSubstr("kernel width 2 is even"));
  EXPECT_THAT(reason({.kernel = {3, 3}, .input_size = {4, 4}}),
              HasSubstr("padding 0 and 0 of its height, want 1"));
  EXPECT_THAT(reason({.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}, .input_size = {4, 4}}),
              HasSubstr("stride 2"));
  EXPECT_THAT(reason({.outputs = 4, .groups = 2}), HasSubstr("2 convolution groups"));
  EXPECT_EQ(reason({.kernel = {3, 3}, .pad = {1, 1}, .input_size = {4, 4}}), "");
  LayerWeights dilated =
      RandomConv({.kernel = {3, 3}, .pad = {1, 1}, .input_size = {4, 4}}, 1, rng);
  dilated.conv.dilation = {2, 2};
  EXPECT_THAT(TorchSparseBackend().CheckEligible(dilated).message(), HasSubstr("dilation 2"));
  EXPECT_THAT(TorchSparseBackend().CheckEligible(RandomLinear(2, 3, 1, rng)).message(),
              HasSubstr("a linear layer"));
}

TEST(TorchSparseTest, RefusesFilesThatContradictThemselves) {
  Rng rng(4);
  const LayerWeights layer =
      RandomConv({.kernel = {3, 3}, .pad = {1, 1}, .input_size = {4, 4}}, 1, rng);
  const std::string file = TorchSparseBackend().Write(layer).value();
  const auto message = [&](absl::string_view key, absl::string_view value) {
    Safetensors content = ParseSafetensors(file).value();
    content.metadata[std::string(key)] = std::string(value);
    const auto read = TorchSparseBackend().Read(SerializeSafetensors(content).value());
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(read.status().message());
  };
  EXPECT_THAT(message("format", "xnnpack"), HasSubstr("\"xnnpack\", want \"torchsparse\""));
  EXPECT_THAT(message("kernel_x", "5"), HasSubstr("kernel"));
  EXPECT_THAT(message("kernel_x", "2"), HasSubstr("a kernel of 3 x 2, want odd"));
}

}  // namespace
}  // namespace amc
