// A network whose channels stand in another order is the same function.
#include "env/prune/network_permutation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/rng.h"
#include "env/exec/network.h"
#include "env/graph/zoo.h"
#include "env/prune/sparse_mask.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::testing::HasSubstr;

std::vector<float> Run(const Graph& graph) {
  constexpr int64_t kBatch = 3;
  const Shape& input = graph.tensor(graph.inputs[0]).shape;
  Rng rng(11);
  std::vector<float> images(static_cast<size_t>(kBatch * input[1] * input[2] * input[3]));
  for (float& value : images) value = static_cast<float>(rng.Normal());
  absl::StatusOr<std::unique_ptr<Network>> network = Network::Create(graph, {});
  EXPECT_TRUE(network.ok()) << network.status();
  if (!network.ok()) return {};
  absl::StatusOr<std::vector<float>> output = (*network)->Run(images, kBatch);
  EXPECT_TRUE(output.ok()) << output.status();
  return output.ok() ? *std::move(output) : std::vector<float>{};
}

void ExpectSameFunction(const Graph& graph, const Graph& permuted) {
  const std::vector<float> expected = Run(graph), actual = Run(permuted);
  ASSERT_EQ(expected.size(), actual.size());
  float largest = 0, difference = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    difference = std::max(difference, std::abs(expected[i] - actual[i]));
  }
  EXPECT_GT(largest, 0);
  EXPECT_LE(difference, 5e-6F * largest);
}

ChannelOrders RandomOrders(const Graph& graph, const Grouping& grouping, uint64_t seed) {
  Rng rng(seed);
  ChannelOrders orders;
  for (size_t g = 0; g < grouping.groups.size(); ++g) {
    std::vector<int64_t> order = rng.Permutation(grouping.groups[g].channels);
    if (!CanPermute(graph, grouping, g)) std::sort(order.begin(), order.end());
    orders.emplace_back(order.begin(), order.end());
  }
  return orders;
}

TEST(NetworkPermutationTest, AnyOrderIsTheSameFunction) {
  for (const std::string& name : ZooNames()) {
    if (name == "vgg16" || name == "resnet56") continue;
    SCOPED_TRACE(name);
    for (const bool batch_norm : {true, false}) {
      const Graph graph = BuildNetwork(name, {.batch_norm = batch_norm}).value();
      const Grouping grouping = BuildGroups(graph).value();
      const auto permuted = PermuteChannels(graph, grouping, RandomOrders(graph, grouping, 5));
      ASSERT_TRUE(permuted.ok()) << permuted.status();
      const auto changed = [&](size_t t) {
        return graph.tensors[t].data != permuted->tensors[t].data;
      };
      size_t count = 0;
      for (size_t t = 0; t < graph.tensors.size(); ++t) count += changed(t) ? 1 : 0;
      EXPECT_GT(count, graph.nodes.size() / 4);
      ExpectSameFunction(graph, *permuted);
    }
  }
}

TEST(NetworkPermutationTest, ConcatsSlicesPadsAndTokens) {
  GraphBuilder b;
  const TensorId x = b.Conv(b.Input({kDynamic, 3, 8, 8}), 6);
  const TensorId padded = b.Op("Pad", {x, b.Ints({0, 1, 0, 0, 0, 2, 0, 0})});
  const TensorId y = b.Op("Relu", {b.Op("Add", {padded, b.Conv(x, 9)})});
  const std::vector<TensorId> parts =
      b.Ops("Split", {y, b.Ints({5, 4})}, 2, {{"axis", int64_t{1}}});
  const TensorId sliced = b.Op("Slice", {y, b.Ints({2}), b.Ints({6}), b.Ints({1})});
  const TensorId joined = b.Op("Concat", {b.Op("Sigmoid", {parts[1]}), sliced, b.Conv(parts[0], 5)},
                               {{"axis", int64_t{1}}});
  const TensorId scaled = b.Op("Mul", {joined, b.Floats({1, 13, 1, 1})});
  const TensorId tokens = b.Op("Transpose", {b.Op("Reshape", {scaled, b.Ints({0, 13, -1})})},
                               {{"perm", std::vector<int64_t>{0, 2, 1}}});
  const TensorId linear = b.Op("Add", {b.Op("MatMul", {tokens, b.Floats({13, 7})}), b.Floats({7})});
  b.Output(b.Linear(b.Op("Reshape", {b.Op("Relu", {linear}), b.Ints({0, 448})}), 3));
  const Grouping grouping = BuildGroups(b.graph).value();
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const auto permuted = PermuteChannels(b.graph, grouping, RandomOrders(b.graph, grouping, seed));
    ASSERT_TRUE(permuted.ok()) << permuted.status();
    ExpectSameFunction(b.graph, *permuted);
  }
}

