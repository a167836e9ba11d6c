// Sparsifier from end to end, on small networks.
#include "env/prune/sparsifier.h"

#include <cmath>
#include <cstring>
#include <map>

#include "base/interrupt.h"
#include "env/graph/groups.h"
#include "env/graph/zoo.h"
#include "env/prune/pruner.h"
#include "env/prune/recalibration.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"
#include "tests/env/prune/random_pack.h"
#include "tests/env/prune/small_networks.h"

namespace amc {
namespace {

using ::amc::testing::FoldBatchNorm;
using ::amc::testing::RandomPack;
using ::amc::testing::RelativeError;
using ::amc::testing::ResidualNetwork;
using ::amc::testing::RewardLogits;
using ::testing::HasSubstr;

std::unique_ptr<Sparsifier> MakeSparsifier(const Graph& graph, const DataPack& pack,
                                           const SparsifyOptions& options = {}) {
  auto sparsifier = Sparsifier::Create(graph, pack, options);
  EXPECT_TRUE(sparsifier.ok()) << sparsifier.status();
  return *std::move(sparsifier);
}

SparseDecision Half(Granularity granularity) {
  return granularity == Granularity::kNM
             ? SparseDecision{.granularity = granularity, .kept = 2, .of = 4}
             : SparseDecision{.granularity = granularity, .kept = 128};
}

// The same for every layer that can have it.
std::vector<SparseDecision> Everywhere(const Sparsifier& sparsifier, SparseDecision decision) {
  std::vector<SparseDecision> decisions;
  for (const LayerWeights& layer : sparsifier.layers()) {
    if (!CountUnits(layer, decision, {}).ok()) continue;
    decision.target = layer.name;
    decisions.push_back(decision);
  }
  EXPECT_FALSE(decisions.empty());
  return decisions;
}

// That exactly the weights which the masks remove are zero, and all of them +0.
void ExpectZerosWhereMasked(const Graph& graph, const SparseNetwork& sparse) {
  std::map<std::string, LayerWeights> before, after;
  const std::vector<LayerWeights> old = ListLayerWeights(graph).value();
  const std::vector<LayerWeights> now = ListLayerWeights(sparse.graph).value();
  for (const LayerWeights& layer : old) before[layer.name] = layer;
  for (const LayerWeights& layer : now) after[layer.name] = layer;
  for (const SparseLayer& layer : sparse.layers) {
    const std::vector<float>& values = after[layer.target].values;
    ASSERT_EQ(layer.mask.size(), values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      if (layer.mask[i] != 0) {
        EXPECT_NE(values[i], 0) << layer.target;
      } else {
        EXPECT_TRUE(values[i] == 0 && !std::signbit(values[i])) << layer.target;
      }
    }
    after.erase(layer.target);
  }
  for (const auto& [name, layer] : after) {  // what was not decided keeps its zeros, if any
    EXPECT_EQ(layer.NonZeros(), before[name].NonZeros());
  }
}

class GranularityTest : public ::testing::TestWithParam<std::tuple<Granularity, bool>> {};

TEST_P(GranularityTest, ReconstructionComesNearerAndKeepsTheZeros) {
  const auto [granularity, folded] = GetParam();
  const RandomPack pack(400, 3, 8, 2);
  Graph graph = Recalibrate(ResidualNetwork(), {&pack, 0, 400}, {})->graph;  // as if trained
  if (folded) graph = FoldBatchNorm(graph);
  SparsifyOptions options;
  options.recalibration_images = 0;  // it is for trained networks (sparsifier_models_test.cc)
  const auto sparsifier = MakeSparsifier(graph, pack, options);
  const std::vector<SparseDecision> decisions = Everywhere(*sparsifier, Half(granularity));
  const auto masked = sparsifier->Sparsify(decisions, false, nullptr);
  const auto fitted = sparsifier->Sparsify(decisions, true, nullptr);
  ASSERT_TRUE(masked.ok()) << masked.status();
  ASSERT_TRUE(fitted.ok()) << fitted.status();
  ExpectZerosWhereMasked(graph, *masked);
  ExpectZerosWhereMasked(graph, *fitted);
  const std::vector<float> expected = RewardLogits(graph, pack);
  EXPECT_LT(RelativeError(expected, RewardLogits(fitted->graph, pack)),
            0.8 * RelativeError(expected, RewardLogits(masked->graph, pack)));
}

INSTANTIATE_TEST_SUITE_P(
    All, GranularityTest,
    ::testing::Combine(::testing::Values(Granularity::kElement, Granularity::kVector,
                                         Granularity::kKernel, Granularity::kPattern,
                                         Granularity::kBlock, Granularity::kNM),
                       ::testing::Bool()));

TEST(SparsifierTest, LayersMayMix) {
  const RandomPack pack(64, 3, 8, 2);
  const Graph graph = ResidualNetwork();
  const auto sparsifier = MakeSparsifier(graph, pack);
  std::vector<SparseDecision> decisions;
  for (const Granularity granularity :
       {Granularity::kElement, Granularity::kNM, Granularity::kKernel, Granularity::kPattern}) {
    decisions.push_back(Half(granularity));
    decisions.back().target = sparsifier->layers()[decisions.size()].name;
  }
  const auto sparse = sparsifier->Sparsify(decisions, true, nullptr);
  ASSERT_TRUE(sparse.ok()) << sparse.status();
  ASSERT_EQ(sparse->layers.size(), 4u);
  ExpectZerosWhereMasked(graph, *sparse);
}

TEST(SparsifierTest, DenseDecisionsReturnTheSameBits) {
  const Graph graph = ResidualNetwork();
  const RandomPack pack(64, 3, 8, 2);
  const auto sparsifier = MakeSparsifier(graph, pack);
  std::vector<SparseDecision> decisions = Everywhere(*sparsifier, {.kept = 256});
  decisions[1].granularity = Granularity::kNM;
  decisions[1].kept = decisions[1].of = 4;
  const auto same = sparsifier->Sparsify(decisions, true, nullptr);
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_TRUE(same->layers.empty());
  for (size_t t = 0; t < graph.tensors.size(); ++t) {
    EXPECT_EQ(same->graph.tensors[t].data, graph.tensors[t].data);
  }
}

TEST(SparsifierTest, TheSameArgumentsGiveTheSameBitsWhateverCameBefore) {
  const Graph graph = ResidualNetwork();
  const RandomPack pack(100, 3, 8, 2);
  const auto first = MakeSparsifier(graph, pack), second = MakeSparsifier(graph, pack);
  const std::vector<SparseDecision> half = Everywhere(*first, Half(Granularity::kElement));
  const std::vector<SparseDecision> other = Everywhere(*first, Half(Granularity::kNM));
  ASSERT_TRUE(second->Sparsify(other, true, nullptr).ok());
  int stops = 200;  // given up half way once
  {
    const InterruptScope scope([&] { return --stops < 0; });
    EXPECT_EQ(second->Sparsify(half, true, nullptr).status().code(), absl::StatusCode::kCancelled);
  }
  const auto a = first->Sparsify(half, true, nullptr), b = second->Sparsify(half, true, nullptr);
  ASSERT_TRUE(a.ok() && b.ok());
  for (size_t t = 0; t < graph.tensors.size(); ++t) {
    const auto &left = a->graph.tensors[t].data, &right = b->graph.tensors[t].data;
    ASSERT_EQ(left == nullptr, right == nullptr);
    if (left == nullptr) continue;
    EXPECT_EQ(*left, *right) << a->graph.tensors[t].name;
  }
}

TEST(SparsifierTest, AnInterruptedPreparationStartsAgain) {
  const Graph graph = ResidualNetwork();
  const RandomPack pack(200, 3, 8, 2);
  const auto sparsifier = MakeSparsifier(graph, pack), whole = MakeSparsifier(graph, pack);
  int stops = 40;
  {
    const InterruptScope scope([&] { return --stops < 0; });
    EXPECT_EQ(sparsifier->Prepare(nullptr).code(), absl::StatusCode::kCancelled);
  }
  const std::vector<SparseDecision> half = Everywhere(*whole, Half(Granularity::kNM));
  int64_t done = 0;
  ASSERT_TRUE(sparsifier->Prepare([&](int64_t now, int64_t) { done = now; }).ok());
  EXPECT_EQ(done, 200);
  EXPECT_EQ(RewardLogits(sparsifier->Sparsify(half, true, nullptr)->graph, pack),
            RewardLogits(whole->Sparsify(half, true, nullptr)->graph, pack));
}

// A network that lost channels first can lose weights next.
TEST(SparsifierTest, ComposesWithChannels) {
  const RandomPack pack(300, 3, 8, 2);
  const Graph graph = Recalibrate(ResidualNetwork(), {&pack, 0, 300}, {})->graph;
  const Grouping grouping = BuildGroups(graph).value();
  std::vector<int64_t> kept;
  for (const PruneGroup& group : grouping.groups) kept.push_back(group.channels / 2 / 4 * 4);
  const auto pruner = Pruner::Create(graph, grouping, pack, {}).value();
  const Graph small = pruner->Prune(kept, Reconstruction::kFast, nullptr).value();
  const auto sparsifier = MakeSparsifier(small, pack);
  const std::vector<SparseDecision> decisions = Everywhere(*sparsifier, Half(Granularity::kNM));
  const auto masked = sparsifier->Sparsify(decisions, false, nullptr);
  const auto fitted = sparsifier->Sparsify(decisions, true, nullptr);
  ASSERT_TRUE(masked.ok() && fitted.ok());
  ExpectZerosWhereMasked(small, *fitted);
  const std::vector<float> expected = RewardLogits(small, pack);
  EXPECT_LT(RelativeError(expected, RewardLogits(fitted->graph, pack)),
            RelativeError(expected, RewardLogits(masked->graph, pack)));
}

TEST(SparsifierTest, EveryZooNetworkCanBeSparsified) {
  for (const char* name : {"resnet20", "mobilenetv2"}) {  // depthwise layers among them
    const Graph graph = BuildNetwork(name, {.seed = 3}).value();
    const RandomPack pack(24, 3, 32, 10);
    SparsifyOptions options;
    options.samples_per_layer = 2000;
    options.recalibration_images = 8;
    const auto sparsifier = MakeSparsifier(graph, pack, options);
    const auto sparse =
        sparsifier->Sparsify(Everywhere(*sparsifier, Half(Granularity::kElement)), true, nullptr);
    ASSERT_TRUE(sparse.ok()) << name << ": " << sparse.status();
    ExpectZerosWhereMasked(graph, *sparse);
    for (const float logit : RewardLogits(sparse->graph, pack)) {
      ASSERT_TRUE(std::isfinite(logit)) << name;
    }
  }
}

TEST(SparsifierTest, RefusesWhatDoesNotFit) {
  const Graph graph = ResidualNetwork();
  const RandomPack pack(16, 3, 8, 2), larger(16, 3, 9, 2), empty(0, 3, 8, 2);
  const auto refusal = [](const auto& result, absl::StatusCode code) {
    EXPECT_EQ(result.status().code(), code) << result.status();
    return std::string(result.status().message());
  };
  EXPECT_THAT(refusal(Sparsifier::Create(graph, larger, {}), absl::StatusCode::kInvalidArgument),
              HasSubstr("Nx3x8x8, the images are Nx3x9x9"));
  SparsifyOptions options;
  options.ridge = 0;
  EXPECT_THAT(refusal(Sparsifier::Create(graph, pack, options), absl::StatusCode::kInvalidArgument),
              HasSubstr("ridge is 0"));
  options = {};
  options.sparsity.norm = 3;
  EXPECT_THAT(refusal(Sparsifier::Create(graph, pack, options), absl::StatusCode::kInvalidArgument),
              HasSubstr("norm is 3"));

  const auto sparsifier = MakeSparsifier(graph, pack);
  std::vector<SparseDecision> decisions = Everywhere(*sparsifier, Half(Granularity::kElement));
  decisions.push_back(decisions[0]);
  EXPECT_THAT(
      refusal(sparsifier->Sparsify(decisions, false, nullptr), absl::StatusCode::kInvalidArgument),
      HasSubstr(decisions[0].target + ": decided twice"));
  decisions.back().target = "nobody";
  EXPECT_THAT(
      refusal(sparsifier->Sparsify(decisions, false, nullptr), absl::StatusCode::kInvalidArgument),
      HasSubstr("layer nobody: no such weight among 6"));
  decisions = {Half(Granularity::kNM)};
  decisions[0].target = sparsifier->layers()[0].name;
  EXPECT_THAT(refusal(sparsifier->Sparsify(decisions, false, nullptr),
                      absl::StatusCode::kFailedPrecondition),
              HasSubstr("3 input channels are no multiple of 4"));
  decisions = Everywhere(*sparsifier, Half(Granularity::kElement));
  EXPECT_TRUE(MakeSparsifier(graph, empty)->Sparsify(decisions, false, nullptr).ok());
  EXPECT_THAT(refusal(MakeSparsifier(graph, empty)->Sparsify(decisions, true, nullptr),
                      absl::StatusCode::kFailedPrecondition),
              HasSubstr("has 0 images"));
}

}  // namespace
}  // namespace amc
