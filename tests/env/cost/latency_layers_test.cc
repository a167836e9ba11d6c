// Which layers a network has for a latency table, and what its other operators move.
#include "env/cost/latency_layers.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "env/cost/latency_table.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::Attributes;
using ::amc::testing::GraphBuilder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Listed {
  Graph graph;
  Grouping grouping;
  LatencyLayers layers;

  std::vector<std::string> Kinds() const {
    std::vector<std::string> kinds;
    for (const LatencyLayer& layer : layers.layers) kinds.push_back(layer.kind);
    return kinds;
  }
  int64_t Bytes(absl::Span<const int64_t> kept) const {
    int64_t bytes = 0;
    for (const auto& traffic : layers.traffic) {
      bytes += traffic.bytes * layers.extents.Length(traffic.extent, kept);
    }
    return bytes;
  }
  int64_t Bytes() const { return Bytes(layers.extents.channels()); }
  std::pair<int64_t, int64_t> Channels(size_t layer, absl::Span<const int64_t> kept) const {
    return {layers.extents.Length(layers.layers[layer].in, kept),
            layers.extents.Length(layers.layers[layer].out, kept)};
  }
};

Listed List(Graph graph) {
  absl::StatusOr<Grouping> grouping = BuildGroups(graph);
  EXPECT_TRUE(grouping.ok()) << grouping.status();
  absl::StatusOr<LatencyLayers> layers = ListLatencyLayers(graph, *grouping);
  EXPECT_TRUE(layers.ok()) << layers.status();
  return {std::move(graph), *std::move(grouping), *std::move(layers)};
}

Listed Zoo(const std::string& name, ZooOptions options = {}) {
  options.weightless = true;
  absl::StatusOr<Graph> graph = BuildNetwork(name, options);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return List(*std::move(graph));
}

constexpr char kConv[] = "conv 3x3 s1x1 p1x1x1x1 d1x1 g1 8x8 bias";

// The kind of a single convolution 6 -> 12 on 6 x 9 x 11 with these attributes.
std::string KindOf(const Shape& weight, Attributes attributes, bool bias = true) {
  GraphBuilder b;
  std::vector<TensorId> inputs = {b.Input({kDynamic, 6, 9, 11}), b.Floats(weight)};
  if (bias) inputs.push_back(b.Floats({weight[0]}));
  b.Head(b.Op("Conv", inputs, std::move(attributes)));
  return List(b.graph).Kinds().at(0);
}

TEST(LatencyLayersTest, KindTellsTheGeometryOfAConvolution) {
  using Ints = std::vector<int64_t>;
  EXPECT_EQ(KindOf({12, 6, 3, 3}, {}), "conv 3x3 s1x1 p0x0x0x0 d1x1 g1 9x11 bias");
  EXPECT_EQ(KindOf({12, 6, 3, 3}, {}, false), "conv 3x3 s1x1 p0x0x0x0 d1x1 g1 9x11");
  EXPECT_EQ(KindOf({12, 6, 5, 3},
                   {{"strides", Ints{2, 1}}, {"pads", Ints{0, 1, 2, 3}}, {"dilations", Ints{1, 2}}},
                   false),
            "conv 5x3 s2x1 p0x1x2x3 d1x2 g1 9x11");
  EXPECT_EQ(KindOf({12, 2, 1, 1}, {{"group", int64_t{3}}}, false),
            "conv 1x1 s1x1 p0x0x0x0 d1x1 g3 9x11");
  EXPECT_EQ(KindOf({6, 1, 1, 1}, {{"group", int64_t{6}}}, false),
            "depthwise 1x1 s1x1 p0x0x0x0 d1x1 m1 9x11");
  EXPECT_EQ(KindOf({12, 1, 1, 1}, {{"group", int64_t{6}}}, false),
            "depthwise 1x1 s1x1 p0x0x0x0 d1x1 m2 9x11");
}

