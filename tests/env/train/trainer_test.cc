// The trainer: schedule, augmentation, learning, repeatability, and equality with PyTorch.
#include "env/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "env/graph/onnx_import.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"
#include "tests/golden/pytorch.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Noise with a bright quarter; the label is which of the four.
ImageSet Quarters(int64_t count, uint64_t seed) {
  ImageSet set;
  set.channels = 1;
  set.height = set.width = 8;
  set.class_names = {"upper left", "upper right", "lower left", "lower right"};
  Rng rng(seed);
  for (int64_t i = 0; i < count; ++i) {
    const auto label = static_cast<int32_t>(rng.Below(4));
    set.labels.push_back(label);
    for (int y = 0; y < 8; ++y) {
      for (int x = 0; x < 8; ++x) {
        const bool bright = y / 4 * 2 + x / 4 == label;
        set.pixels.push_back(static_cast<uint8_t>(rng.Below(120) + (bright ? 100 : 0)));
      }
    }
  }
  return set;
}

Graph SmallNetwork(bool batch_norm = true) {
  GraphBuilder builder;
  TensorId x = builder.Conv(builder.Input({kDynamic, 1, 8, 8}), 8);
  if (batch_norm) x = builder.BatchNorm(x);
  x = builder.Op(
      "MaxPool", {builder.Op("Relu", {x})},
      {{"kernel_shape", std::vector<int64_t>{4, 4}}, {"strides", std::vector<int64_t>{4, 4}}});
  builder.Output(builder.Linear(builder.Op("Flatten", {x}), 4));
  return builder.graph;
}

const Preprocessing kPreprocessing = {{0.3F}, {0.2F}};

TrainOptions QuickOptions() {
  TrainOptions options;
  options.epochs = 4;
  options.batch_size = 32;
  options.augmentation = {.crop_padding = 0, .flip = false};
  return options;
}

TEST(TrainerTest, ScheduleRisesThenFollowsACosine) {
  TrainOptions options;
  options.learning_rate = 0.4;
  options.warmup_epochs = 2;
  const auto rate = [&](int64_t step) { return ScheduledLearningRate(options, step, 100, 10); };
  EXPECT_GT(rate(0), 0);
  EXPECT_NEAR(rate(9), 0.4 * 10 / 21, 1e-12);
  EXPECT_DOUBLE_EQ(rate(20), 0.4);
  EXPECT_NEAR(rate(60), 0.2, 1e-12);
  EXPECT_LT(rate(99), 0.001);
  for (int64_t step = 1; step < 100; ++step) {
    EXPECT_EQ(rate(step) > rate(step - 1), step <= 20) << step;
  }
}

TEST(TrainerTest, LearnsFromScratch) {
  TrainCallbacks callbacks;
  std::vector<double> losses;
  int64_t reports = 0;
  callbacks.on_progress = [&](const TrainProgress& progress) {
    EXPECT_EQ(progress.epochs, 4);
    EXPECT_EQ(progress.steps, 16);
    EXPECT_GE(progress.seconds_left, 0);
    ++reports;
    return absl::OkStatus();
  };
  callbacks.on_epoch = [&](int64_t epoch, const EpochSummary& summary) {
    EXPECT_EQ(epoch, static_cast<int64_t>(losses.size()) + 1);
    losses.push_back(summary.loss);
    return absl::OkStatus();
  };
  const Graph graph = SmallNetwork();
  const auto result =
      Train(graph, Quarters(512, 1), Quarters(200, 2), kPreprocessing, QuickOptions(), callbacks);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->test_accuracy, 0.95);
  EXPECT_LT(losses.back(), losses.front() / 3);
  EXPECT_EQ(reports, 4);
  EXPECT_EQ(result->epochs.size(), 4);
  EXPECT_EQ(result->graph.nodes.size(), graph.nodes.size());
}

