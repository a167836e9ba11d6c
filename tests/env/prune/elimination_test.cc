// Backward elimination against brute force: refits without each channel, one by one.
#include "env/prune/torch_elimination.h"

#include "gtest/gtest.h"

namespace amc {
namespace {

constexpr double kRidge = 1e-9;

// A consumer of `channels` channels of group 0 with `taps` features each, and its rows.
struct Consumer {
  torch::Tensor rows, weight;
  FeatureMoments moments;
  ConsumerView view;
};

Consumer MakeConsumer(const torch::Tensor& rows, const torch::Tensor& weight, int64_t channels) {
  Consumer consumer{rows, weight, {}, {}};
  MomentAccumulator sums(false);
  EXPECT_TRUE(sums.Add(rows.unsqueeze(0)).ok());
  consumer.moments = sums.Finish().value();
  consumer.view.weight = weight.unsqueeze(0);
  const int64_t taps = rows.size(1) / channels;
  for (int64_t c = 0; c < channels; ++c) {
    consumer.view.channels.insert(consumer.view.channels.end(), taps,
                                  {.group = 0, .index = static_cast<int32_t>(c)});
  }
  return consumer;
}

// Squared error of the best affine fit of the consumer's output from `kept` channels, relative to
// the output's variance.
double RelativeLoss(const Consumer& consumer, const std::vector<int64_t>& kept, int64_t taps) {
  std::vector<int64_t> features;
  for (const int64_t c : kept) {
    for (int64_t t = 0; t < taps; ++t) features.push_back(c * taps + t);
  }
  const torch::Tensor x = (consumer.rows - consumer.rows.mean(0)).to(at::kDouble);
  const torch::Tensor y = x.matmul(consumer.weight.t().to(at::kDouble));
  const torch::Tensor left = x.index_select(1, torch::tensor(features, at::kLong));
  const torch::Tensor solution = std::get<0>(at::linalg_lstsq(left, y, {}, "gelsd"));
  return ((y - left.matmul(solution)).square().sum() / y.square().sum()).item<double>();
}

TEST(EliminationTest, EveryStepTakesTheChannelThatBruteForceTakes) {
  torch::manual_seed(11);
  constexpr int64_t kChannels = 6, kTaps = 3;
  const torch::Tensor mixing = torch::randn({18, 18});
  std::vector<Consumer> consumers;
  for (int i = 0; i < 2; ++i) {
    consumers.push_back(
        MakeConsumer(torch::randn({500, 18}).matmul(mixing), torch::randn({4, 18}), kChannels));
  }
  std::vector<ConsumerView> views;
  for (Consumer& consumer : consumers) {
    consumer.view.moments = &consumer.moments;
    views.push_back(consumer.view);
  }
  const absl::StatusOr<std::vector<double>> scores = EliminationScores(views, 0, kChannels, kRidge);
  ASSERT_TRUE(scores.ok()) << scores.status();

  std::vector<int64_t> left = {0, 1, 2, 3, 4, 5};
  for (int step = 0; left.size() > 1; ++step) {
    double least = 1e9;
    int64_t best = -1;
    for (const int64_t candidate : left) {
      std::vector<int64_t> kept;
      std::copy_if(left.begin(), left.end(), std::back_inserter(kept),
                   [&](int64_t c) { return c != candidate; });
      const double loss =
          RelativeLoss(consumers[0], kept, kTaps) + RelativeLoss(consumers[1], kept, kTaps);
      if (loss < least) {
        least = loss;
        best = candidate;
      }
    }
    EXPECT_EQ((*scores)[best], step);
    left.erase(std::find(left.begin(), left.end(), best));
  }
}

TEST(EliminationTest, ADuplicateGoesFirstHoweverStrong) {
  torch::manual_seed(12);
  torch::Tensor rows = torch::randn({300, 4});
  rows.select(1, 3).copy_(10 * rows.select(1, 1));  // the strongest is redundant
  Consumer consumer = MakeConsumer(rows, torch::ones({2, 4}), 4);
  consumer.view.moments = &consumer.moments;
  const std::vector<ConsumerView> views = {consumer.view};
  const absl::StatusOr<std::vector<double>> scores = EliminationScores(views, 0, 4, kRidge);
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_EQ(std::min((*scores)[1], (*scores)[3]), 0);
  const std::vector<double> energy = EnergyScores(views, 0, 4);
  EXPECT_EQ(std::max_element(energy.begin(), energy.end()) - energy.begin(), 3);
}

TEST(EliminationTest, EnergyIsSecondMomentTimesSquaredWeights) {
  const torch::Tensor rows = torch::tensor({{1.0f, 0.0f}, {3.0f, 2.0f}});  // E[x^2] = 5, 2
  Consumer consumer = MakeConsumer(rows, torch::tensor({{2.0f, 1.0f}, {0.0f, 3.0f}}), 2);
  consumer.view.moments = &consumer.moments;
  const std::vector<double> scores = EnergyScores({&consumer.view, 1}, 0, 2);
  EXPECT_NEAR(scores[0], 5.0 * 4 / 40, 1e-6);
  EXPECT_NEAR(scores[1], 2.0 * 10 / 40, 1e-6);
}

TEST(EliminationTest, OtherGroupsOfTheSameConsumerStay) {
  torch::manual_seed(13);
  torch::Tensor rows = torch::randn({300, 3});
  rows.select(1, 0).copy_(rows.select(1, 2));  // channel 0 repeats what stays
  Consumer consumer = MakeConsumer(rows, torch::ones({2, 3}), 3);
  consumer.view.moments = &consumer.moments;
  consumer.view.channels[2] = {.group = ChannelRef::kWhole, .index = 0};
  const absl::StatusOr<std::vector<double>> scores =
      EliminationScores({&consumer.view, 1}, 0, 2, kRidge);
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_EQ(*scores, (std::vector<double>{0, 1}));
}

}  // namespace
}  // namespace amc