TEST(LatencyLayersTest, AutomaticPadsAreResolved) {
  const std::vector<int64_t> strides = {2, 2};
  EXPECT_EQ(KindOf({12, 6, 2, 4}, {{"auto_pad", std::string("SAME_UPPER")}, {"strides", strides}}),
            "conv 2x4 s2x2 p0x1x1x2 d1x1 g1 9x11 bias");
  EXPECT_EQ(KindOf({12, 6, 2, 4}, {{"auto_pad", std::string("SAME_LOWER")}, {"strides", strides}}),
            "conv 2x4 s2x2 p1x2x0x1 d1x1 g1 9x11 bias");
  EXPECT_EQ(KindOf({12, 6, 3, 3}, {{"auto_pad", std::string("VALID")}}),
            "conv 3x3 s1x1 p0x0x0x0 d1x1 g1 9x11 bias");
}

TEST(LatencyLayersTest, DepthwiseKindsAreThoseThatTablesTakeForDepthwise) {
  EXPECT_TRUE(IsDepthwiseKind(KindOf({6, 1, 1, 1}, {{"group", int64_t{6}}})));
  EXPECT_FALSE(IsDepthwiseKind(KindOf({12, 2, 1, 1}, {{"group", int64_t{3}}})));
  GraphBuilder b;  // one channel in one group is mixed
  b.Head(b.Conv(b.Conv(b.Input({kDynamic, 1, 8, 8}), 4), 4, 3, 4));
  const Listed net = List(b.graph);
  ASSERT_EQ(net.layers.layers.size(), 3);
  EXPECT_EQ(net.layers.layers[0].kind, kConv);
  EXPECT_FALSE(net.layers.layers[0].depthwise);
  EXPECT_TRUE(net.layers.layers[1].depthwise);
}

TEST(LatencyLayersTest, LinearLayersTellTheirRows) {
  GraphBuilder b;
  b.Output(b.Linear(b.Input({kDynamic, 7}), 5));
  EXPECT_THAT(List(b.graph).Kinds(), ElementsAre("linear r1 bias"));
  GraphBuilder tokens;
  const TensorId x = tokens.Input({kDynamic, 7, 4, 6});
  tokens.Output(tokens.Op("Relu", {tokens.Op("MatMul", {x, tokens.Floats({6, 5})})}));
  const Listed net = List(tokens.graph);
  EXPECT_THAT(net.Kinds(), ElementsAre("linear r28 relu"));
  EXPECT_EQ(net.Channels(0, {}), std::pair(int64_t{6}, int64_t{5}));
  EXPECT_THAT(net.layers.traffic, IsEmpty());
}

TEST(LatencyLayersTest, LinearLayersReadBothLayoutsOfWeights) {
  for (const bool transposed : {false, true}) {
    GraphBuilder b;
    const TensorId hidden = b.Linear(b.Input({kDynamic, 7}), 5, transposed);
    b.Output(b.Linear(hidden, 3, transposed));
    const Listed net = List(b.graph);
    ASSERT_EQ(net.grouping.groups.size(), 1);
    EXPECT_EQ(net.Channels(0, {2}), std::pair(int64_t{7}, int64_t{2})) << transposed;
    EXPECT_EQ(net.Channels(1, {2}), std::pair(int64_t{2}, int64_t{3})) << transposed;
  }
}

