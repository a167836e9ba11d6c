// Zeros within weights, searched by the same environment.
#include "env/sparse_space.h"

#include <numeric>
#include <string>
#include <vector>

#include "env/amc_env.h"
#include "env/graph/layer_weights.h"
#include "env/graph/zoo.h"
#include "env/prune/sparse_mask.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Graph Network() { return BuildNetwork("resnet20", {.weightless = false, .seed = 1}).value(); }

std::vector<LayerWeights> LayersOf(const Graph& graph) { return ListLayerWeights(graph).value(); }

int64_t WeightsOf(const Graph& graph) {
  int64_t weights = 0;
  for (const LayerWeights& layer : LayersOf(graph)) {
    weights += static_cast<int64_t>(layer.values.size());
  }
  return weights;
}

TEST(SparseSpaceTest, NeedsNoWeights) {
  const Graph weightless = BuildNetwork("resnet20", {.weightless = true}).value();
  const Grouping grouping = WeightGroups(weightless, {}).value();
  ASSERT_EQ(grouping.groups.size(), 20u);
  const auto cost = NonZeroCost(weightless, grouping, {}).value();
  EXPECT_EQ(cost->Evaluate(std::vector<int64_t>(20, 256)), WeightsOf(Network()));
}

TEST(SparseSpaceTest, EveryLayerIsAGroup) {
  const Graph graph = Network();
  const Grouping grouping = WeightGroups(graph, {}).value();
  ASSERT_EQ(grouping.groups.size(), 20u);
  for (const PruneGroup& group : grouping.groups) {
    EXPECT_EQ(group.channels, 256);
    EXPECT_EQ(group.granularity, Granularity::kElement);
  }
}

TEST(SparseSpaceTest, LayersWithoutSuchUnitsSayWhy) {
  SparseSpace space{.granularity = Granularity::kNM};
  const Grouping grouping = WeightGroups(Network(), space).value();
  EXPECT_EQ(grouping.groups.size(), 19u);  // all but the first, which reads 3 channels
  ASSERT_EQ(grouping.barriers.size(), 1u);
  EXPECT_THAT(grouping.barriers[0].reason, HasSubstr("3 input channels are no multiple of 4"));
  EXPECT_EQ(grouping.groups[0].channels, 4);
  EXPECT_EQ(grouping.groups[0].cells, 2);
  space.n = 3;
  EXPECT_THAT(WeightGroups(Network(), space).status().message(), HasSubstr("3:4"));
  space.granularity = Granularity::kChannel;
  EXPECT_TRUE(absl::IsInvalidArgument(WeightGroups(Network(), space).status()));
}

TEST(SparseSpaceTest, CountsNonZerosAsTheMasksHaveThem) {
  const Graph graph = Network();
  for (const Granularity granularity : {Granularity::kElement, Granularity::kKernel}) {
    const SparseSpace space{.granularity = granularity};
    const Grouping grouping = WeightGroups(graph, space).value();
    const auto cost = NonZeroCost(graph, grouping, space).value();
    EXPECT_TRUE(cost->monotone());
    std::vector<int64_t> kept(grouping.groups.size(), 256);
    EXPECT_EQ(cost->Evaluate(kept), WeightsOf(graph));
    for (size_t g = 0; g < kept.size(); ++g) kept[g] = 1 + static_cast<int64_t>(37 * g % 255);
    int64_t nonzeros = 0;
    for (const LayerWeights& layer : LayersOf(graph)) {
      const int g = grouping.FindGroup(layer.name);
      if (g < 0) {
        nonzeros += static_cast<int64_t>(layer.values.size());
        continue;
      }
      const SparseDecision decision{
          .target = layer.name, .granularity = granularity, .kept = kept[static_cast<size_t>(g)]};
      const SparseMask mask = SelectWeights(layer, decision, space.options, {}).value();
      nonzeros += std::accumulate(mask.begin(), mask.end(), int64_t{0});
    }
    EXPECT_EQ(cost->Evaluate(kept), nonzeros);
    std::vector<int64_t> changed = kept;
    changed[3] = 200;
    EXPECT_EQ(cost->EvaluateChange(kept, nonzeros, 3, 200), cost->Evaluate(changed));
  }
}

TEST(SparseSpaceTest, AnEpisodeKeepsTheBudgetOnNonZeros) {
  const Graph graph = Network();
  EnvOptions options;
  options.sparsity = SparseSpace{};
  options.min_preserve_ratio = 0.03;
  options.budget = {{.resource = Resource::kNonZeros, .ratio = 0.25}};
  const auto env = AmcEnv::Create(graph, options);
  ASSERT_TRUE(env.ok()) << env.status();
  (*env)->Reset();
  while (!(*env)->done()) ASSERT_TRUE((*env)->Step(0.9).ok());
  const int64_t nonzeros = (*env)->cost().Evaluate((*env)->kept());
  EXPECT_LE(nonzeros, WeightsOf(graph) / 4);
  EXPECT_GT(nonzeros, WeightsOf(graph) / 4 * 99 / 100);
  const Policy policy = (*env)->policy();
  ASSERT_EQ(policy.decisions.size(), 20u);
  EXPECT_EQ(policy.decisions[0].granularity, Granularity::kElement);
  EXPECT_TRUE(KeptCounts(policy, (*env)->grouping()).ok());
  const auto sparse = SparseDecisions((*env)->grouping(), (*env)->kept());
  EXPECT_FALSE(sparse.empty());
  for (const SparseDecision& decision : sparse) EXPECT_LT(decision.kept, decision.of);
}

