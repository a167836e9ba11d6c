#include "env/backend/xnnpack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "env/backend/safetensors.h"
#include "tests/env/backend/simulated_layers.h"

namespace amc {
namespace {

using ::amc::testing::ConvShape;
using ::amc::testing::RandomConv;
using ::amc::testing::RandomInput;
using ::amc::testing::RandomLinear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(XnnpackTest, GoldenBytes) {
  LayerWeights layer;
  layer.name = "w";
  layer.outputs = 1;
  layer.channels = 3;
  layer.values = {1, 0, -2};
  const auto file = XnnpackBackend().Write(layer);
  ASSERT_TRUE(file.ok()) << file.status();
  std::string header = R"({"__metadata__":{"format":"xnnpack"},)"
                       R"("weight":{"dtype":"F32","shape":[1,3],"data_offsets":[0,12]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string expected(1, static_cast<char>(header.size()));
  expected += std::string(7, '\0') + header;
  expected += std::string("\x00\x00\x80\x3f\x00\x00\x00\x00\x00\x00\x00\xc0", 12);
  EXPECT_EQ(*file, expected);
  // Two vectors: 1 * (1, 2) + 0 * (3, 4) - 2 * (5, 6).
  EXPECT_THAT(XnnpackBackend().Run(*file, {1, 2, 3, 4, 5, 6}, 2).value(), ElementsAre(-9, -10));
}

TEST(XnnpackTest, CostsWhatIsPacked) {
  Rng rng(1);
  LayerWeights layer = RandomConv({.outputs = 6, .channels = 5, .input_size = {4, 4}}, 1, rng);
  for (size_t i = 0; i < 20; ++i) layer.values[i] = 0;
  const auto cost = XnnpackBackend().Cost(layer, RandomInput(layer, 1, rng));
  ASSERT_TRUE(cost.ok()) << cost.status();
  EXPECT_EQ(cost->nonzeros, 10);
  EXPECT_EQ(cost->bytes, 10 * (4 + 4 + 4) + 6 * (4 + 4));
  EXPECT_EQ(cost->cycles, 0);
}

TEST(XnnpackTest, SaysWhyNot) {
  Rng rng(2);
  const auto reason = [&](const ConvShape& shape) {
    return std::string(XnnpackBackend().CheckEligible(RandomConv(shape, 1, rng)).message());
  };
  EXPECT_THAT(reason({.kernel = {3, 3}, .pad = {1, 1}, .input_size = {4, 4}}),
              HasSubstr("layer conv: a kernel of 3 x 3: sparse kernels are for 1x1"));
  EXPECT_THAT(reason({.stride = {2, 2}, .input_size = {4, 4}}), HasSubstr("stride 2 x 2, want 1"));
  EXPECT_THAT(reason({.pad = {1, 0}, .input_size = {4, 4}}), HasSubstr("padding (1, 0)"));
  EXPECT_THAT(reason({.outputs = 4, .groups = 2}), HasSubstr("2 convolution groups"));
  EXPECT_EQ(reason({.input_size = {4, 4}}), "");
  EXPECT_THAT(XnnpackBackend().CheckEligible(RandomLinear(2, 3, 1, rng)).message(),
              HasSubstr("a linear layer"));
}

TEST(XnnpackTest, RefusesOtherFiles) {
  Safetensors content;
  const std::vector<float> values = {1, 2};
  content.metadata["format"] = "xnnpack";
  content.tensors["weight"] = ViewElements(SafetensorsType::kF32, {2, 1, 1}, values);
  const auto message = [&] {
    const auto read = XnnpackBackend().Read(SerializeSafetensors(content).value());
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(read.status().message());
  };
  EXPECT_THAT(message(), HasSubstr("weight"));
  content.tensors["weight"].shape = {2, 1};
  content.metadata["format"] = "csr";
  EXPECT_THAT(message(), HasSubstr("\"csr\", want \"xnnpack\""));
}

}  // namespace
}  // namespace amc
