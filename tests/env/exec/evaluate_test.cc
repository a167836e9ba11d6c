// Quality figures on a network whose logits are its input, against figures worked out by hand.
#include "env/exec/evaluate.h"

#include <cmath>
#include <limits>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::testing::HasSubstr;

// Six classes, one pixel each; the logits are the pixels.
constexpr int64_t kClasses = 6;

std::unique_ptr<DataPack> MakePack(const std::string& path, const std::vector<uint8_t>& pixels,
                                   const std::vector<int32_t>& labels) {
  PackContents contents;
  contents.images.channels = 1;
  contents.images.height = 1;
  contents.images.width = kClasses;
  contents.images.pixels = pixels;
  contents.images.labels = labels;
  contents.images.class_names = {"a", "b", "c", "d", "e", "f"};
  contents.split_sizes[static_cast<int>(Split::kReward)] = static_cast<int64_t>(labels.size());
  contents.preprocessing = {{0}, {1.0F / 255}};
  EXPECT_TRUE(WriteFileAtomically(path, SerializePack(contents).value()).ok());
  return DataPack::Open(path).value();
}

Graph PixelsAreLogits() {
  GraphBuilder builder;
  builder.Output(builder.Op("Flatten", {builder.Input({kDynamic, 1, 1, kClasses})}));
  return builder.graph;
}

class EvaluateTest : public ::testing::Test {
 protected:
  EvaluateTest() : directory_(TempDirectory::Create()) {}
  std::string path() const { return directory_->path() + "/x.pack"; }
  absl::StatusOr<TempDirectory> directory_;
};

TEST(MeanKlTest, AveragesOverRows) {
  const float a = std::log(3.0F);
  // (3/4, 1/4) against (1/2, 1/2), and a row against itself.
  const std::vector<float> reference = {a, 0, 5, 7};
  const std::vector<float> other = {2, 2, 6, 8};
  const double kl = 0.75 * std::log(1.5) + 0.25 * std::log(0.5);
  EXPECT_NEAR(MeanKl(reference, other, 2), kl / 2, 1e-7);
  EXPECT_EQ(MeanKl(reference, reference, 2), 0);
}

TEST_F(EvaluateTest, CountsHitsAndBreaksTiesByIndex) {
  const auto pack = MakePack(path(), {0, 9, 0, 0, 0, 0,   // 1 is first
                                      5, 5, 0, 0, 0, 0,   // a tie: 0 before 1
                                      5, 5, 0, 0, 0, 0,   // a tie
                                      1, 2, 3, 4, 5, 6},  // 0 is last of six
                             {1, 0, 1, 0});
  const auto quality = Evaluate(PixelsAreLogits(), *pack, Split::kReward, {});
  ASSERT_TRUE(quality.ok()) << quality.status();
  EXPECT_EQ(quality->images, 4);
  EXPECT_DOUBLE_EQ(quality->top1, 2.0 / 4);
  EXPECT_DOUBLE_EQ(quality->top5, 3.0 / 4);
}

TEST_F(EvaluateTest, LossAndKlAreMeansInNats) {
  const auto pack = MakePack(path(), {0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0}, {2, 1});
  std::vector<float> reference(12, 0.0F);  // uniform for both images
  EvaluateOptions options;
  options.reference_logits = reference;
  std::vector<float> logits;
  options.logits = &logits;
  const auto quality = Evaluate(PixelsAreLogits(), *pack, Split::kReward, options);
  ASSERT_TRUE(quality.ok()) << quality.status();
  const double log_sum = std::log(5 + std::exp(3.0));
  EXPECT_NEAR(quality->loss, (std::log(6.0) + log_sum - 3) / 2, 1e-6);
  // KL(uniform || q) = -log 6 - mean log q, the first image's being 0.
  EXPECT_NEAR(quality->kl, (-std::log(6.0) - 3.0 / 6 + log_sum) / 2, 1e-6);
  const double soft_sum = std::log(5 + std::exp(1.5));  // at temperature 2
  EXPECT_NEAR(quality->soft_kl, 4 * (-std::log(6.0) - 1.5 / 6 + soft_sum) / 2, 1e-6);
  EXPECT_THAT(logits, ::testing::Pointwise(::testing::FloatNear(1e-6F),
                                           {0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0}));
  reference = logits;
  options.reference_logits = reference;
  EXPECT_NEAR(Evaluate(PixelsAreLogits(), *pack, Split::kReward, options)->kl, 0, 1e-12);
}

