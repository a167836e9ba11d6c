// Networks of single layers: that they are the layer, and that every reader takes them.
#include "env/measure/layer_network.h"

#include "env/cost/cost_model.h"
#include "env/graph/onnx_export.h"
#include "env/graph/onnx_import.h"
#include "env/graph/op_params.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::testing::HasSubstr;

struct Listed {
  Graph graph;
  std::vector<LatencyLayer> layers;
};

Listed List(Graph graph) {
  const Grouping grouping = BuildGroups(graph).value();
  std::vector<LatencyLayer> layers = ListLatencyLayers(graph, grouping).value().layers;
  return {std::move(graph), std::move(layers)};
}

// Written, and read again by our own importer: what the runtimes are given.
Graph Read(const absl::StatusOr<Graph>& graph) {
  EXPECT_TRUE(graph.ok()) << graph.status();
  const absl::StatusOr<std::string> bytes = ExportOnnx(*graph);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  absl::StatusOr<Graph> read = ImportOnnx(*bytes);
  EXPECT_TRUE(read.ok()) << read.status();
  return *std::move(read);
}

// The kinds of a graph's layers but those that feed: what a network of `layer` must have.
std::string KindOf(const Graph& network) {
  const Listed listed = List(network);
  EXPECT_EQ(listed.layers.size(), 2U);
  return listed.layers.back().kind;
}

TEST(LayerNetworkTest, HasTheKindOfEveryLayerOfKnownNetworks) {
  for (const std::string& name : ZooNames()) {
    ZooOptions options;
    options.weightless = true;
    if (name == "vgg16") options.height = options.width = 64;
    const Listed listed = List(BuildNetwork(name, options).value());
    ASSERT_FALSE(listed.layers.empty());
    for (const LatencyLayer& layer : listed.layers) {
      SCOPED_TRACE(name + ": " + layer.kind);
      const int64_t in = 24, out = layer.depthwise ? 24 : 40;
      const Graph network = Read(MakeLayerNetwork(listed.graph, layer, in, out));
      EXPECT_EQ(KindOf(network), layer.kind);
      const Graph baseline = Read(MakeBaselineNetwork(listed.graph, layer, in));
      // What the layer has more than its baseline are its own multiplications.
      const int64_t macs = CountCost(network)->macs - CountCost(baseline)->macs;
      const Node& node = network.nodes[1];
      int64_t want = in * out;
      if (node.op == Op::kConv) {
        const ConvParams conv = GetConvParams(network, node).value();
        const Shape& made = network.tensor(node.outputs[0]).shape;
        want = in * out / conv.groups * conv.kernel[0] * conv.kernel[1] * made[2] * made[3];
      }
      EXPECT_EQ(macs, want);
      const Shape& result = network.tensor(network.outputs[0]).shape;
      EXPECT_EQ(NumElements(result).value(), out) << "the tap leaves one pixel";
    }
  }
}

TEST(LayerNetworkTest, TakesGroupedConvolutionsAndRefusesChannelsThatDoNotFit) {
  GraphBuilder builder;
  builder.Head(builder.Conv(builder.Conv(builder.Input({kDynamic, 3, 9, 9}), 12), 20, 3, 4));
  const Listed listed = List(std::move(builder.graph));
  const LatencyLayer& layer = listed.layers[1];
  const Graph network = Read(MakeLayerNetwork(listed.graph, layer, 8, 4));
  EXPECT_EQ(network.tensor(network.nodes[1].inputs[1]).shape, (Shape{4, 2, 3, 3}));
  for (const auto& [in, out] : {std::pair{6, 4}, std::pair{8, 5}, std::pair{8, 0}}) {
    const auto refused = MakeLayerNetwork(listed.graph, layer, in, out);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr("Conv_"));
  }
}

TEST(LayerNetworkTest, TakesDepthwiseConvolutionsWithMultipliersAndClips) {
  GraphBuilder builder(10);
  const TensorId x = builder.Conv(builder.Input({kDynamic, 3, 8, 8}), 6);
  const TensorId y = builder.Op("Conv", {x, builder.Floats({12, 1, 3, 3})},
                                {{"group", int64_t{6}}, {"strides", std::vector<int64_t>{2, 2}}});
  builder.Head(builder.Op("Clip", {y}, {{"min", -1.0F}, {"max", 2.0F}}));
  const Listed listed = List(std::move(builder.graph));
  const LatencyLayer& layer = listed.layers[1];
  ASSERT_TRUE(layer.depthwise);
  const Graph network = Read(MakeLayerNetwork(listed.graph, layer, 5, 5));
  EXPECT_EQ(KindOf(network), layer.kind);
  EXPECT_EQ(network.tensor(network.nodes[1].inputs[1]).shape, (Shape{10, 1, 3, 3}));
  EXPECT_FALSE(MakeLayerNetwork(listed.graph, layer, 5, 6).ok());
}

TEST(LayerNetworkTest, TakesLinearLayersOfSeveralRows) {
  GraphBuilder builder;
  const TensorId x = builder.Input({kDynamic, 7, 16});
  const TensorId y = builder.Op("MatMul", {x, builder.Floats({16, 20})});
  builder.Output(builder.Op("MatMul", {builder.Op("Relu", {y}), builder.Floats({20, 4})}));
  const Listed listed = List(std::move(builder.graph));
  ASSERT_EQ(listed.layers.size(), 2U);
  const Graph network = Read(MakeLayerNetwork(listed.graph, listed.layers[0], 10, 12));
  EXPECT_EQ(KindOf(network), listed.layers[0].kind);
  EXPECT_EQ(BaselineKey(listed.graph, listed.layers[0], 10), "rows 7 10");
}

TEST(LayerNetworkTest, IsTheSameEveryTime) {
  const Listed listed = List(BuildNetwork("resnet20", {}).value());
  const auto bytes = [&] {
    return ExportOnnx(MakeLayerNetwork(listed.graph, listed.layers[1], 9, 16).value()).value();
  };
  EXPECT_EQ(bytes(), bytes());
}

}  // namespace
}  // namespace amc