TEST(LatencyLayersTest, BatchNormAndActivationBelongToTheLayer) {
  GraphBuilder b;  // nodes: 0 Conv, 1 batch norm, 2 Relu, 3 pool, 4 Flatten, 5 Gemm
  const TensorId x = b.Input({kDynamic, 3, 8, 8});
  const TensorId conv = b.Op("Conv", {x, b.Floats({4, 3, 1, 1})});
  b.Head(b.Op("Relu", {b.BatchNorm(conv)}));
  const Listed net = List(b.graph);
  ASSERT_THAT(net.Kinds(),
              ElementsAre("conv 1x1 s1x1 p0x0x0x0 d1x1 g1 8x8 bias relu", "linear r1 bias"));
  EXPECT_EQ(net.layers.layers[0].node, NodeId{0});
  EXPECT_EQ(net.layers.layers[0].batch_norm, NodeId{1});
  EXPECT_EQ(net.layers.layers[0].activation, NodeId{2});
  EXPECT_EQ(net.layers.layers[1].node, NodeId{5});
  EXPECT_EQ(net.layers.layers[1].batch_norm, NodeId::kNone);
  EXPECT_EQ(net.layers.layers[1].activation, NodeId::kNone);
  EXPECT_EQ(net.Bytes(), 4 * (4 * 64 + 4));  // the pool alone
}

TEST(LatencyLayersTest, BatchNormOfALinearLayerIsFoldedUnlessItScales) {
  for (const float alpha : {1.0f, 2.0f}) {
    GraphBuilder b;
    const TensorId x = b.Input({kDynamic, 7});
    b.Output(b.BatchNorm(b.Op("Gemm", {x, b.Floats({7, 5})}, {{"alpha", alpha}})));
    const Listed net = List(b.graph);
    EXPECT_THAT(net.Kinds(), ElementsAre(alpha == 1 ? "linear r1 bias" : "linear r1"));
    EXPECT_EQ(net.Bytes(), alpha == 1 ? 0 : 4 * (5 + 5));
  }
}

TEST(LatencyLayersTest, BatchNormStaysWhereItCannotMove) {
  const auto batch_norm_is_folded = [](auto change) {
    GraphBuilder b;
    const TensorId conv = b.Conv(b.Input({kDynamic, 4, 8, 8}), 4);
    const TensorId norm = b.BatchNorm(conv);
    change(b, conv);
    b.Output(norm);
    return List(b.graph).layers.layers[0].batch_norm != NodeId::kNone;
  };
  EXPECT_TRUE(batch_norm_is_folded([](GraphBuilder& b, TensorId conv) {}));
  EXPECT_FALSE(batch_norm_is_folded([](GraphBuilder& b, TensorId conv) { b.Output(conv); }));
  EXPECT_FALSE(batch_norm_is_folded([](GraphBuilder& b, TensorId conv) { b.Op("Relu", {conv}); }));
  EXPECT_FALSE(batch_norm_is_folded([](GraphBuilder& b, TensorId conv) {
    b.graph.nodes[1].attributes["training_mode"] = int64_t{1};
  }));
  EXPECT_FALSE(batch_norm_is_folded([](GraphBuilder& b, TensorId conv) {  // a shared weight
    b.Output(b.Op("Conv", {b.graph.inputs[0], b.graph.nodes[0].inputs[1]}));
  }));
  EXPECT_FALSE(batch_norm_is_folded([](GraphBuilder& b, TensorId conv) {  // a computed scale
    b.graph.nodes[1].inputs[1] = b.Input({4}, "scale");
  }));
}

// What follows a convolution of 4 channels on 8 x 8.
std::string KindWithClip(std::vector<float> bounds, int64_t opset = 13) {
  GraphBuilder b(opset);
  std::vector<TensorId> inputs = {b.Conv(b.Input({kDynamic, 3, 8, 8}), 4)};
  Attributes attributes;
  const std::vector<std::string> names = {"min", "max"};
  for (size_t i = 0; i < bounds.size(); ++i) {
    if (opset < 11) {
      attributes[names[i]] = bounds[i];
    } else {
      inputs.push_back(b.graph.AddTensor(MakeFloats(names[i], {}, {bounds[i]})));
    }
  }
  b.Head(b.Op("Clip", inputs, attributes));
  return List(b.graph).Kinds().at(0).substr(sizeof(kConv) - 1);
}

