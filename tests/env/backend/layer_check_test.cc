#include "env/backend/layer_check.h"

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
