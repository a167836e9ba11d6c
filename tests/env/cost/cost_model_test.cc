// Costs against published figures and against counting by hand.
#include "env/cost/cost_model.h"

#include <chrono>

#include "env/cost/lattice.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::testing::HasSubstr;

struct Costed {
  Graph graph;
  Grouping grouping;
  CostModel model;
};

Costed Analyse(Graph graph) {
  absl::StatusOr<Grouping> grouping = BuildGroups(graph);
  EXPECT_TRUE(grouping.ok()) << grouping.status();
  absl::StatusOr<CostModel> model = CostModel::Create(graph, *grouping);
  EXPECT_TRUE(model.ok()) << model.status();
  return {std::move(graph), *std::move(grouping), *std::move(model)};
}

Costed Zoo(const std::string& name, ZooOptions options = {}) {
  options.weightless = true;
  absl::StatusOr<Graph> graph = BuildNetwork(name, options);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return Analyse(*std::move(graph));
}

TEST(CostModelTest, CifarResNetsCostWhatTheirPaperSays) {
  const Costed resnet20 = Zoo("resnet20");
  EXPECT_EQ(resnet20.model.Evaluate(resnet20.model.channels()).macs, 40'551'040);
  const Costed resnet56 = Zoo("resnet56");
  EXPECT_EQ(resnet56.model.Evaluate(resnet56.model.channels()).macs, 125'485'696);
  // 0.27M and 0.85M in Table 6 of He et al. 2016; exact with PyTorch's numel().
  EXPECT_EQ(resnet20.model.Evaluate(resnet20.model.channels()).params, 269'722);
  EXPECT_EQ(resnet56.model.Evaluate(resnet56.model.channels()).params, 853'018);
}

TEST(CostModelTest, ImageNetNetworksHaveTorchvisionsParameters) {
  const ZooOptions imagenet = {.height = 224, .width = 224, .classes = 1000};
  const Costed mobilenet = Zoo("mobilenetv2", imagenet);
  EXPECT_EQ(mobilenet.model.Evaluate(mobilenet.model.channels()).params, 3'504'872);
  EXPECT_EQ(mobilenet.model.Evaluate(mobilenet.model.channels()).macs, 300'774'272);
  ZooOptions plain = imagenet;
  plain.batch_norm = false;
  const Costed vgg = Zoo("vgg16", plain);
  EXPECT_EQ(vgg.model.Evaluate(vgg.model.channels()).params, 138'357'544);
  EXPECT_EQ(vgg.model.Evaluate(vgg.model.channels()).macs, 15'470'264'320);
}

TEST(CostModelTest, WholeNetworkAgreesWithCountingShapes) {
  for (const std::string& name : ZooNames()) {
    const Costed net = Zoo(name);
    const absl::StatusOr<Cost> counted = CountCost(net.graph);
    ASSERT_TRUE(counted.ok()) << counted.status();
    EXPECT_EQ(net.model.Evaluate(net.model.channels()), *counted) << name;
  }
}

TEST(CostModelTest, ModelBytesAreThoseOfAllConstants) {
  GraphBuilder b;
  b.Head(b.BatchNorm(b.Conv(b.Input({kDynamic, 3, 8, 8}), 12)));
  // Weight and bias, four vectors of batch norm, the linear layer.
  EXPECT_EQ(*CountModelBytes(b.graph), 4 * (12 * 27 + 12 + 4 * 12 + 2 * 12 + 2));
  for (const std::string& name : ZooNames()) {
    const Costed net = Zoo(name);
    EXPECT_EQ(net.model.ModelBytes(net.model.channels()), *CountModelBytes(net.graph)) << name;
    EXPECT_GE(net.model.ModelBytes(net.model.channels()),
              4 * net.model.Evaluate(net.model.channels()).params)
        << name;
  }
}

TEST(CostModelTest, CountsTheMacsOfARunOfNodes) {
  GraphBuilder b;  // nodes: 0 Conv, 1 Relu, 2 Conv (depthwise), 3 pool, 4 Flatten, 5 Gemm
  const TensorId x = b.Op("Relu", {b.Conv(b.Input({kDynamic, 3, 8, 8}), 12)});
  b.Head(b.Conv(x, 12, 5, 12));
  const int64_t first = 12 * 3 * 9 * 64, second = 12 * 25 * 64, last = 2 * 12;
  EXPECT_EQ(*CountMacs(b.graph, 0, 6), first + second + last);
  EXPECT_EQ(*CountMacs(b.graph, 0, 2), first);
  EXPECT_EQ(*CountMacs(b.graph, 1, 5), second);
  EXPECT_EQ(*CountMacs(b.graph, 2, 99), second + last);
  EXPECT_EQ(*CountMacs(b.graph, 3, 3), 0);
  EXPECT_EQ(*CountMacs(b.graph, 0, 6), CountCost(b.graph)->macs);
  b.graph.tensor(x).shape_known = false;  // not where it matters
  EXPECT_EQ(*CountMacs(b.graph, 3, 6), last);
}

TEST(CostModelTest, LayersSumUpToTheWhole) {
  for (const std::string& name : ZooNames()) {
    const Costed net = Zoo(name);
    const absl::StatusOr<Lattice> lattice = Lattice::Create(net.grouping, {});
    ASSERT_TRUE(lattice.ok());
    const std::vector<int64_t> kept = lattice->Minimum();
    Cost sum;
    for (const LayerCost& layer : net.model.Layers(kept)) {
      sum.macs += layer.cost.macs;
      sum.params += layer.cost.params;
    }
    EXPECT_EQ(sum, net.model.Evaluate(kept)) << name;
  }
}

TEST(CostModelTest, CountsEveryKindOfLayerByHand) {
  GraphBuilder b;
  const TensorId wide = b.Conv(b.Input({kDynamic, 3, 8, 8}), 8);  // 8*3*9 + 8
  const TensorId normal = b.BatchNorm(wide);                      // 16
  const TensorId depthwise = b.Conv(normal, 8, 3, 8);             // 8*9 + 8
  const TensorId grouped = b.Conv(depthwise, 4, 1, 2);            // 4*4 + 4
  b.Output(b.Linear(b.Op("Flatten", {grouped}), 10));             // 4*64*10 + 10
  const Costed net = Analyse(b.graph);
  const Cost whole = net.model.Evaluate(net.model.channels());
  EXPECT_EQ(whole.params, 224 + 16 + 80 + 20 + 2570);
  EXPECT_EQ(whole.macs, 64 * (216 + 72 + 16) + 2560);
  ASSERT_EQ(net.model.num_groups(), 2);
  // 4 of 8 through the depthwise layer, 2 of 4 behind the grouped one.
  const Cost half = net.model.Evaluate({4, 2});
  EXPECT_EQ(half.params, (4 * 27 + 4) + 8 + (4 * 9 + 4) + (2 * 2 + 2) + (2 * 64 * 10 + 10));
  EXPECT_EQ(half.macs, 64 * (4 * 27 + 4 * 9 + 2 * 2) + 2 * 64 * 10);
}

TEST(CostModelTest, MatMulOnTokensCostsOncePerTokenAndItsBiasCounts) {
  GraphBuilder b;
  const TensorId x = b.Input({kDynamic, 7, 6});
  b.Output(b.Op("Add", {b.Op("MatMul", {x, b.Floats({6, 5})}), b.Floats({5})}));
  const absl::StatusOr<Cost> cost = CountCost(b.graph);
  ASSERT_TRUE(cost.ok()) << cost.status();
  EXPECT_EQ(*cost, (Cost{.macs = 7 * 30, .params = 35}));
}

TEST(CostModelTest, ConstantThatThreeAxesClaimIsCountedWhole) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({4, 3, 4, 4}), 4);
  const TensorId weight = b.Floats({4, 4, 4, 4});
  const TensorId turned = b.Op("Transpose", {x}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
  const TensorId scaled = b.Op("Mul", {b.Op("Conv", {x, weight}), b.Floats({1})});
  b.Output(scaled);
  b.Output(b.Op("Mul", {turned, weight}));
  const Costed net = Analyse(b.graph);
  EXPECT_EQ(net.model.num_groups(), 0);
  EXPECT_EQ(net.model.Evaluate({}).params, 4 * 27 + 4 + 256);
}

TEST(CostModelTest, SharedWeightIsStoredOnceAndMultipliesTwice) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 4, 4, 4}), 4, 1);
  const TensorId weight = b.Floats({4, 4, 1, 1});
  b.Head(b.Op("Conv", {b.Op("Conv", {x, weight}), weight}));
  const Costed net = Analyse(b.graph);
  EXPECT_EQ(net.model.Evaluate({4}), (Cost{.macs = 16 * 48 + 8, .params = 20 + 16 + 10}));
  EXPECT_EQ(net.model.Evaluate({2}), (Cost{.macs = 16 * (8 + 4 + 4) + 4, .params = 10 + 4 + 6}));
}

