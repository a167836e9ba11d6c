// Pruner from end to end, on small networks whose right answer is known.
#include "env/prune/pruner.h"

#include <cmath>
#include <numeric>

#include "env/cost/policy.h"
#include "env/exec/network.h"
#include "env/graph/zoo.h"
#include "env/prune/recalibration.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"
#include "tests/env/prune/random_pack.h"
#include "tests/env/prune/small_networks.h"

namespace amc {
namespace {

using ::amc::testing::FoldBatchNorm;
using ::amc::testing::GraphBuilder;
using ::amc::testing::RandomPack;
using ::amc::testing::RelativeError;
using ::amc::testing::ResidualNetwork;
using ::amc::testing::RewardLogits;
using ::amc::testing::SetValues;
using ::testing::HasSubstr;

std::unique_ptr<Pruner> MakePruner(const Graph& graph, const DataPack& pack,
                                   PruneOptions options = {}) {
  const absl::StatusOr<Grouping> grouping = BuildGroups(graph);
  EXPECT_TRUE(grouping.ok()) << grouping.status();
  auto pruner = Pruner::Create(graph, *grouping, pack, options);
  EXPECT_TRUE(pruner.ok()) << pruner.status();
  return *std::move(pruner);
}

std::vector<int64_t> Whole(const Graph& graph) {
  std::vector<int64_t> kept;
  const Grouping grouping = *BuildGroups(graph);
  for (const PruneGroup& group : grouping.groups) kept.push_back(group.channels);
  return kept;
}

// Stem -> a -> b -> head, where the second half of a's channels repeat the first half, scaled.
Graph RedundantNetwork(bool batch_norm) {
  GraphBuilder b;
  const TensorId stem = b.Op("Relu", {b.Conv(b.Input({kDynamic, 3, 8, 8}), 6, 3, 1, "stem")});
  TensorId a = b.Conv(stem, 8, 3, 1, "a");
  const Node layer = b.graph.nodes.back();
  if (batch_norm) a = b.BatchNorm(a);
  const Node norm = b.graph.nodes.back();
  b.Head(b.Op("Relu", {b.Conv(b.Op("Relu", {a}), 6, 3, 1, "b")}));
  const auto repeat = [&](TensorId id, float factor) {
    std::vector<float> values = *Values<float>(b.graph, id);
    const size_t half = values.size() / 2;
    for (size_t i = 0; i < half; ++i) values[half + i] = factor * values[i];
    SetValues(b.graph, id, values);
  };
  repeat(layer.inputs[1], batch_norm ? 1 : 2);
  repeat(layer.inputs[2], batch_norm ? 1 : 2);
  if (batch_norm) {
    repeat(norm.inputs[1], 2);
    repeat(norm.inputs[2], 2);
    repeat(norm.inputs[3], 1);
  }
  return b.graph;
}

class RedundancyTest : public ::testing::TestWithParam<std::tuple<bool, Reconstruction>> {};

TEST_P(RedundancyTest, RepeatedChannelsAreRebuiltFromWhatTheyRepeat) {
  const auto [batch_norm, reconstruction] = GetParam();
  const Graph graph = RedundantNetwork(batch_norm);
  const RandomPack pack(300, 3, 8, 2);
  PruneOptions options;
  options.ridge = 1e-7;
  options.recalibration_images = 0;  // its statistics would be those of other images
  const auto pruner = MakePruner(graph, pack, options);
  const Grouping grouping = *BuildGroups(graph);
  std::vector<int64_t> kept = Whole(graph);
  for (size_t g = 0; g < kept.size(); ++g) {
    if (graph.node(grouping.groups[g].producers[0]).name == "a") kept[g] = 4;
  }
  const std::vector<float> expected = RewardLogits(graph, pack);
  const absl::StatusOr<Graph> pruned = pruner->Prune(kept, reconstruction, nullptr);
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  const absl::StatusOr<Graph> sliced = pruner->Prune(kept, Reconstruction::kNone, nullptr);
  ASSERT_TRUE(sliced.ok()) << sliced.status();
  EXPECT_GT(RelativeError(expected, RewardLogits(*sliced, pack)), 0.1);
  EXPECT_LT(RelativeError(expected, RewardLogits(*pruned, pack)), 2e-3);
}

INSTANTIATE_TEST_SUITE_P(All, RedundancyTest,
                         ::testing::Combine(::testing::Bool(),
                                            ::testing::Values(Reconstruction::kFast,
                                                              Reconstruction::kSampled,
                                                              Reconstruction::kStrong)));

std::vector<int64_t> HalfInside(const Graph& graph) {
  const Grouping grouping = *BuildGroups(graph);
  std::vector<int64_t> kept;
  for (const PruneGroup& group : grouping.groups) {
    kept.push_back(group.producers.size() == 1 ? group.channels / 2 : group.channels);
  }
  return kept;
}

TEST(PrunerTest, EachReconstructionIsBetterThanTheOneBefore) {
  const RandomPack pack(400, 3, 8, 2);
  const Graph graph = Recalibrate(ResidualNetwork(), {&pack, 0, 400}, {})->graph;  // as if trained
  const auto pruner = MakePruner(graph, pack);
  const std::vector<float> expected = RewardLogits(graph, pack);
  std::vector<double> errors;
  for (const Reconstruction reconstruction : {Reconstruction::kNone, Reconstruction::kFast,
                                              Reconstruction::kSampled, Reconstruction::kStrong}) {
    const absl::StatusOr<Graph> pruned = pruner->Prune(HalfInside(graph), reconstruction, nullptr);
    ASSERT_TRUE(pruned.ok()) << pruned.status();
    errors.push_back(RelativeError(expected, RewardLogits(*pruned, pack)));
  }
  EXPECT_LT(errors[1], errors[0]);
  EXPECT_LT(errors[2], errors[1]);
  EXPECT_LT(errors[3], errors[2]);
}

TEST(PrunerTest, StrongReconstructionDoesNotCareWhetherBatchNormIsFolded) {
  const Graph graph = ResidualNetwork();
  const Graph folded = FoldBatchNorm(graph);
  const RandomPack pack(400, 3, 8, 2);
  ASSERT_LT(RelativeError(RewardLogits(graph, pack), RewardLogits(folded, pack)), 1e-4);
  PruneOptions options;
  options.recalibration_images = 0;
  const auto kept_norm =
      MakePruner(graph, pack, options)->Prune(HalfInside(graph), Reconstruction::kStrong, nullptr);
  const auto without = MakePruner(folded, pack, options)
                           ->Prune(HalfInside(folded), Reconstruction::kStrong, nullptr);
  ASSERT_TRUE(kept_norm.ok() && without.ok());
  EXPECT_LT(RelativeError(RewardLogits(*kept_norm, pack), RewardLogits(*without, pack)), 0.02);
}

TEST(PrunerTest, SaysWhetherTheResultIsRecalibrated) {
  const Graph original = ResidualNetwork();
  const RandomPack pack(400, 3, 8, 2);
  PruneOptions never;
  never.recalibration_images = 0;
  // With statistics that fit the images and with those that the network happens to have.
  for (const Graph& graph : {Recalibrate(original, {&pack, 0, 400}, {})->graph, original}) {
    const auto with = MakePruner(graph, pack), without = MakePruner(graph, pack, never);
    for (const Reconstruction reconstruction :
         {Reconstruction::kNone, Reconstruction::kFast, Reconstruction::kSampled,
          Reconstruction::kStrong}) {
      const auto a = with->Prune(HalfInside(graph), reconstruction, nullptr);
      const auto b = without->Prune(HalfInside(graph), reconstruction, nullptr);
      ASSERT_TRUE(a.ok() && b.ok());
      EXPECT_EQ(with->recalibrated(), RewardLogits(*a, pack) != RewardLogits(*b, pack));
      EXPECT_FALSE(without->recalibrated());
    }
    ASSERT_TRUE(with->Prune(Whole(graph), Reconstruction::kFast, nullptr).ok());
    EXPECT_FALSE(with->recalibrated());
  }
}

TEST(PrunerTest, KeepingEverythingReturnsTheSameBits) {
  const Graph graph = ResidualNetwork();
  const RandomPack pack(64, 3, 8, 2);
  const auto pruner = MakePruner(graph, pack);
  for (const Reconstruction reconstruction : {Reconstruction::kNone, Reconstruction::kFast,
                                              Reconstruction::kSampled, Reconstruction::kStrong}) {
    const absl::StatusOr<Graph> same = pruner->Prune(Whole(graph), reconstruction, nullptr);
    ASSERT_TRUE(same.ok()) << same.status();
    for (size_t t = 0; t < graph.tensors.size(); ++t) {
      EXPECT_EQ(same->tensors[t].data, graph.tensors[t].data);
    }
  }
}

TEST(PrunerTest, TheSameArgumentsGiveTheSameBits) {
  const Graph graph = ResidualNetwork();
  const RandomPack pack(100, 3, 8, 2);
  for (const Reconstruction reconstruction :
       {Reconstruction::kFast, Reconstruction::kSampled, Reconstruction::kStrong}) {
    const auto first = MakePruner(graph, pack)->Prune(HalfInside(graph), reconstruction, nullptr);
    const auto pruner = MakePruner(graph, pack);
    std::vector<int64_t> other = HalfInside(graph);
    other[0] = 1;  // what was pruned before leaves no trace
    ASSERT_TRUE(pruner->Prune(other, reconstruction, nullptr).ok());
    std::vector<int64_t> last = Whole(graph);
    last.back() = 1;  // all but the end starts at a cut
    ASSERT_TRUE(pruner->Prune(last, reconstruction, nullptr).ok());
    const auto second = pruner->Prune(HalfInside(graph), reconstruction, nullptr);
    ASSERT_TRUE(first.ok() && second.ok());
    EXPECT_EQ(RewardLogits(*first, pack), RewardLogits(*second, pack));
  }
}

TEST(PrunerTest, EveryZooNetworkCanBePrunedInEveryGroup) {
  for (const char* name : {"resnet20", "mobilenetv1", "mobilenetv2", "vgg-small"}) {
    ZooOptions zoo;
    zoo.seed = 3;
    const absl::StatusOr<Graph> graph = BuildNetwork(name, zoo);
    ASSERT_TRUE(graph.ok()) << graph.status();
    const RandomPack pack(40, 3, 32, 10);
    PruneOptions options;
    options.criterion = Criterion::kL1;
    options.samples_per_layer = 400;
    options.reconstruction_images = 16;
    options.recalibration_images = 8;
    std::vector<int64_t> kept = Whole(*graph);
    for (int64_t& count : kept) count = std::max<int64_t>(1, count / 2);
    for (const Reconstruction reconstruction :
         {Reconstruction::kFast, Reconstruction::kSampled, Reconstruction::kStrong}) {
      const auto pruned = MakePruner(*graph, pack, options)->Prune(kept, reconstruction, nullptr);
      ASSERT_TRUE(pruned.ok()) << name << ": " << pruned.status();
      for (const float logit : RewardLogits(*pruned, pack))
        ASSERT_TRUE(std::isfinite(logit)) << name;
    }
  }
}

TEST(PrunerTest, RefusesWhatDoesNotFit) {
  const Graph graph = ResidualNetwork();
  const Grouping grouping = *BuildGroups(graph);
  const RandomPack pack(16, 3, 8, 2), larger(16, 3, 9, 2), empty(0, 3, 8, 2);
  const absl::Status shape = Pruner::Create(graph, grouping, larger, {}).status();
  EXPECT_EQ(shape.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(shape.message()), HasSubstr("Nx3x8x8, the images are Nx3x9x9"));
  PruneOptions options;
  options.ridge = 0;
  EXPECT_THAT(std::string(Pruner::Create(graph, grouping, pack, options).status().message()),
              HasSubstr("ridge is 0"));

  const auto pruner = MakePruner(graph, pack);
  std::vector<int64_t> kept = Whole(graph);
  EXPECT_EQ(pruner->Prune({}, Reconstruction::kFast, nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
  kept[0] += 1;
  const absl::Status over = pruner->Prune(kept, Reconstruction::kFast, nullptr).status();
  EXPECT_EQ(over.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(over.message()), HasSubstr(grouping.groups[0].name));
  EXPECT_EQ(MakePruner(graph, empty)
                ->Prune(HalfInside(graph), Reconstruction::kFast, nullptr)
                .status()
                .code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace amc