// 1:4 is one of four or all: no runtime takes three.
TEST(SparseSpaceTest, NOfMOrAll) {
  const Grouping grouping =
      WeightGroups(Network(), {.granularity = Granularity::kNM, .n = 1, .m = 4}).value();
  const Lattice lattice = Lattice::Create(grouping, {.min_preserve_ratio = 0.03}).value();
  EXPECT_THAT(lattice.choices(0), ElementsAre(1, 4));
}

// Also where patterns would leave 4 of 9 of every kernel.
TEST(SparseSpaceTest, AWholeGroupIsUntouched) {
  const Graph graph = Network();
  const SparseSpace space{.granularity = Granularity::kPattern};
  const Grouping grouping = WeightGroups(graph, space).value();
  const std::vector<int64_t> whole(grouping.groups.size(), 256);
  EXPECT_TRUE(SparseDecisions(grouping, whole).empty());
  EXPECT_EQ(NonZeroCost(graph, grouping, space).value()->Evaluate(whole), WeightsOf(graph));
}

TEST(SparseSpaceTest, BudgetsOnWhatZerosDoNotChangeAreRefused) {
  EnvOptions options;
  options.sparsity = SparseSpace{};
  options.budget = {{.resource = Resource::kMacs, .ratio = 0.5}};
  EXPECT_THAT(AmcEnv::Create(Network(), options).status().message(),
              HasSubstr("zeros within weights do not change macs"));
  EnvOptions channels;
  channels.budget = {{.resource = Resource::kNonZeros, .ratio = 0.5}};
  EXPECT_THAT(AmcEnv::Create(Network(), channels).status().message(), HasSubstr("needs sparsity"));
}

// Two layers of a plain chain, whose times are made up.
TEST(SparseSpaceTest, SimulatedTimesAreInterpolatedAndSummed) {
  const Graph graph = Network();
  const SparseSpace space{.granularity = Granularity::kNM};
  const Grouping grouping = WeightGroups(graph, space).value();
  LatencyTable table;
  table.setting = {.device = "simulated", .runtime = "x", .version = "1"};
  for (const LayerWeights& layer : LayersOf(graph)) {
    if (grouping.FindGroup(layer.name) < 0) {
      table.rows.push_back({SparseKind(layer, space, true), 1, 1, 7, 0});
    } else {
      table.rows.push_back({SparseKind(layer, space, false), 2, 4, 1, 0});
      table.rows.push_back({SparseKind(layer, space, false), 4, 4, 3, 0});
    }
  }
  const auto cost = SimulatedCost(graph, grouping, space, table);
  ASSERT_TRUE(cost.ok()) << cost.status();
  std::vector<int64_t> kept(19, 4);
  EXPECT_EQ((*cost)->Evaluate(kept), 7000 + 19 * 3000);
  kept[5] = 2;
  EXPECT_EQ((*cost)->Evaluate(kept), 7000 + 18 * 3000 + 1000);
  table.rows.pop_back();
  table.rows.pop_back();
  EXPECT_THAT(SimulatedCost(graph, grouping, space, table).status().message(),
              HasSubstr("lacks 1 of 20 layers: sparse 2:4 10x64x1x1 fc.weight"));
}

// A table is a file from anyone.
TEST(SparseSpaceTest, SimulatedTimesStayWithin64Bits) {
  const Graph graph = Network();
  const SparseSpace space{.granularity = Granularity::kNM};
  const Grouping grouping = WeightGroups(graph, space).value();
  LatencyTable table;
  table.setting = {.device = "simulated", .runtime = "x", .version = "1"};
  for (const LayerWeights& layer : LayersOf(graph)) {
    const bool whole = grouping.FindGroup(layer.name) < 0;
    table.rows.push_back({SparseKind(layer, space, whole), whole ? 1 : 4, 1, 1e308, 0});
  }
  const auto cost = SimulatedCost(graph, grouping, space, table);
  ASSERT_TRUE(cost.ok()) << cost.status();
  const int64_t sum = (*cost)->Evaluate(std::vector<int64_t>(19, 4));
  EXPECT_NEAR(static_cast<double>(sum), 0x1p62, 1e6);
  for (LatencyRow& row : table.rows) {
    if (row.in == 1) row.in = int64_t{1} << 60;
  }
  EXPECT_THAT(SimulatedCost(graph, grouping, space, table).status().message(),
              HasSubstr("the whole layer is 1152921504606846976 there, want 1"));
}

}  // namespace
}  // namespace amc
