// A layer written as a regression is the layer: features times weights are libtorch's convolution.
#include "env/prune/torch_patches.h"

#include "env/exec/torch_api.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

struct ConvCase {
  const char* name;
  int64_t in, out, groups;
  Pair kernel, stride, dilation, pad_begin, pad_end;
};

class PatchesTest : public ::testing::TestWithParam<ConvCase> {};

TEST_P(PatchesTest, FeaturesTimesWeightsAreTheConvolution) {
  const ConvCase& c = GetParam();
  torch::manual_seed(1);
  Layer layer;
  layer.is_conv = true;
  layer.conv = {.kernel = c.kernel,
                .stride = c.stride,
                .dilation = c.dilation,
                .pad_begin = c.pad_begin,
                .pad_end = c.pad_end,
                .groups = c.groups,
                .in_channels = c.in,
                .out_channels = c.out};
  layer.groups = c.groups;
  layer.outputs = c.out;
  layer.features = c.in / c.groups * c.kernel[0] * c.kernel[1];
  const torch::Tensor x = torch::randn({3, c.in, 9, 11}).contiguous(at::MemoryFormat::ChannelsLast);
  const torch::Tensor weight = torch::randn({c.out, c.in / c.groups, c.kernel[0], c.kernel[1]})
                                   .contiguous(at::MemoryFormat::ChannelsLast);
  const torch::Tensor padded =
      at::constant_pad_nd(x, {c.pad_begin[1], c.pad_end[1], c.pad_begin[0], c.pad_end[0]});
  const torch::Tensor output =
      at::conv2d(padded, weight, {}, at::IntArrayRef(c.stride), at::IntArrayRef({0, 0}),
                 at::IntArrayRef(c.dilation), c.groups);
  const int64_t positions = PositionsPerImage(output, true);
  ASSERT_EQ(positions, output.size(2) * output.size(3));
  Rng rng(3);
  for (const int64_t per_image : {positions, int64_t{5}}) {
    const torch::Tensor at = SamplePositions(3, positions, per_image, rng);
    ASSERT_EQ(at.size(0), 3 * per_image);
    const torch::Tensor patches = GatherPatches(layer, x, output.size(2), output.size(3), at);
    ASSERT_EQ(patches.sizes(), at::IntArrayRef({c.groups, at.size(0), layer.features}));
    const torch::Tensor product =
        at::bmm(patches, WeightMatrix(layer, weight).transpose(1, 2));  // groups x rows x M
    const torch::Tensor rows = product.transpose(0, 1).reshape({at.size(0), c.out});
    EXPECT_TRUE(torch::allclose(rows, GatherOutputs(output, true, at), 1e-4, 1e-4));
  }
  EXPECT_TRUE(
      torch::equal(FromWeightMatrix(layer, WeightMatrix(layer, weight), weight.sizes()), weight));
}

INSTANTIATE_TEST_SUITE_P(
    Convolutions, PatchesTest,
    ::testing::Values(ConvCase{"plain", 4, 6, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
                      ConvCase{"strided", 4, 6, 1, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
                      ConvCase{"asymmetric", 4, 6, 1, {3, 2}, {2, 3}, {1, 1}, {0, 1}, {2, 0}},
                      ConvCase{"dilated", 4, 6, 1, {3, 3}, {1, 2}, {2, 3}, {2, 3}, {2, 3}},
                      ConvCase{"grouped", 6, 4, 2, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
                      ConvCase{"depthwise", 5, 10, 5, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
                      ConvCase{"pointwise", 5, 3, 1, {1, 1}, {2, 2}, {1, 1}, {0, 0}, {0, 0}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(PatchesTest, LinearLayersInBothLayouts) {
  torch::manual_seed(2);
  Layer layer;
  layer.outputs = 3;
  layer.features = 7;
  const torch::Tensor x = torch::randn({4, 7});
  const torch::Tensor weight = torch::randn({3, 7});
  const torch::Tensor y = at::linear(x, weight);
  const torch::Tensor all = torch::arange(4, at::kLong);
  for (const bool by_output : {true, false}) {
    layer.weight_by_output = by_output;
    const torch::Tensor stored = by_output ? weight : weight.t().contiguous();
    const torch::Tensor patches = GatherPatches(layer, x, 1, 1, all);
    EXPECT_TRUE(torch::allclose(
        at::bmm(patches, WeightMatrix(layer, stored).transpose(1, 2)).squeeze(0), y, 1e-5, 1e-5));
    EXPECT_TRUE(
        torch::equal(FromWeightMatrix(layer, WeightMatrix(layer, stored), stored.sizes()), stored));
  }
}

TEST(PatchesTest, SampledPositionsStayInTheirImage) {
  Rng rng(5);
  const torch::Tensor at = SamplePositions(10, 64, 6, rng);
  ASSERT_EQ(at.size(0), 60);
  for (int64_t i = 0; i < 60; ++i) EXPECT_EQ(at[i].item<int64_t>() / 64, i / 6);
}

}  // namespace
}  // namespace amc
