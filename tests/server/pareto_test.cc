#include "server/pareto.h"

#include "base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ParetoFrontTest, LeavesOutWhatAnotherIsAsGoodAndCheaperThan) {
  const std::vector<QualityAndCost> points = {{-0.3, 50}, {-0.1, 100}, {-0.2, 100},
                                              {-0.3, 60}, {-0.4, 10},  {-0.1, 120}};
  EXPECT_THAT(ParetoFront(points), ElementsAre(4, 0, 1));
}

TEST(ParetoFrontTest, OfEqualPointsTheFirstStays) {
  EXPECT_THAT(ParetoFront(std::vector<QualityAndCost>{{1, 5}, {1, 5}}), ElementsAre(0));
  EXPECT_THAT(ParetoFront({}), IsEmpty());
}

TEST(ParetoFrontTest, AgreesWithBruteForce) {
  Rng rng(2);
  for (int round = 0; round < 200; ++round) {
    std::vector<QualityAndCost> points(1 + rng.Below(30));
    for (QualityAndCost& point : points) {
      point = {static_cast<double>(rng.Below(8)), static_cast<int64_t>(rng.Below(8))};
    }
    const std::vector<size_t> front = ParetoFront(points);
    for (size_t i = 0; i < points.size(); ++i) {
      bool beaten = false;
      for (size_t j = 0; j < points.size(); ++j) {
        const bool as_good =
            points[j].quality >= points[i].quality && points[j].cost <= points[i].cost;
        const bool same =
            points[j].quality == points[i].quality && points[j].cost == points[i].cost;
        beaten |= as_good && (!same || j < i);
      }
      EXPECT_EQ(std::count(front.begin(), front.end(), i), beaten ? 0 : 1);
    }
  }
}

}  // namespace
}  // namespace amc