TEST(CostModelTest, KeepingMoreNeverCostsLess) {
  const Costed net = Zoo("mobilenetv2");
  for (const Resource resource : {Resource::kMacs, Resource::kParams, Resource::kModelBytes}) {
    const std::unique_ptr<CostFunction> cost = net.model.Function(resource);
    EXPECT_TRUE(cost->monotone());
    std::vector<int64_t> kept(net.model.num_groups(), 1);
    int64_t last = cost->Evaluate(kept);
    for (size_t g = 0; g < kept.size(); ++g) {
      kept[g] = net.model.channels()[g];
      EXPECT_GT(cost->Evaluate(kept), last) << ResourceName(resource) << " " << g;
      last = cost->Evaluate(kept);
    }
    EXPECT_TRUE(cost->bilinear());
  }
}

TEST(CostModelTest, MissingShapesAreInvalid) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 4, 4}), 6, 3, 1, "conv");
  b.Head(x);
  b.graph.tensor(x).shape_known = false;
  const absl::StatusOr<Cost> cost = CountCost(b.graph);
  EXPECT_EQ(cost.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(cost.status().message()), HasSubstr("conv"));
}

TEST(CostModelTest, CostsTooLargeToCountAreInvalid) {
  GraphBuilder b;
  b.Output(b.Conv(b.Input({kDynamic, 256, 8, 8}), 256));
  ASSERT_TRUE(CountCost(b.graph).ok());
  const int64_t side = int64_t{1} << 30;
  b.graph.tensor(b.graph.outputs[0]).shape = {kDynamic, 256, side, side};
  EXPECT_EQ(CountCost(b.graph).status().code(), absl::StatusCode::kInvalidArgument);
}

// An environment of 20,000 steps a second asks dozens of times per step.
TEST(CostModelTest, EvaluatesResNet56InMicroseconds) {
  const Costed net = Zoo("resnet56");
  std::vector<int64_t> kept(net.model.channels().begin(), net.model.channels().end());
  constexpr int kEvaluations = 100'000;
  const auto start = std::chrono::steady_clock::now();
  int64_t sum = 0;
  for (int i = 0; i < kEvaluations; ++i) {
    kept[i % kept.size()] = 1 + i % 16;
    sum += net.model.Evaluate(kept).macs;
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  RecordProperty("nanoseconds", static_cast<int>(elapsed.count() / kEvaluations * 1e9));
  EXPECT_GT(sum, 0);
#ifdef NDEBUG
  EXPECT_LT(elapsed.count() / kEvaluations, 5e-6);
#endif
}

}  // namespace
}  // namespace amc
