// Which space a job gets where it leaves the residual path open.
#include "server/model_cache.h"

#include <string>

#include "base/file.h"
#include "env/graph/onnx_export.h"
#include "env/graph/zoo.h"
#include "gtest/gtest.h"
#include "server/job_spec.h"

namespace amc {
namespace {

class ResidualPathTest : public testing::Test {
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
    const absl::Status status = models_->DecideResidualPath(digest_, settings);
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
  ASSERT_TRUE(models_->DecideResidualPath(digest_, settings).ok());
  EXPECT_EQ(settings.space.residual_path(), v1::RESIDUAL_PATH_PRUNE);
  EXPECT_TRUE(absl::IsOutOfRange(models_->MakeEnvironment(digest_, settings).status()));
}

TEST_F(ResidualPathTest, NamesAModelThatIsNotThere) {
  EnvironmentSettings settings = Settings(0.5, v1::RESIDUAL_PATH_UNSPECIFIED);
  EXPECT_TRUE(absl::IsNotFound(models_->DecideResidualPath(std::string(64, '0'), settings)));
}

}  // namespace
}  // namespace amc
