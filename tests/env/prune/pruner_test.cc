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

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::amc::testing::RandomPack;
using ::testing::HasSubstr;

std::vector<float> Logits(const Graph& graph, const DataPack& pack) {
  auto network = Network::Create(graph, {});
  EXPECT_TRUE(network.ok()) << network.status();
  const int64_t count = pack.size(Split::kReward);
  auto logits = (*network)->Run(pack.Images(Split::kReward, 0, count), count);
  EXPECT_TRUE(logits.ok()) << logits.status();
  return *logits;
}

// Root mean square of the difference, relative to the deviation of `expected`.
double RelativeError(const std::vector<float>& expected, const std::vector<float>& actual) {
  const auto n = static_cast<double>(expected.size());
  const double mean = std::accumulate(expected.begin(), expected.end(), 0.0) / n;
  double error = 0, spread = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(expected[i] - actual[i], 2);
    spread += std::pow(expected[i] - mean, 2);
  }
  return std::sqrt(error / spread);
}

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

void SetValues(Graph& graph, TensorId id, const std::vector<float>& values) {
  Tensor& tensor = graph.tensor(id);
  tensor = MakeFloats(tensor.name, tensor.shape, values);
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
  const std::vector<float> expected = Logits(graph, pack);
  const absl::StatusOr<Graph> pruned = pruner->Prune(kept, reconstruction, nullptr);
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  const absl::StatusOr<Graph> sliced = pruner->Prune(kept, Reconstruction::kNone, nullptr);
  ASSERT_TRUE(sliced.ok()) << sliced.status();
  EXPECT_GT(RelativeError(expected, Logits(*sliced, pack)), 0.1);
  EXPECT_LT(RelativeError(expected, Logits(*pruned, pack)), 2e-3);
}

INSTANTIATE_TEST_SUITE_P(All, RedundancyTest,
                         ::testing::Combine(::testing::Bool(),
                                            ::testing::Values(Reconstruction::kFast,
                                                              Reconstruction::kStrong)));

// The same network with its batch norms folded into the convolutions before them, by hand.
Graph Fold(const Graph& graph) {
  Graph folded = graph;
  for (size_t i = 1; i < graph.nodes.size(); ++i) {
    const Node& norm = graph.nodes[i];
    if (norm.op != Op::kBatchNormalization) continue;
    const Node& layer = graph.nodes[i - 1];
    std::vector<float> weight = *Values<float>(graph, layer.inputs[1]);
    std::vector<float> bias = *Values<float>(graph, layer.inputs[2]);
    const auto of = [&](size_t input, size_t c) {
      return (*Values<float>(graph, norm.inputs[input]))[c];
    };
    const size_t slice = weight.size() / bias.size();
    for (size_t c = 0; c < bias.size(); ++c) {
      const float scale = of(1, c) / std::sqrt(of(4, c) + 1e-5f);
      for (size_t k = 0; k < slice; ++k) weight[c * slice + k] *= scale;
      bias[c] = (bias[c] - of(3, c)) * scale + of(2, c);
    }
    SetValues(folded, layer.inputs[1], weight);
    SetValues(folded, layer.inputs[2], bias);
    folded.nodes[i].op_type = "Identity";
    folded.nodes[i].op = Op::kIdentity;
    folded.nodes[i].inputs.resize(1);
  }
  return folded;
}

