// Which space a job gets where it leaves residual paths or multiples of channels open.
#include "server/model_cache.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/file.h"
#include "env/graph/onnx_export.h"
#include "env/graph/zoo.h"
#include "gtest/gtest.h"
#include "server/job_spec.h"
#include "tests/env/cost/random_latency_table.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

class ResidualPathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    artifacts_ = *ArtifactStore::Open(folder_.path() + "/artifacts");
    models_ = std::make_unique<ModelCache>(
        artifacts_.get(), [](const std::string& table) -> absl::StatusOr<LatencyTable> {
          return absl::NotFoundError(table);
        });
    digest_ = *artifacts_->Put(*ExportOnnx(*BuildNetwork("resnet20", {.height = 8, .width = 8})));
  }

  EnvironmentSettings Settings(double ratio, v1::ResidualPath wanted) {
    v1::Budget budget;
    budget.set_ratio(ratio);
    v1::SpaceSpec space;
    space.set_residual_path(wanted);
    return *ResolveEnvironment(&budget, space, {});
  }

  v1::ResidualPath Decide(double ratio, v1::ResidualPath wanted = v1::RESIDUAL_PATH_UNSPECIFIED) {
    EnvironmentSettings settings = Settings(ratio, wanted);
    const absl::Status status = models_->DecideSpace(digest_, settings);
    EXPECT_TRUE(status.ok()) << status;
    return settings.space.residual_path();
  }

  TempDirectory folder_ = *TempDirectory::Create("amc-model-cache");
  std::unique_ptr<ArtifactStore> artifacts_;
  std::unique_ptr<ModelCache> models_;
  std::string digest_;
};

// The blocks' inner channels hold all of ResNet-20's MACs but those of the first and last layer, so
// that keeping a fifth of them (4 of 16, 7 of 32, 13 of 64) costs a little over 0.2.
TEST_F(ResidualPathTest, IsKeptWhereTheBudgetCanBeReachedSo) {
  EXPECT_EQ(Decide(0.5), v1::RESIDUAL_PATH_KEEP);
  EXPECT_EQ(Decide(0.27), v1::RESIDUAL_PATH_KEEP);
  EXPECT_EQ(Decide(0.2), v1::RESIDUAL_PATH_PRUNE);
}

TEST_F(ResidualPathTest, AnExplicitWishStands) {
  EXPECT_EQ(Decide(0.5, v1::RESIDUAL_PATH_PRUNE), v1::RESIDUAL_PATH_PRUNE);
  EXPECT_EQ(Decide(0.2, v1::RESIDUAL_PATH_KEEP), v1::RESIDUAL_PATH_KEEP);
}

TEST_F(ResidualPathTest, KeptGroupsAreNotAskedAbout) {
  for (const auto& [wanted, steps] :
       {std::pair(v1::RESIDUAL_PATH_KEEP, 9), std::pair(v1::RESIDUAL_PATH_PRUNE, 12)}) {
    const EnvironmentSettings settings = Settings(0.5, wanted);
    const auto env = models_->MakeEnvironment(digest_, settings);
    ASSERT_TRUE(env.ok()) << env.status();
    EXPECT_EQ((*env)->num_steps(), static_cast<size_t>(steps));
  }
}

TEST_F(ResidualPathTest, TargetOutOfReachIsRefusedWithTheSmallestOfAll) {
  EnvironmentSettings settings = Settings(1e-3, v1::RESIDUAL_PATH_UNSPECIFIED);
  ASSERT_TRUE(models_->DecideSpace(digest_, settings).ok());
  EXPECT_EQ(settings.space.residual_path(), v1::RESIDUAL_PATH_PRUNE);
  EXPECT_TRUE(absl::IsOutOfRange(models_->MakeEnvironment(digest_, settings).status()));
}

TEST_F(ResidualPathTest, NamesAModelThatIsNotThere) {
  EnvironmentSettings settings = Settings(0.5, v1::RESIDUAL_PATH_UNSPECIFIED);
  EXPECT_TRUE(absl::IsNotFound(models_->DecideSpace(std::string(64, '0'), settings)));
}

// Every layer takes the product of its channels: at one and at all of them, and in between too.
LatencyTable ProductTable(const Graph& graph) {
  const LatencyLayers layers = *ListLatencyLayers(graph, *BuildGroups(graph));
  const auto channels = layers.extents.channels();
  std::map<std::string, std::pair<int64_t, int64_t>> kinds;
  for (const LatencyLayer& layer : layers.layers) {
    auto& [in, out] = kinds[layer.kind];
    in = std::max(in, layers.extents.Length(layer.in, channels));
    out = std::max(out, layers.extents.Length(layer.out, channels));
  }
  LatencyTable table = testing::EmptyLatencyTable();
  for (const auto& [kind, most] : kinds) {
    for (const int64_t in : {int64_t{1}, most.first}) {
      for (const int64_t out : {int64_t{1}, most.second}) {
        table.rows.push_back({kind, in, out, static_cast<double>(in * out), 0});
      }
    }
  }
  return table;
}

