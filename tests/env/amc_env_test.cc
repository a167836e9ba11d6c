// The environment on a network small enough to work out by hand, and on the zoo's.
//
// Plain(): N x 3 x 8 x 8 -> conv1 3x3, 8 channels -> relu -> conv2 3x3 stride 2, 16 channels ->
// relu
// -> global pool -> flatten -> fc, 10 classes; biases nowhere. MACs: conv1 3*8*9*64 = 13,824; conv2
// 8*16*9*16 = 18,432; fc 16*10 = 160; together 32,416. Two groups: conv1's 8 channels, read by
// conv2, and conv2's 16, read by fc.
#include "env/amc_env.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/rng.h"
#include "env/cost/latency_model.h"
#include "env/graph/shape_inference.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/latency_fixture.h"

namespace amc {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;

constexpr int64_t kPlainMacs = 32416;

class Builder {
 public:
  Builder() { graph.opsets[""] = 13; }
  TensorId Constant(const std::string& name, Shape shape) {
    return graph.AddTensor(MakeWeightless(name, std::move(shape)));
  }
  TensorId Add(const std::string& op, const std::string& name, std::vector<TensorId> inputs,
               std::map<std::string, Attribute> attributes = {}) {
    Tensor output;
    output.name = name + "_out";
    const TensorId id = graph.AddTensor(output);
    Node node;
    node.name = name;
    node.op_type = op;
    node.inputs = std::move(inputs);
    node.outputs = {id};
    node.attributes = std::move(attributes);
    graph.AddNode(node);
    return id;
  }
  // Shape inference leaves recorded shapes to operators that it does not know.
  TensorId Record(TensorId id, Shape shape) {
    graph.tensor(id).shape = std::move(shape);
    graph.tensor(id).shape_known = true;
    return id;
  }
  Graph graph;
};

Attribute Ints(std::vector<int64_t> values) { return values; }

Graph Plain(const std::string& between = "Relu") {
  Builder b;
  Tensor input;
  input.name = "input";
  input.shape_known = true;
  input.shape = {kDynamic, 3, 8, 8};
  TensorId x = b.graph.AddTensor(input);
  b.graph.inputs = {x};
  x = b.Add("Conv", "conv1", {x, b.Constant("w1", {8, 3, 3, 3})}, {{"pads", Ints({1, 1, 1, 1})}});
  x = b.Record(b.Add(between, "act1", {x}), {kDynamic, 8, 8, 8});
  x = b.Add("Conv", "conv2", {x, b.Constant("w2", {16, 8, 3, 3})},
            {{"pads", Ints({1, 1, 1, 1})}, {"strides", Ints({2, 2})}});
  x = b.Record(b.Add(between, "act2", {x}), {kDynamic, 16, 4, 4});
  x = b.Add("GlobalAveragePool", "pool", {x});
  x = b.Add("Flatten", "flatten", {x});
  x = b.Add("Gemm", "fc", {x, b.Constant("w3", {16, 10})});
  b.graph.outputs = {x};
  EXPECT_TRUE(InferShapes(b.graph).ok());
  return b.graph;
}

std::unique_ptr<AmcEnv> MakeEnv(const Graph& graph, const EnvOptions& options) {
  auto env = AmcEnv::Create(graph, options);
  EXPECT_TRUE(env.ok()) << env.status();
  return *std::move(env);
}

Graph Zoo(const std::string& name, int64_t size = 32) {
  auto graph = BuildNetwork(name, {.height = size, .width = size, .weightless = true});
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

TEST(AmcEnvTest, ObservesAPlainNetworkAsWorkedOutByHand) {
  auto env = MakeEnv(Plain(), {.budget = {{.ratio = 0}}, .min_preserve_ratio = 0.25});
  ASSERT_EQ(env->num_steps(), 2u);
  EXPECT_EQ(env->cost_model().Evaluate(env->lattice().Maximum()).macs, kPlainMacs);

  // conv2 reads the first group: n 16, c 8, h w 8, stride 2, k 3, 18,432 MACs. fc reads the second:
  // n 10, c 16, h w stride k 1, 160 MACs.
  const Observation first = env->Reset();
  EXPECT_EQ(first.group, 0);
  EXPECT_THAT(
      first.features,
      ElementsAre(0, 1, 0.5f, 1, 1, 1, 1, 1, 0,
                  // The second group can still lose 12 of 16 channels: 3/4 of conv2 and of fc.
                  FloatNear(0.75f * (18432 + 160) / kPlainMacs, 1e-6), 1));

  const auto middle = env->Step(0.5);  // 4 of 8: half of conv1 and of conv2
  ASSERT_TRUE(middle.ok());
  EXPECT_EQ(middle->kept, 4);
  EXPECT_EQ(middle->executed, 0.5);
  EXPECT_FALSE(middle->done);
  EXPECT_EQ(middle->observation.group, 1);
  EXPECT_THAT(middle->observation.features,
              ElementsAre(0.5f, FloatNear(10.0f / 16, 1e-6), 1, 0.125f, 0.125f, 0.5f,
                          FloatNear(1.0f / 3, 1e-6), FloatNear(160.0f / 18432, 1e-6),
                          FloatNear(0.5f * (13824 + 18432) / kPlainMacs, 1e-6), 0, 0.5f));

  const auto last = env->Step(0.30);  // 4.8 of 16 is nearest to 5
  ASSERT_TRUE(last.ok());
  EXPECT_TRUE(last->done);
  EXPECT_EQ(last->kept, 5);
  EXPECT_EQ(last->observation.group, 1);
  EXPECT_THAT(env->kept(), ElementsAre(4, 5));
  EXPECT_EQ(env->policy(), MakePolicy(env->grouping(), {4, 5}));
}

TEST(AmcEnvTest, ReducedAndRestCountTheResourceThatTheBudgetIsOn) {
  auto env = MakeEnv(Plain(), {.budget = {{.resource = Resource::kParams, .ratio = 0}}});
  env->Reset();
  const auto step = env->Step(0.5);
  ASSERT_TRUE(step.ok());
  // conv1 has 216 weights, conv2 1,152, fc 160.
  EXPECT_FLOAT_EQ(step->observation.features[Observation::kReduced],
                  (108.0f + 576.0f) / (216 + 1152 + 160));
}

TEST(AmcEnvTest, FeaturesStayWithinTheirRangeAndLayersKeepTheirScale) {
  for (const char* name : {"resnet20", "vgg-small", "mobilenetv2"}) {
    auto env = MakeEnv(Zoo(name), {.budget = {{.ratio = 0.5}}});
    Rng rng(3);
    std::vector<std::vector<float>> layers;
    for (int episode = 0; episode < 20; ++episode) {
      Observation o = env->Reset();
      for (size_t step = 0; !env->done(); ++step) {
        EXPECT_EQ(o.features.size(), 11u);
        EXPECT_THAT(o.features, Each(AllOf(Ge(0.0f), Le(1.0f)))) << name << " step " << step;
        const std::vector<float> layer(o.features.begin() + Observation::kT,
                                       o.features.begin() + Observation::kReduced);
        if (episode == 0) layers.push_back(layer);
        EXPECT_EQ(layer, layers[step]) << name;
        auto result = env->Step(rng.Uniform(0.01, 1));
        ASSERT_TRUE(result.ok());
        o = result->observation;
      }
      EXPECT_EQ(layers.size(), env->num_steps());
    }
  }
}

TEST(AmcEnvTest, RandomWalksHoldTheBudgetAndLandOnIt) {
  auto env = MakeEnv(Zoo("resnet56"), {.budget = {{.ratio = 0.5}}});
  EXPECT_EQ(env->budget(), 125485696 / 2);
  Rng rng(5);
  for (int episode = 0; episode < 200; ++episode) {
    env->Reset();
    while (!env->done()) ASSERT_TRUE(env->Step(rng.Uniform(0.001, 1)).ok());
    const double ratio =
        static_cast<double>(env->cost_model().Evaluate(env->kept()).macs) / 125485696;
    EXPECT_LE(ratio, 0.5);
    EXPECT_GE(ratio, 0.495);
  }
}

TEST(AmcEnvTest, WithoutLandingTheBudgetIsAnUpperBoundOnly) {
  auto env = MakeEnv(Zoo("resnet20"), {.budget = {{.ratio = 0.5}}, .land_on_budget = false});
  env->Reset();
  while (!env->done()) ASSERT_TRUE(env->Step(0.2).ok());
  EXPECT_EQ(env->cost_model().Evaluate(env->kept()),
            env->cost_model().Evaluate(env->lattice().Minimum()));
}

TEST(AmcEnvTest, FrozenGroupsAreNotAskedAbout) {
  auto env = MakeEnv(Plain(), {.budget = {{.ratio = 0.7}}, .frozen = {"conv2"}});
  EXPECT_EQ(env->num_steps(), 1u);
  EXPECT_EQ(env->Reset().group, 0);
  ASSERT_TRUE(env->Step(0.1).ok());
  EXPECT_TRUE(env->done());
  EXPECT_EQ(env->kept()[1], 16);
}

TEST(AmcEnvTest, ClonesWalkOnTheirOwn) {
  auto env = MakeEnv(Plain(), {.budget = {{.ratio = 0.5}}});
  env->Reset();
  ASSERT_TRUE(env->Step(0.5).ok());
  auto clone = env->Clone();
  EXPECT_EQ(clone->Step(0.5).status().code(), absl::StatusCode::kFailedPrecondition);
  clone->Reset();
  ASSERT_TRUE(clone->Step(1.0).ok());
  ASSERT_TRUE(clone->Step(1.0).ok());
  EXPECT_TRUE(clone->done());
  EXPECT_FALSE(env->done());
  EXPECT_EQ(env->kept()[0], 4);
}

TEST(AmcEnvTest, RefusesActionsAndStepsOutOfPlace) {
  auto env = MakeEnv(Plain(), {.budget = {{.ratio = 0.5}}});
  EXPECT_EQ(env->Step(0.5).status().code(), absl::StatusCode::kFailedPrecondition);
  env->Reset();
  for (const double action :
       {0.0, -0.5, 1.0001, std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_EQ(env->Step(action).status().code(), absl::StatusCode::kInvalidArgument) << action;
  }
  ASSERT_TRUE(env->Step(1e-300).ok());
  ASSERT_TRUE(env->Step(1).ok());
  EXPECT_THAT(std::string(env->Step(0.5).status().message()), HasSubstr("ended after 2 steps"));
}

TEST(AmcEnvTest, RefusesTargetsThatMakeNoSense) {
  for (const double ratio : {-0.1, 1.01, std::nan("")}) {
    EXPECT_EQ(AmcEnv::Create(Plain(), {.budget = {{.ratio = ratio}}}).status().code(),
              absl::StatusCode::kInvalidArgument)
        << ratio;
  }
  for (const int64_t target : {int64_t{-1}, kPlainMacs + 1}) {
    EXPECT_EQ(AmcEnv::Create(Plain(), {.budget = {{.absolute = target}}}).status().code(),
              absl::StatusCode::kInvalidArgument)
        << target;
  }
  EXPECT_EQ(MakeEnv(Plain(), {.budget = {{.absolute = kPlainMacs}}})->budget(), kPlainMacs);
}

// Any walk of random actions ends within all bounds, whether or not the cost is monotone.
TEST(AmcEnvTest, KeepsEveryBoundWhateverIsAsked) {
  Rng rng(5);
  for (const char* name : {"resnet20", "mobilenetv2"}) {
    const Graph graph = Zoo(name);
    const auto table = std::make_shared<const LatencyTable>(MadeUpTable(graph, 0.5));
    for (const double ratio : {0.4, 0.7}) {
      auto env = MakeEnv(graph, {.budget = {{.resource = Resource::kLatency, .ratio = ratio},
                                            {.resource = Resource::kActivationBytes, .ratio = 0.9},
                                            {.resource = Resource::kModelBytes, .ratio = 0.8}},
                                 .latency = table});
      ASSERT_EQ(env->bounds().size(), 3U);
      EXPECT_EQ(BudgetName(env->bounds()), "latency and activation_bytes and model_bytes");
      for (int episode = 0; episode < 30; ++episode) {
        env->Reset();
        while (!env->done()) ASSERT_TRUE(env->Step(1 - rng.Uniform()).ok());
        for (const CostBound& bound : env->bounds()) {
          EXPECT_LE(bound.cost->Evaluate(env->kept()), bound.limit) << ResourceName(bound.resource);
        }
      }
      for (const CostBound& bound : env->bounds()) {
        EXPECT_LE(bound.cost->Evaluate(env->cheapest()), bound.limit);
      }
    }
  }
}

// Of 4 and 8 channels: conv1 108 weights and 6,912 MACs, conv2 288 and 4,608, fc 80 and 80. The
// input of 768 bytes and conv1's output of 1,024 are there at once; conv2's is 512.
TEST(AmcEnvTest, KnowsWhatEveryResourceCostsWhateverTheBudgetIsOn) {
  const std::vector<int64_t> kept = {4, 8};
  const auto table = std::make_shared<const LatencyTable>(MadeUpTable(Plain(), 0));
  const Grouping grouping = *BuildGroups(Plain());
  const LatencyModel latency = *LatencyModel::Create(Plain(), grouping, *table, "");
  for (const EnvOptions& options :
       {EnvOptions{.budget = {}, .latency = table},
        EnvOptions{
            .budget = {{.resource = Resource::kActivationBytes, .ratio = 0.9}, {.ratio = 0.5}},
 .latency = table}}) {
    const auto env = MakeEnv(Plain(), options);
    EXPECT_EQ(env->resource_cost(Resource::kMacs)->Evaluate(kept), 6912 + 4608 + 80);
    EXPECT_EQ(env->resource_cost(Resource::kParams)->Evaluate(kept), 108 + 288 + 80);
    EXPECT_EQ(env->resource_cost(Resource::kModelBytes)->Evaluate(kept), 4 * (108 + 288 + 80));
    EXPECT_EQ(env->resource_cost(Resource::kActivationBytes)->Evaluate(kept), 768 + 1024);
    EXPECT_EQ(env->resource_cost(Resource::kLatency)->Evaluate(kept), latency.Evaluate(kept));
  }
  EXPECT_EQ(MakeEnv(Plain(), {.budget = {}})->resource_cost(Resource::kLatency), nullptr);
}

TEST(AmcEnvTest, RefusesBoundsThatMakeNoSense) {
  const auto refused = [](EnvOptions options) {
    return std::string(AmcEnv::Create(Plain(), options).status().message());
  };
  EXPECT_THAT(refused({.budget = {{.ratio = 0.5}, {.ratio = 0.6}}}),
              HasSubstr("two targets on macs"));
  EXPECT_THAT(refused({.budget = {{.resource = Resource::kLatency, .ratio = 0.5}}}),
              HasSubstr("needs a latency table"));
  EXPECT_THAT(refused({.budget = {{.ratio = 0.5}, {.resource = Resource::kParams}}}),
              HasSubstr("the target on params has no value"));
  const auto foreign = std::make_shared<const LatencyTable>(MadeUpTable(Zoo("resnet20"), 0));
  EXPECT_THAT(
      refused({.budget = {{.resource = Resource::kLatency, .ratio = 0.5}}, .latency = foreign}),
      HasSubstr("conv1"));
}

TEST(AmcEnvTest, BoundsThatCannotBeMetTogetherAreRefused) {
  // Each alone can be met; what is left out of reach alone is named with its smallest value.
  const auto refused =
      AmcEnv::Create(Plain(),
                     {.budget = {{.ratio = 0.5}, {.resource = Resource::kParams, .ratio = 0.001}}})
          .status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("params: a budget of"));
}

TEST(AmcEnvTest, ATargetOutOfReachIsRefusedWithTheSmallestReachableCost) {
  // 2 of 8 and 4 of 16: conv1 3,456, conv2 1,152, fc 40.
  const auto refused =
      AmcEnv::Create(Plain(), {.budget = {{.ratio = 0.1}}, .min_preserve_ratio = 0.25}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("macs: a budget of 3241"));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("4648 (0.1434)"));
  EXPECT_TRUE(
      AmcEnv::Create(Plain(), {.budget = {{.absolute = 4648}}, .min_preserve_ratio = 0.25}).ok());
}

TEST(AmcEnvTest, SaysWhyNothingCanBePruned) {
  const auto barrier = AmcEnv::Create(Plain("Mystery"), {.budget = {{.ratio = 0.5}}}).status();
  EXPECT_EQ(barrier.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(barrier.message()), HasSubstr("Mystery"));
  const auto coarse =
      AmcEnv::Create(Plain(), {.budget = {{.ratio = 0.5}}, .channel_multiple = 64}).status();
  EXPECT_EQ(coarse.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(coarse.message()), HasSubstr("channel_multiple 64"));
}

}  // namespace
}  // namespace amc