TEST(TrainerTest, TunesNetworksWithoutBatchNorms) {
  const Graph graph = SmallNetwork(/*batch_norm=*/false);
  const auto result =
      Train(graph, Quarters(512, 1), Quarters(200, 2), kPreprocessing, QuickOptions(), {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->test_accuracy, 0.95);
  const TensorId bias = graph.nodes[0].inputs[2];
  EXPECT_NE(Values<float>(graph, bias).value(), Values<float>(result->graph, bias).value());
}

TEST(TrainerTest, SameSeedSameWeights) {
  TuneProcess(1);
  const auto weights = [&](uint64_t seed) {
    TrainOptions options = QuickOptions();
    options.epochs = 1;
    options.seed = seed;
    options.augmentation = {.crop_padding = 1, .flip = true};
    const auto result =
        Train(SmallNetwork(), Quarters(128, 1), Quarters(8, 2), kPreprocessing, options, {});
    EXPECT_TRUE(result.ok()) << result.status();
    return Values<float>(result->graph, result->graph.nodes[0].inputs[1]).value();
  };
  EXPECT_EQ(weights(3), weights(3));
  EXPECT_NE(weights(3), weights(4));
}

TEST(TrainerTest, TestsDoNotDisturbTraining) {
  const auto weights = [&](int64_t test_every) {
    TrainOptions options = QuickOptions();
    options.epochs = 2;
    options.test_every = test_every;
    options.augmentation = {.crop_padding = 1, .flip = true};
    const auto result =
        Train(SmallNetwork(), Quarters(128, 1), Quarters(8, 2), kPreprocessing, options, {});
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->epochs[0].test_accuracy < 0, test_every == 0);
    return Values<float>(result->graph, result->graph.nodes[0].inputs[1]).value();
  };
  EXPECT_EQ(weights(0), weights(1));
}

TEST(TrainerTest, WorksWithoutTestImages) {
  const auto result =
      Train(SmallNetwork(), Quarters(64, 1), ImageSet(), kPreprocessing, QuickOptions(), {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->test_accuracy, -1);
}

TEST(TrainerTest, ACallbacksErrorStopsTheTraining) {
  TrainCallbacks callbacks;
  callbacks.on_epoch = [](int64_t, const EpochSummary&) {
    return absl::CancelledError("interrupted");
  };
  const auto result = Train(SmallNetwork(), Quarters(64, 1), Quarters(8, 2), kPreprocessing,
                            QuickOptions(), callbacks);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
}

TEST(TrainerTest, StoppedItGivesTheLastFinishedEpoch) {
  const ImageSet train = Quarters(128, 1), test = Quarters(64, 2);  // 4 steps an epoch
  const auto stop_before = [&](int64_t step) {
    int64_t asked = 0;
    TrainCallbacks callbacks;
    callbacks.should_stop = [&asked, step] { return ++asked > step; };
    return Train(SmallNetwork(), train, test, kPreprocessing, QuickOptions(), callbacks);
  };
  const auto early = stop_before(8), late = stop_before(11), next = stop_before(12);
  ASSERT_TRUE(early.ok() && late.ok() && next.ok());
  EXPECT_EQ(early->epochs.size(), 2u);
  EXPECT_EQ(early->test_accuracy, early->epochs[1].test_accuracy);
  EXPECT_EQ(next->epochs.size(), 3u);
  const auto weights = [](const TrainResult& result) {
    return Values<float>(result.graph, result.graph.nodes[0].inputs[1]).value();
  };
  EXPECT_EQ(weights(*early), weights(*late));
  EXPECT_NE(weights(*early), weights(*next));
  EXPECT_TRUE(absl::IsCancelled(stop_before(3).status()));
}

TEST(TrainerTest, DivergenceIsReported) {
  TrainOptions options = QuickOptions();
  options.learning_rate = 1e30;
  options.warmup_epochs = 0;
  const auto result =
      Train(SmallNetwork(false), Quarters(128, 1), Quarters(8, 2), kPreprocessing, options, {});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("the loss is"));
}

TEST(TrainerTest, RefusesBadOptionsAndImages) {
  const auto expect_refused = [](const TrainOptions& options, const ImageSet& train,
                                 const std::string& message) {
    const auto result = Train(SmallNetwork(), train, Quarters(8, 2), kPreprocessing, options, {});
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(message));
  };
  const ImageSet train = Quarters(64, 1);
  TrainOptions options = QuickOptions();
  options.batch_size = 65;
  expect_refused(options, train, "batch size is 65, want 1 to 64");
  options = QuickOptions();
  options.epochs = 0;
  expect_refused(options, train, "epochs is 0");
  options = QuickOptions();
  options.learning_rate = std::numeric_limits<double>::quiet_NaN();
  expect_refused(options, train, "learning rate is nan");
  options = QuickOptions();
  options.augmentation.crop_padding = 8;
  expect_refused(options, train, "crop padding is 8");
  ImageSet other = train;
  other.height = 4;
  other.width = 16;
  expect_refused(QuickOptions(), other, "is Nx1x8x8, training images are Nx1x4x16");
  other = train;
  other.class_names.resize(9);
  expect_refused(QuickOptions(), other, "is Nx4, training images have 9 classes");
}

