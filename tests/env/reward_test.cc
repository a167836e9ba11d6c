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
  measurement.cost = {.macs = 1000000, .params = 5000};
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
  EXPECT_DOUBLE_EQ(RewardOf({QualityMetric::kTop1, RewardKind::kErrorLogMacs}, Measured()),
                   -0.25 * 6 * std::log(10.0));
  EXPECT_DOUBLE_EQ(RewardOf({QualityMetric::kTop5, RewardKind::kErrorLogParams}, Measured()),
                   -(1 - 0.9) * std::log(5000.0));
  EXPECT_DOUBLE_EQ(RewardOf({QualityMetric::kNegativeKl, RewardKind::kErrorLogMacs}, Measured()),
                   -0.2 * std::log(1e6));
}

TEST(RewardTest, ANetworkThatCostsNothingHasAFiniteReward) {
  Measurement measurement = Measured();
  measurement.cost = {};
  EXPECT_EQ(RewardOf({QualityMetric::kTop1, RewardKind::kErrorLogMacs}, measurement), 0);
}

TEST(RewardTest, LargerIsBetter) {
  Measurement better = Measured(), smaller = Measured();
  better.top1 += 0.1;
  smaller.cost.macs /= 2;
  const RewardOptions by_macs{QualityMetric::kTop1, RewardKind::kErrorLogMacs};
  EXPECT_GT(RewardOf(by_macs, better), RewardOf(by_macs, Measured()));
  EXPECT_GT(RewardOf(by_macs, smaller), RewardOf(by_macs, Measured()));
}

}  // namespace
}  // namespace amc