// Stem and two residual blocks, batch norm everywhere.
Graph ResidualNetwork() {
  GraphBuilder b;
  TensorId x = b.Op("Relu", {b.BatchNorm(b.Conv(b.Input({kDynamic, 3, 8, 8}), 8, 3, 1, "stem"))});
  for (const std::string block : {"first", "second"}) {
    TensorId y = b.Op("Relu", {b.BatchNorm(b.Conv(x, 12, 3, 1, block + ".a"))});
    y = b.BatchNorm(b.Conv(y, 8, 3, 1, block + ".b"));
    x = b.Op("Relu", {b.Op("Add", {y, x})});
  }
  b.Head(x);
  return b.graph;
}

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
  const Graph graph = *Recalibrate(ResidualNetwork(), {&pack, 0, 400}, {});  // as if trained
  const auto pruner = MakePruner(graph, pack);
  const std::vector<float> expected = Logits(graph, pack);
  std::vector<double> errors;
  for (const Reconstruction reconstruction :
       {Reconstruction::kNone, Reconstruction::kFast, Reconstruction::kStrong}) {
    const absl::StatusOr<Graph> pruned = pruner->Prune(HalfInside(graph), reconstruction, nullptr);
    ASSERT_TRUE(pruned.ok()) << pruned.status();
    errors.push_back(RelativeError(expected, Logits(*pruned, pack)));
  }
  EXPECT_LT(errors[1], errors[0]);
  EXPECT_LT(errors[2], errors[1]);
}

TEST(PrunerTest, StrongReconstructionDoesNotCareWhetherBatchNormIsFolded) {
  const Graph graph = ResidualNetwork();
  const Graph folded = Fold(graph);
  const RandomPack pack(400, 3, 8, 2);
  ASSERT_LT(RelativeError(Logits(graph, pack), Logits(folded, pack)), 1e-4);
  PruneOptions options;
  options.recalibration_images = 0;
  const auto kept_norm =
      MakePruner(graph, pack, options)->Prune(HalfInside(graph), Reconstruction::kStrong, nullptr);
  const auto without = MakePruner(folded, pack, options)
                           ->Prune(HalfInside(folded), Reconstruction::kStrong, nullptr);
  ASSERT_TRUE(kept_norm.ok() && without.ok());
  EXPECT_LT(RelativeError(Logits(*kept_norm, pack), Logits(*without, pack)), 0.02);
}