TEST(BatchMakerTest, CropsFlipsAndPreprocesses) {
  ImageSet set;
  set.channels = 1;
  set.height = 1;
  set.width = 3;
  set.pixels = {51, 102, 153};
  set.labels = {0};
  set.class_names = {"a"};
  const Preprocessing fractions = {{0}, {1}};
  std::vector<float> batch;
  Rng rng(1);
  const auto make = [&](const BatchMaker& maker) {
    maker.Make({0}, rng, batch);
    for (float& value : batch) value = std::round(value * 255);  // the pixels again
  };
  make(BatchMaker(set, fractions, {.crop_padding = 0, .flip = false}));
  EXPECT_THAT(batch, ElementsAre(51, 102, 153));

  const BatchMaker maker(set, fractions, {.crop_padding = 1, .flip = true});
  std::vector<std::vector<float>> seen;
  for (int i = 0; i < 2000; ++i) {
    make(maker);
    if (std::find(seen.begin(), seen.end(), batch) == seen.end()) seen.push_back(batch);
  }
  // Black rows from crops above and below; else three offsets, mirrored or not.
  EXPECT_THAT(seen, ::testing::UnorderedElementsAre(
                        ElementsAre(0, 0, 0), ElementsAre(51, 102, 153), ElementsAre(0, 51, 102),
                        ElementsAre(102, 153, 0), ElementsAre(153, 102, 51),
                        ElementsAre(0, 153, 102), ElementsAre(102, 51, 0)));
}

TEST(TrainerGoldenTest, ThreeStepsEqualPyTorchs) {
  AMC_PYTORCH_OR_SKIP();
  const TempDirectory directory = TempDirectory::Create().value();
  ASSERT_TRUE(testing::RunPyTorch("train", directory.path()));
  const absl::StatusOr<Graph> before = LoadOnnx(directory.path() + "/before.onnx");
  const absl::StatusOr<Graph> after = LoadOnnx(directory.path() + "/after.onnx");
  ASSERT_TRUE(before.ok()) << before.status();
  ASSERT_TRUE(after.ok()) << after.status();
  ImageSet images;
  images.channels = 3;
  images.height = images.width = 8;
  images.class_names = {"0", "1", "2", "3", "4"};
  images.pixels = testing::ReadValues<uint8_t>(directory.path() + "/images.u8");
  const auto labels = testing::ReadValues<uint8_t>(directory.path() + "/labels.u8");
  images.labels.assign(labels.begin(), labels.end());
  TrainOptions options;  // TRAIN in pytorch_networks.py
  options.epochs = 3;
  options.batch_size = images.size();
  options.learning_rate = 0.05;
  options.warmup_epochs = 0;
  options.momentum = 0.9;
  options.weight_decay = 0.01;
  options.label_smoothing = 0.1;
  options.augmentation = {.crop_padding = 0, .flip = false};
  const Preprocessing preprocessing = {{0.5F, 0.5F, 0.5F}, {0.25F, 0.25F, 0.25F}};
  const auto result = Train(*before, images, images, preprocessing, options, {});
  ASSERT_TRUE(result.ok()) << result.status();
  int compared = 0;
  for (const Tensor& expected : after->tensors) {
    if (!expected.is_constant || expected.type != DataType::kFloat) continue;
    const TensorId id = result->graph.FindTensor(expected.name);
    ASSERT_NE(id, TensorId::kNone) << expected.name;
    const std::vector<float> trained = Values<float>(result->graph, id).value();
    const std::vector<float> start = Values<float>(*before, id).value();
    const std::vector<float> wanted =
        Values<float>(*after, after->FindTensor(expected.name)).value();
    for (size_t i = 0; i < trained.size(); ++i) {
      EXPECT_NEAR(trained[i], wanted[i], 2e-5) << expected.name << ", element " << i;
    }
    if (start != wanted) ++compared;
  }
  EXPECT_EQ(compared, 12);  // 2 convolutions, 2 x 4 of batch norms, weight and bias of the layer
}

}  // namespace
}  // namespace amc