TEST(NetworkPermutationTest, GroupedConvolutionsKeepTheirOrder) {
  GraphBuilder b;
  const TensorId x = b.Op("Relu", {b.Conv(b.Input({kDynamic, 3, 8, 8}), 12)});
  const TensorId grouped = b.Op("Relu", {b.BatchNorm(b.Conv(x, 16, 3, 4))});
  b.Head(b.Conv(grouped, 32, 3, 16));
  const Grouping grouping = BuildGroups(b.graph).value();
  ExpectSameFunction(
      b.graph, PermuteChannels(b.graph, grouping, RandomOrders(b.graph, grouping, 1)).value());
  ChannelOrders reversed = RandomOrders(b.graph, grouping, 1);
  ASSERT_FALSE(CanPermute(b.graph, grouping, 0));
  std::reverse(reversed[0].begin(), reversed[0].end());
  EXPECT_THAT(PermuteChannels(b.graph, grouping, reversed).status().message(),
              HasSubstr("group " + grouping.groups[0].name + ": its channels cannot"));
}

// What 2:4 keeps of all layers that can be pruned so.
double KeptMagnitude(const Graph& graph) {
  double kept = 0;
  const std::vector<LayerWeights> layers = ListLayerWeights(graph).value();
  for (const LayerWeights& layer : layers) {
    const auto mask =
        SelectWeights(layer, {layer.name, Granularity::kNM, 2, 4}, SparsityOptions(), {});
    if (!mask.ok()) continue;
    const LayerWeights masked = ApplyMask(layer, *mask);
    for (const float weight : masked.values) kept += std::abs(weight);
  }
  return kept;
}

TEST(NetworkPermutationTest, TheBestOrderKeepsMoreOfTheWholeNetwork) {
  for (const char* name : {"resnet20", "plain20"}) {
    SCOPED_TRACE(name);
    const Graph graph = BuildNetwork(name, {.seed = 2}).value();
    const Grouping grouping = BuildGroups(graph).value();
    const auto found = FindPermutations(graph, grouping, {});
    ASSERT_TRUE(found.ok()) << found.status();
    const auto permuted = PermuteChannels(graph, grouping, found->orders);
    ASSERT_TRUE(permuted.ok()) << permuted.status();
    ExpectSameFunction(graph, *permuted);
    const double gain = found->kept_after - found->kept_before;
    EXPECT_GT(gain, 0);
    EXPECT_NEAR(KeptMagnitude(*permuted) - KeptMagnitude(graph), gain, 1e-3 * gain);
  }
}

TEST(NetworkPermutationTest, WeightlessNetworksArePermutedAlike) {
  const Graph graph = BuildNetwork("resnet20", {.weightless = true}).value();
  const Grouping grouping = BuildGroups(graph).value();
  const auto permuted = PermuteChannels(graph, grouping, RandomOrders(graph, grouping, 1));
  ASSERT_TRUE(permuted.ok()) << permuted.status();
  EXPECT_EQ(FindPermutations(graph, grouping, {})->kept_after, 0);
}

TEST(NetworkPermutationTest, RefusesWhatIsNoPermutation) {
  const Graph graph = BuildNetwork("resnet20", {}).value();
  const Grouping grouping = BuildGroups(graph).value();
  ChannelOrders orders = RandomOrders(graph, grouping, 1);
  orders[3][0] = orders[3][1];
  EXPECT_THAT(PermuteChannels(graph, grouping, orders).status().message(),
              HasSubstr("group " + grouping.groups[3].name + ": its order is no permutation of"));
  orders.pop_back();
  EXPECT_THAT(PermuteChannels(graph, grouping, orders).status().message(), HasSubstr("orders for"));
}

}  // namespace
}  // namespace amc
