#include "env/reward.h"

#include <cmath>

#include "gtest/gtest.h"

namespace amc {
namespace {

Measurement Measured() {
  Measurement measurement;
  measurement.top1 = 0.75;
  measurement.top5 = 0.9;
  measurement.kl = 0.2;
  measurement.soft_kl = 0.3;
  return measurement;
}

TEST(RewardTest, UnderABudgetTheRewardIsTheQuality) {
  EXPECT_EQ(RewardOf({.metric = QualityMetric::kTop1}, Measured()), 0.75);
  EXPECT_EQ(RewardOf({.metric = QualityMetric::kTop5}, Measured()), 0.9);
  EXPECT_EQ(RewardOf({.metric = QualityMetric::kNegativeKl}, Measured()), -0.2);
  EXPECT_EQ(RewardOf({.metric = QualityMetric::kNegativeSoftKl}, Measured()), -0.3);
}

TEST(RewardTest, WithoutABudgetTheErrorIsWeighedByTheLogOfTheCost) {
  // Paper, section 3.3: R_FLOPs = -Error log(FLOPs), R_Param = -Error log(#Param).
  EXPECT_DOUBLE_EQ(RewardOf({QualityMetric::kTop1, RewardKind::kErrorLogMacs}, Measured(), 1000000),
                   -0.25 * 6 * std::log(10.0));
  EXPECT_DOUBLE_EQ(RewardOf({QualityMetric::kTop5, RewardKind::kErrorLogParams}, Measured(), 5000),
                   -(1 - 0.9) * std::log(5000.0));
  EXPECT_DOUBLE_EQ(
      RewardOf({QualityMetric::kNegativeKl, RewardKind::kErrorLogMacs}, Measured(), 1000000),
      -0.2 * std::log(1e6));
  // 2 ms: ln(2e6) = 14.508658.
  EXPECT_NEAR(RewardOf({QualityMetric::kTop1, RewardKind::kErrorLogLatency}, Measured(), 2000000),
              -0.25 * 14.508658, 1e-6);
}

TEST(RewardTest, KnowsWhatIsWeighed) {
  EXPECT_EQ(WeighedResource(RewardKind::kQuality), std::nullopt);
  EXPECT_EQ(WeighedResource(RewardKind::kErrorLogMacs), Resource::kMacs);
  EXPECT_EQ(WeighedResource(RewardKind::kErrorLogParams), Resource::kParams);
  EXPECT_EQ(WeighedResource(RewardKind::kErrorLogLatency), Resource::kLatency);
  EXPECT_EQ(WeighedResource(RewardKind::kErrorLogActivationBytes), Resource::kActivationBytes);
  EXPECT_EQ(WeighedResource(RewardKind::kErrorLogModelBytes), Resource::kModelBytes);
}

TEST(RewardTest, ANetworkThatCostsNothingHasAFiniteReward) {
  EXPECT_EQ(RewardOf({QualityMetric::kTop1, RewardKind::kErrorLogMacs}, Measured(), 0), 0);
}

TEST(RewardTest, WithoutErrorItIsZeroWhateverTheCost) {
  Measurement measurement = Measured();
  measurement.top1 = 1;
  const double reward = RewardOf({QualityMetric::kTop1, RewardKind::kErrorLogMacs}, measurement, 9);
  EXPECT_EQ(reward, 0);
  EXPECT_FALSE(std::signbit(reward));  // "-0.0000" is no good in a table
}

TEST(RewardTest, LargerIsBetter) {
  Measurement better = Measured();
  better.top1 += 0.1;
  const RewardOptions by_macs{QualityMetric::kTop1, RewardKind::kErrorLogMacs};
  EXPECT_GT(RewardOf(by_macs, better, 1000), RewardOf(by_macs, Measured(), 1000));
  EXPECT_GT(RewardOf(by_macs, Measured(), 500), RewardOf(by_macs, Measured(), 1000));
}

}  // namespace
}  // namespace amc