TEST(LatencyLayersTest, ClipsAreActivationsNamedByTheirBounds) {
  EXPECT_EQ(KindWithClip({0, 6}), " relu6");
  EXPECT_EQ(KindWithClip({0, 6}, 6), " relu6");
  EXPECT_EQ(KindWithClip({0}), " relu");
  EXPECT_EQ(KindWithClip({0, 3.4028235e38f}, 6), " relu");
  EXPECT_EQ(KindWithClip({-1, 1}), " clip[-1;1]");
  EXPECT_EQ(KindWithClip({-0.5f, 2.25f}), " clip[-0.5;2.25]");
  EXPECT_EQ(KindWithClip({-3.4028235e38f, 6}), " clip[-inf;6]");
  EXPECT_EQ(KindWithClip({}), " clip[-inf;inf]");
}

TEST(LatencyLayersTest, ActivationStaysWhereOthersReadPastIt) {
  const auto kind = [](auto change) {
    GraphBuilder b;
    const TensorId conv = b.Conv(b.Input({kDynamic, 3, 8, 8}), 4);
    const TensorId relu = b.Op("Relu", {conv});
    change(b, conv);
    b.Output(relu);
    return List(b.graph).Kinds().at(0);
  };
  EXPECT_EQ(kind([](GraphBuilder& b, TensorId conv) {}), std::string(kConv) + " relu");
  EXPECT_EQ(kind([](GraphBuilder& b, TensorId conv) { b.Output(conv); }), kConv);
  EXPECT_EQ(kind([](GraphBuilder& b, TensorId conv) { b.Op("Relu", {conv}); }), kConv);
}

TEST(LatencyLayersTest, OtherActivationsAreOperators) {
  GraphBuilder b(14);
  b.Head(b.Op("HardSwish", {b.Conv(b.Input({kDynamic, 3, 8, 8}), 4)}));
  const Listed net = List(b.graph);
  EXPECT_EQ(net.Kinds()[0], kConv);
  EXPECT_EQ(net.Bytes(), 4 * (2 * 256 + 256 + 4));
  GraphBuilder clip;  // of a bound that is computed
  const TensorId bound = clip.Op("Relu", {clip.Input({}, "bound")});
  clip.Head(clip.Op("Clip", {clip.Conv(clip.Input({kDynamic, 3, 8, 8}), 4), bound}));
  EXPECT_EQ(List(clip.graph).Kinds()[0], kConv);
}

TEST(LatencyLayersTest, ComputedWeightsMakeOtherOperators) {
  GraphBuilder b;
  const TensorId x = b.Input({kDynamic, 3, 8, 8});
  const TensorId weight = b.Input({4, 3, 1, 1}, "weight");
  b.Output(b.Op("Conv", {x, weight}));
  b.Output(b.Op("MatMul", {b.Input({kDynamic, 5, 6}, "a"), b.Input({kDynamic, 6, 7}, "b")}));
  const Listed net = List(b.graph);
  EXPECT_THAT(net.layers.layers, IsEmpty());
  EXPECT_EQ(net.Bytes(), 4 * (3 * 64 + 3 + 4 * 64) + 4 * (30 + 42 + 35));
}

TEST(LatencyLayersTest, TrafficIsLinearInTheChannelsOfEveryTensor) {
  GraphBuilder b;
  const TensorId left = b.Conv(b.Input({kDynamic, 3, 8, 8}), 4);
  const TensorId right = b.Conv(left, 6);
  const TensorId joined = b.Op("Concat", {left, right}, {{"axis", int64_t{1}}});
  const TensorId pooled =
      b.Op("MaxPool", {joined},
           {{"kernel_shape", std::vector<int64_t>{2, 2}}, {"strides", std::vector<int64_t>{2, 2}}});
  const TensorId flat = b.Op("Sigmoid", {b.Op("Flatten", {pooled})});
  b.Output(b.Linear(flat, 2));
  const Listed net = List(b.graph);
  ASSERT_EQ(net.grouping.groups.size(), 2);
  for (const auto& [a, c] : {std::pair<int64_t, int64_t>{4, 6}, {3, 1}}) {
    EXPECT_EQ(net.Bytes({a, c}), 4 * (64 * (a + c) * 2 + (64 + 16) * (a + c) + 2 * 16 * (a + c)));
    EXPECT_EQ(net.Channels(2, {a, c}), std::pair(16 * (a + c), int64_t{2}));
  }
  EXPECT_EQ(net.layers.traffic.size(), 4);  // of each part, of both, of both after Flatten
}