TEST_F(EvaluateTest, TellsWhatBecameOfEachImage) {
  const auto pack =
      MakePack(path(), {0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0}, {2, 1, 0});
  const std::vector<float> reference(18, 0.0F);                    // uniform
  std::vector<ImageOutcome> outcomes = {{.top1 = true, .kl = 9}};  // is replaced
  EvaluateOptions options;
  options.exec.batch_size = 2;
  options.outcomes = &outcomes;
  ASSERT_TRUE(Evaluate(PixelsAreLogits(), *pack, Split::kReward, options).ok());
  ASSERT_EQ(outcomes.size(), 3u);
  EXPECT_EQ(outcomes[1].kl, 0);  // to nothing
  options.reference_logits = reference;
  const auto quality = Evaluate(PixelsAreLogits(), *pack, Split::kReward, options);
  ASSERT_EQ(outcomes.size(), 3u);
  EXPECT_FALSE(outcomes[0].top1);  // a tie: 0 stands first
  EXPECT_TRUE(outcomes[1].top1);
  EXPECT_FALSE(outcomes[2].top1);
  const double kl = std::log(5 + std::exp(3.0)) - 3.0 / 6 - std::log(6.0);
  EXPECT_NEAR(outcomes[0].kl, 0, 1e-12);
  EXPECT_NEAR(outcomes[1].kl, kl, 1e-6);
  EXPECT_NEAR(outcomes[2].kl, kl, 1e-6);
  EXPECT_DOUBLE_EQ(quality->kl, (outcomes[0].kl + outcomes[1].kl + outcomes[2].kl) / 3);
  EXPECT_DOUBLE_EQ(quality->top1, 1.0 / 3);
}

TEST_F(EvaluateTest, BatchesAndLimits) {
  std::vector<uint8_t> pixels(7 * kClasses, 0);
  for (size_t i = 0; i < 7; ++i) pixels[i * kClasses + i % 3] = 1;
  const auto pack = MakePack(path(), pixels, {0, 1, 2, 0, 5, 5, 5});
  EvaluateOptions options;
  options.exec.batch_size = 3;
  std::vector<int64_t> done;
  options.progress = [&](int64_t now, int64_t total) {
    EXPECT_EQ(total, 7);
    done.push_back(now);
  };
  EXPECT_DOUBLE_EQ(Evaluate(PixelsAreLogits(), *pack, Split::kReward, options)->top1, 4.0 / 7);
  EXPECT_THAT(done, ::testing::ElementsAre(3, 6, 7));
  options.progress = nullptr;
  options.max_images = 4;
  EXPECT_DOUBLE_EQ(Evaluate(PixelsAreLogits(), *pack, Split::kReward, options)->top1, 1);
}

TEST_F(EvaluateTest, DivergedNetworksAreNeverRight) {
  GraphBuilder builder;
  const TensorId x = builder.Op("Flatten", {builder.Input({kDynamic, 1, 1, kClasses})});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const TensorId c = builder.graph.AddTensor(MakeFloats("nan", {1}, {nan}));
  builder.Output(builder.Op("Mul", {x, c}));
  const auto pack = MakePack(path(), {1, 0, 0, 0, 0, 0}, {0});
  const auto quality = Evaluate(builder.graph, *pack, Split::kReward, {});
  ASSERT_TRUE(quality.ok()) << quality.status();
  EXPECT_EQ(quality->top1, 0);
  EXPECT_EQ(quality->top5, 0);
}

TEST_F(EvaluateTest, CountsImagesWhoseLogitsAreNotFinite) {
  GraphBuilder builder;
  const TensorId pixels = builder.Op("Flatten", {builder.Input({kDynamic, 1, 1, kClasses})});
  const TensorId large = builder.graph.AddTensor(MakeFloats("large", {1}, {2e36F}));
  builder.Output(builder.Op("Mul", {pixels, large}));  // 171 and above overflow
  const auto pack = MakePack(path(),
                             {170, 0, 0, 0, 0, 0,  //
                              0, 0, 171, 0, 0, 0,  //
                              0, 255, 0, 0, 0, 200},
                             {0, 0, 0});
  const auto quality = Evaluate(builder.graph, *pack, Split::kReward, {});
  ASSERT_TRUE(quality.ok()) << quality.status();
  EXPECT_EQ(quality->not_finite, 2);
  EXPECT_EQ(DescribeNotFinite(*quality, Split::kReward),
            "the logits of 2 of 3 reward images are not finite");
  const auto finite = Evaluate(PixelsAreLogits(), *pack, Split::kReward, {});
  EXPECT_EQ(finite->not_finite, 0);
  EXPECT_EQ(DescribeNotFinite(*finite, Split::kReward), "");
}

TEST_F(EvaluateTest, RefusesWhatDoesNotFit) {
  const auto pack = MakePack(path(), {1, 0, 0, 0, 0, 0}, {0});
  const auto expect_refused = [&](const absl::StatusOr<Quality>& quality,
                                  const std::string& message) {
    EXPECT_EQ(quality.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(quality.status().message()), HasSubstr(message));
  };
  GraphBuilder image;
  image.Output(image.Op("Flatten", {image.Input({kDynamic, 3, 1, 2})}));
  expect_refused(Evaluate(image.graph, *pack, Split::kReward, {}),
                 "network input input is Nx3x1x2, the data pack's images are 1x1x6");
  GraphBuilder classes;
  classes.Head(classes.Conv(classes.Input({kDynamic, 1, 1, kClasses}), 3));
  expect_refused(Evaluate(classes.graph, *pack, Split::kReward, {}),
                 "the network gives 2 classes, the data pack has 6");
  expect_refused(Evaluate(PixelsAreLogits(), *pack, Split::kReport, {}), "split report is empty");
  const std::vector<float> reference(5);
  EvaluateOptions options;
  options.reference_logits = reference;
  expect_refused(Evaluate(PixelsAreLogits(), *pack, Split::kReward, options),
                 "5 reference logits for 1 images of 6 classes");
}

}  // namespace
}  // namespace amc