TEST(PrunerTest, SaysWhetherTheResultIsRecalibrated) {
  const Graph original = ResidualNetwork();
  const RandomPack pack(400, 3, 8, 2);
  PruneOptions never;
  never.recalibration_images = 0;
  // With statistics that fit the images and with those that the network happens to have.
  for (const Graph& graph : {*Recalibrate(original, {&pack, 0, 400}, {}), original}) {
    const auto with = MakePruner(graph, pack), without = MakePruner(graph, pack, never);
    for (const Reconstruction reconstruction :
         {Reconstruction::kNone, Reconstruction::kFast, Reconstruction::kStrong}) {
      const auto a = with->Prune(HalfInside(graph), reconstruction, nullptr);
      const auto b = without->Prune(HalfInside(graph), reconstruction, nullptr);
      ASSERT_TRUE(a.ok() && b.ok());
      EXPECT_EQ(with->recalibrated(), Logits(*a, pack) != Logits(*b, pack));
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
  for (const Reconstruction reconstruction :
       {Reconstruction::kNone, Reconstruction::kFast, Reconstruction::kStrong}) {
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
  for (const Reconstruction reconstruction : {Reconstruction::kFast, Reconstruction::kStrong}) {
    const auto first = MakePruner(graph, pack)->Prune(HalfInside(graph), reconstruction, nullptr);
    const auto pruner = MakePruner(graph, pack);
    std::vector<int64_t> other = HalfInside(graph);
    other[0] = 1;  // what was pruned before leaves no trace
    ASSERT_TRUE(pruner->Prune(other, Reconstruction::kStrong, nullptr).ok());
    const auto second = pruner->Prune(HalfInside(graph), reconstruction, nullptr);
    ASSERT_TRUE(first.ok() && second.ok());
    EXPECT_EQ(Logits(*first, pack), Logits(*second, pack));
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
    for (const Reconstruction reconstruction : {Reconstruction::kFast, Reconstruction::kStrong}) {
      const auto pruned = MakePruner(*graph, pack, options)->Prune(kept, reconstruction, nullptr);
      ASSERT_TRUE(pruned.ok()) << name << ": " << pruned.status();
      for (const float logit : Logits(*pruned, pack)) ASSERT_TRUE(std::isfinite(logit)) << name;
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

TEST(RecalibrationTest, OutputsOfTheLastBatchNormHaveItsMeanAndDeviation) {
  // One batch norm on the input with scale 2 and shift -1: afterwards mean -1, deviation 2.
  GraphBuilder b;
  const TensorId x = b.Input({kDynamic, 3, 8, 8});
  b.Output(b.BatchNorm(x));
  const Node norm = b.graph.nodes[0];
  SetValues(b.graph, norm.inputs[1], {2, 2, 2});
  SetValues(b.graph, norm.inputs[2], {-1, -1, -1});
  const RandomPack pack(150, 3, 8, 2);
  const absl::StatusOr<Graph> graph = Recalibrate(b.graph, {&pack, 10, 130}, {});
  ASSERT_TRUE(graph.ok()) << graph.status();
  const std::vector<float> images = pack.Images(Split::kReconstruction, 10, 130);
  for (size_t c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (size_t n = 0; n < 130; ++n) {
      for (size_t i = 0; i < 64; ++i) {
        const double value = images[(n * 3 + c) * 64 + i];
        sum += value;
        squares += value * value;
      }
    }
    const double mean = sum / (130 * 64);
    EXPECT_NEAR((*Values<float>(*graph, norm.inputs[3]))[c], mean, 1e-5);
    EXPECT_NEAR((*Values<float>(*graph, norm.inputs[4]))[c], squares / (130 * 64) - mean * mean,
                1e-4);
  }
  EXPECT_EQ(*Values<float>(*graph, norm.inputs[1]), (std::vector<float>{2, 2, 2}));
}

TEST(RecalibrationTest, AgainstItselfChangesNothing) {
  // The running statistics are far from those of the images, and stay so.
  const Graph graph = ResidualNetwork();
  const Grouping grouping = *BuildGroups(graph);
  const RandomPack pack(50, 3, 8, 2);
  ChannelSelection selection;
  for (const PruneGroup& group : grouping.groups) {
    selection.emplace_back(group.channels);
    std::iota(selection.back().begin(), selection.back().end(), 0);
  }
  const CalibrationSet images{&pack, 0, 50};
  const absl::StatusOr<ReferenceMoments> reference = MeasureReference(graph, images, {});
  ASSERT_TRUE(reference.ok()) << reference.status();
  const absl::StatusOr<Graph> same =
      RecalibrateAgainst(graph, grouping, selection, *reference, graph, images, {});
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_LT(RelativeError(Logits(graph, pack), Logits(*same, pack)), 1e-4);
  EXPECT_EQ(RecalibrateAgainst(graph, grouping, selection, {}, graph, images, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

class ScaledLayerTest : public ::testing::TestWithParam<bool> {};

TEST_P(ScaledLayerTest, IsMadeUpForWithBatchNormKeptOrFolded) {
  // Doubling a convolution's weights and bias doubles what batch norm reads.
  const Graph graph = GetParam() ? Fold(ResidualNetwork()) : ResidualNetwork();
  const Grouping grouping = *BuildGroups(graph);
  const RandomPack pack(50, 3, 8, 2);
  Graph scaled = graph;
  for (const TensorId id : {graph.nodes[0].inputs[1], graph.nodes[0].inputs[2]}) {
    std::vector<float> values = *Values<float>(graph, id);
    for (float& value : values) value *= 2;
    SetValues(scaled, id, values);
  }
  ChannelSelection selection;
  for (const PruneGroup& group : grouping.groups) {
    selection.emplace_back(group.channels);
    std::iota(selection.back().begin(), selection.back().end(), 0);
  }
  const CalibrationSet images{&pack, 0, 50};
  const absl::StatusOr<Graph> matched = RecalibrateAgainst(
      graph, grouping, selection, *MeasureReference(graph, images, {}), scaled, images, {});
  ASSERT_TRUE(matched.ok()) << matched.status();
  const std::vector<float> expected = Logits(graph, pack);
  EXPECT_GT(RelativeError(expected, Logits(scaled, pack)), 0.1);
  EXPECT_LT(RelativeError(expected, Logits(*matched, pack)), 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Folded, ScaledLayerTest, ::testing::Bool());

}  // namespace
}  // namespace amc