TEST(LatencyLayersTest, TrafficCountsNoConstantsViewsOrUnreadOutputs) {
  GraphBuilder b;
  const TensorId x = b.Op("Identity", {b.Input({kDynamic, 8, 4, 4})});
  const TensorId scaled = b.Op("Mul", {x, b.Floats({8, 1, 1})});
  const std::vector<TensorId> parts = b.Ops("Split", {scaled}, 2, {{"axis", int64_t{1}}});
  b.Output(b.Op("Reshape", {parts[0], b.Ints({0, 64})}));
  EXPECT_EQ(List(b.graph).Bytes(), 4 * (2 * 128 + 128 + 64));
}

TEST(LatencyLayersTest, GroupedConvolutionsReadAllTheirChannels) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 8, 8}), 8);
  const TensorId grouped = b.Conv(x, 12, 3, 2);
  b.Head(b.Conv(grouped, 12, 3, 12));
  const Listed net = List(b.graph);
  EXPECT_EQ(net.Kinds()[1], "conv 3x3 s1x1 p1x1x1x1 d1x1 g2 8x8 bias");
  ASSERT_EQ(net.grouping.groups.size(), 2);
  EXPECT_EQ(net.Channels(0, {8, 12}), std::pair(int64_t{3}, int64_t{8}));
  EXPECT_EQ(net.Channels(1, {4, 6}), std::pair(int64_t{4}, int64_t{6}));
  EXPECT_EQ(net.Channels(2, {4, 6}), std::pair(int64_t{6}, int64_t{6}));
  EXPECT_EQ(net.Channels(3, {4, 6}), std::pair(int64_t{6}, int64_t{2}));
}

TEST(LatencyLayersTest, DepthwiseLayersWithAMultiplierCountWhatTheyRead) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 8, 8}), 4);
  b.Head(b.Conv(x, 12, 3, 4));
  const Listed net = List(b.graph);
  EXPECT_EQ(net.Kinds()[1], "depthwise 3x3 s1x1 p1x1x1x1 d1x1 m3 8x8 bias");
  ASSERT_EQ(net.grouping.groups.size(), 1);
  EXPECT_EQ(net.Channels(1, {3}), std::pair(int64_t{3}, int64_t{3}));
  EXPECT_EQ(net.Channels(2, {3}), std::pair(int64_t{9}, int64_t{2}));
}