class LatencySpaceTest : public ::testing::Test {
 protected:
  EnvironmentSettings Decided(const Graph& graph, double ratio,
                              std::optional<int64_t> multiple = std::nullopt,
                              v1::Resource resource = v1::RESOURCE_LATENCY,
                              v1::ResidualPath path = v1::RESIDUAL_PATH_UNSPECIFIED) {
    const auto artifacts = *ArtifactStore::Open(folder_.path() + "/artifacts");
    ModelCache models(artifacts.get(), [&](const std::string&) -> absl::StatusOr<LatencyTable> {
      return ProductTable(graph);
    });
    const std::string digest = *artifacts->Put(*ExportOnnx(graph));
    v1::Budget budget;
    budget.set_resource(resource);
    budget.set_ratio(ratio);
    v1::SpaceSpec space;
    if (multiple) space.set_channel_multiple(*multiple);
    space.set_residual_path(path);
    v1::LatencySpec latency;
    latency.set_table(std::string(64, 'a'));
    EnvironmentSettings settings = *ResolveEnvironment(&budget, space, latency);
    const absl::Status decided = models.DecideSpace(digest, settings);
    EXPECT_TRUE(decided.ok()) << decided;
    made_ = models.MakeEnvironment(digest, settings).status();
    return settings;
  }
  int64_t Multiple(const Graph& graph, double ratio, std::optional<int64_t> multiple = std::nullopt,
                   v1::Resource resource = v1::RESOURCE_LATENCY) {
    return Decided(graph, ratio, multiple, resource).space.channel_multiple();
  }

  TempDirectory folder_ = *TempDirectory::Create("amc-model-cache");
  absl::Status made_;  // of the environment in the space that was decided
};

Graph Resnet() { return *BuildNetwork("resnet20", {.height = 8, .width = 8}); }

TEST_F(LatencySpaceTest, KeepsMultiplesOfEightUnlessToldOtherwise) {
  EXPECT_EQ(Multiple(Resnet(), 0.7), 8);
  EXPECT_EQ(Multiple(Resnet(), 0.7, 3), 3);
  EXPECT_EQ(Multiple(Resnet(), 0.7, std::nullopt, v1::RESOURCE_MACS), 1);
}

// Inner groups of 16, 32 and 64 channels keep 8, 8 and 16 at least: 0.28 of the time that their
// layers take.
TEST_F(LatencySpaceTest, CutsResidualPathsBeforeItGivesMultiplesUp) {
  EnvironmentSettings settings = Decided(Resnet(), 0.7);
  EXPECT_EQ(settings.space.residual_path(), v1::RESIDUAL_PATH_KEEP);
  settings = Decided(Resnet(), 0.25);
  EXPECT_EQ(settings.space.residual_path(), v1::RESIDUAL_PATH_PRUNE);
  EXPECT_EQ(settings.space.channel_multiple(), 8);
  EXPECT_TRUE(made_.ok()) << made_;
}

// What can only just be reached in prediction may be out of reach in reality.
TEST_F(LatencySpaceTest, LeavesRoomForWhatPredictionsAreOffBy) {
  const auto kept = [&](double ratio) {
    return Decided(Resnet(), ratio).space.residual_path() == v1::RESIDUAL_PATH_KEEP;
  };
  double ratio = 0.7;
  while (kept(ratio)) ratio -= 0.01;
  for (const double reachable : {ratio, 0.95 * ratio}) {
    Decided(Resnet(), reachable, 8, v1::RESOURCE_LATENCY, v1::RESIDUAL_PATH_KEEP);
    EXPECT_TRUE(made_.ok()) << reachable << ": " << made_;
  }
  EXPECT_LT(ratio, 0.5);
}

TEST_F(LatencySpaceTest, ANetworkOfFewChannelsKeepsAnyCount) {
  testing::GraphBuilder b;
  TensorId x = b.Input({1, 3, 8, 8});
  for (int layer = 0; layer < 3; ++layer) x = b.Op("Relu", {b.Conv(x, 4)});
  b.Output(b.Op("Gemm", {b.Op("Flatten", {b.Op("GlobalAveragePool", {x})}), b.Floats({4, 4}),
                         b.Floats({4})}));
  EXPECT_EQ(Multiple(b.graph, 0.7), 1);
  EXPECT_TRUE(made_.ok()) << made_;
  // Said so, it stays, and there is nothing to prune.
  EXPECT_EQ(Multiple(b.graph, 0.7, 8), 8);
  EXPECT_TRUE(absl::IsFailedPrecondition(made_)) << made_;
}

}  // namespace
}  // namespace amc
