#include "env/graph/layer_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "env/graph/zoo.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(LayerWeightsTest, ListsEveryLayerOfANetwork) {
  const Graph graph = BuildNetwork("resnet20", {}).value();
  const auto layers = ListLayerWeights(graph);
  ASSERT_TRUE(layers.ok()) << layers.status();
  ASSERT_EQ(layers->size(), 20u);
  EXPECT_EQ(layers->front().outputs, 16);
  EXPECT_EQ(layers->front().features(), 27);
  EXPECT_EQ(layers->front().positions(), 1024);
  EXPECT_EQ(layers->back().form, LayerForm::kGemm);
  EXPECT_EQ(layers->back().features(), 64);
  EXPECT_EQ(layers->back().positions(), 1);
}

LayerWeights Conv(int64_t outputs, int64_t channels, int64_t groups) {
  LayerWeights layer;
  layer.name = "w";
  layer.outputs = outputs;
  layer.channels = channels;
  layer.conv.kernel = {1, 2};
  layer.conv.groups = groups;
  layer.conv.in_channels = channels * groups;
  layer.conv.out_channels = outputs;
  for (int64_t i = 0; i < outputs * channels * 2; ++i) layer.values.push_back(i + 1);
  return layer;
}

TEST(LayerWeightsTest, OrdersColumnsByChannelOrByPosition) {
  const LayerWeights layer = Conv(1, 3, 1);
  EXPECT_THAT(ToMatrix(layer, ColumnOrder::kChannelsFirst)->values, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(ToMatrix(layer, ColumnOrder::kChannelsLast)->values, ElementsAre(1, 3, 5, 2, 4, 6));
}

TEST(LayerWeightsTest, GroupedConvolutionsAreBlockDiagonal) {
  const LayerWeights layer = Conv(2, 1, 2);
  const DenseMatrix matrix = ToMatrix(layer, ColumnOrder::kChannelsFirst).value();
  EXPECT_EQ(matrix.columns, 4);
  EXPECT_THAT(matrix.values, ElementsAre(1, 2, 0, 0, 0, 0, 3, 4));
  EXPECT_THAT(ToMatrix(layer, ColumnOrder::kChannelsLast).status().message(),
              HasSubstr("2 convolution groups"));
}

TEST(LayerWeightsTest, MatrixGoesBackToWhereItCameFrom) {
  const LayerWeights layer = Conv(4, 3, 2);
  for (const LayerWeights& each : {layer, Conv(4, 3, 1)}) {
    const ColumnOrder order =
        each.conv.groups == 1 ? ColumnOrder::kChannelsLast : ColumnOrder::kChannelsFirst;
    LayerWeights blank = each;
    blank.values.assign(each.values.size(), 0.0f);
    EXPECT_EQ(WithMatrix(blank, ToMatrix(each, order).value(), order)->values, each.values);
  }
  EXPECT_THAT(
      WithMatrix(layer, DenseMatrix{1, 1, {0}}, ColumnOrder::kChannelsFirst).status().message(),
      HasSubstr("a matrix of 1 x 1, want 4 x 12"));
}

// A MatMul stores inputs x outputs; its matrix does not.
TEST(LayerWeightsTest, TransposesWhatTheFileStoresTransposed) {
  Graph graph;
  graph.opsets[""] = 13;
  const TensorId in = graph.AddTensor({.name = "in", .shape_known = true, .shape = {kDynamic, 2}});
  const TensorId weight = graph.AddTensor(MakeFloats("w", {2, 3}, {1, 2, 3, 4, 5, 6}));
  const TensorId out =
      graph.AddTensor({.name = "out", .shape_known = true, .shape = {kDynamic, 3}});
  graph.AddNode({.op_type = "MatMul", .inputs = {in, weight}, .outputs = {out}});
  graph.inputs = {in};
  graph.outputs = {out};

  auto layers = ListLayerWeights(graph);
  ASSERT_TRUE(layers.ok()) << layers.status();
  ASSERT_EQ(layers->size(), 1u);
  LayerWeights layer = layers->front();
  EXPECT_TRUE(layer.transposed);
  EXPECT_EQ(layer.outputs, 3);
  EXPECT_THAT(layer.values, ElementsAre(1, 4, 2, 5, 3, 6));

  layer.values[1] = 0;  // output 0, input 1
  const auto changed = WithWeights(graph, layer);
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_THAT(Values<float>(*changed, weight).value(), ElementsAre(1, 2, 3, 0, 5, 6));
  EXPECT_THAT(Values<float>(graph, weight).value(), ElementsAre(1, 2, 3, 4, 5, 6));

  layer.name = "other";
  EXPECT_THAT(WithWeights(graph, layer).status().message(), HasSubstr("no such weight"));
}

}  // namespace
}  // namespace amc