TEST(LatencyLayersTest, ZooNetworksHaveTheLayersOfTheirPapers) {
  const Listed resnet = Zoo("resnet56");
  ASSERT_EQ(resnet.layers.layers.size(), 56);
  std::map<std::string, int> count;
  for (const std::string& kind : resnet.Kinds()) ++count[kind];
  EXPECT_EQ(count, (std::map<std::string, int>{
                       {"conv 3x3 s1x1 p1x1x1x1 d1x1 g1 32x32 bias relu", 10},
                       {"conv 3x3 s1x1 p1x1x1x1 d1x1 g1 32x32 bias", 9},
                       {"conv 3x3 s2x2 p1x1x1x1 d1x1 g1 32x32 bias relu", 1},
                       {"conv 3x3 s1x1 p1x1x1x1 d1x1 g1 16x16 bias relu", 8},
                       {"conv 3x3 s1x1 p1x1x1x1 d1x1 g1 16x16 bias", 9},
                       {"conv 3x3 s2x2 p1x1x1x1 d1x1 g1 16x16 bias relu", 1},
                       {"conv 3x3 s1x1 p1x1x1x1 d1x1 g1 8x8 bias relu", 8},
                       {"conv 3x3 s1x1 p1x1x1x1 d1x1 g1 8x8 bias", 9},
                       {"linear r1 bias", 1},
                   }));
  const Listed mobilenet = Zoo("mobilenetv2", {.height = 224, .width = 224, .classes = 1000});
  ASSERT_EQ(mobilenet.layers.layers.size(), 53);
  EXPECT_EQ(mobilenet.layers.layers[0].kind, "conv 3x3 s2x2 p1x1x1x1 d1x1 g1 224x224 bias relu6");
  int depthwise = 0;
  for (const LatencyLayer& layer : mobilenet.layers.layers) depthwise += layer.depthwise;
  EXPECT_EQ(depthwise, 17);
}

TEST(LatencyLayersTest, FoldedNetworkHasTheSameLayers) {
  const Listed plain = Zoo("mobilenetv2", {.batch_norm = false});
  EXPECT_EQ(plain.Kinds(), Zoo("mobilenetv2").Kinds());
  EXPECT_EQ(plain.Bytes(), Zoo("mobilenetv2").Bytes());
}

TEST(LatencyLayersTest, MissingShapesAreInvalid) {
  const auto message = [](auto forget) {
    GraphBuilder b;
    const TensorId conv = b.Conv(b.Input({kDynamic, 3, 4, 4}), 6, 3, 1, "conv");
    const TensorId shrunk = b.Op("Sigmoid", {conv}, {}, "squash");
    b.Output(b.Linear(b.Op("Flatten", {shrunk}), 2, true, "fc"));
    forget(b);
    const absl::StatusOr<Grouping> grouping = BuildGroups(b.graph);
    EXPECT_TRUE(grouping.ok()) << grouping.status();
    const absl::StatusOr<LatencyLayers> layers = ListLatencyLayers(b.graph, *grouping);
    EXPECT_EQ(layers.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(layers.status().message());
  };
  const auto forget = [](size_t node) {
    return [node](GraphBuilder& b) {
      b.graph.tensor(b.graph.nodes[node].outputs[0]).shape_known = false;
    };
  };
  EXPECT_THAT(message(forget(0)), HasSubstr("Conv conv: the shape of conv_out0 is unknown"));
  EXPECT_THAT(message(forget(1)), HasSubstr("Sigmoid squash: the shape of squash_out0 is unknown"));
  EXPECT_THAT(message(forget(2)), HasSubstr("Gemm fc: the shape of Flatten"));
  EXPECT_THAT(message(forget(3)), HasSubstr("Gemm fc: the shape of fc_out0 is unknown"));
  EXPECT_THAT(
      message([](GraphBuilder& b) { b.graph.tensor(b.graph.inputs[0]).shape_known = false; }),
      HasSubstr("Conv conv: the shape of input is unknown"));
}

TEST(LatencyLayersTest, MoreBytesThanCanBeCountedAreInvalid) {
  GraphBuilder b;
  b.Output(b.Op("Relu", {b.Input({kDynamic, 16, 8, 8})}));
  const absl::StatusOr<Grouping> grouping = BuildGroups(b.graph);
  for (const int side : {29, 31}) {  // the sum overflows, one tensor does
    for (Tensor& tensor : b.graph.tensors) {
      tensor.shape = {kDynamic, 16, int64_t{1} << side, int64_t{1} << side};
    }
    const absl::StatusOr<LatencyLayers> layers = ListLatencyLayers(b.graph, *grouping);
    EXPECT_EQ(layers.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(layers.status().message()),
                HasSubstr(side == 29 ? "more than 2^62" : "Relu Relu"));
  }
}

}  // namespace
}  // namespace amc
