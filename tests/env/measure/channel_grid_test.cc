// Grids of channel counts against the properties that latency tables need of them.
#include "env/measure/channel_grid.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::ElementsAre;

TEST(ChannelGridTest, HoldsBothSidesOfSteps) {
  EXPECT_THAT(ChannelGrid(16), ElementsAre(1, 8, 9, 16));
  EXPECT_THAT(ChannelGrid(20), ElementsAre(1, 8, 9, 16, 17, 20));
  EXPECT_THAT(ChannelGrid(48), ElementsAre(1, 8, 9, 16, 17, 24, 25, 32, 33, 40, 41, 48));
}

TEST(ChannelGridTest, IsDenserWhereRelativeChangeIsLarger) {
  EXPECT_THAT(ChannelGrid(512),
              ElementsAre(1, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257, 496, 497, 512));
}

TEST(ChannelGridTest, OfFewChannelsIsTheirEnds) {
  EXPECT_THAT(ChannelGrid(1), ElementsAre(1));
  EXPECT_THAT(ChannelGrid(2), ElementsAre(1, 2));
  EXPECT_THAT(ChannelGrid(8), ElementsAre(1, 8));
  EXPECT_THAT(ChannelGrid(9), ElementsAre(1, 8, 9));
}

TEST(ChannelGridTest, BeginsAtTheSmallest) {
  EXPECT_THAT(ChannelGrid(64, 64), ElementsAre(64));
  EXPECT_THAT(ChannelGrid(32, 20), ElementsAre(20, 24, 25, 32));
}

TEST(ChannelGridTest, HoldsMultiplesWhereOnlyThoseAreKept) {
  EXPECT_THAT(ChannelGrid(32, 1, 14, 8), ElementsAre(8, 16, 24, 32));
  EXPECT_THAT(ChannelGrid(20, 1, 14, 8), ElementsAre(8, 16, 20));
  EXPECT_THAT(ChannelGrid(6, 1, 14, 8), ElementsAre(6));
  EXPECT_THAT(ChannelGrid(64, 64, 14, 8), ElementsAre(64));
  EXPECT_THAT(ChannelGrid(128, 1, 6, 8), ElementsAre(8, 16, 24, 112, 120, 128));
  EXPECT_THAT(ChannelGrid(100, 1, 14, 12), ElementsAre(12, 24, 36, 48, 60, 72, 84, 96, 100));
}

TEST(ChannelGridTest, IsBoundedAscendingAndWithinRangeForAllCounts) {
  for (int64_t channels = 1; channels <= 2100; ++channels) {
    for (const int64_t smallest : {int64_t{1}, (channels + 1) / 2}) {
      for (const size_t most : {size_t{2}, size_t{5}, kMaxGridPoints}) {
        const std::vector<int64_t> grid = ChannelGrid(channels, smallest, most);
        SCOPED_TRACE(::testing::Message() << smallest << " to " << channels << " in " << most);
        ASSERT_LE(grid.size(), most);
        ASSERT_EQ(grid.front(), smallest);
        ASSERT_EQ(grid.back(), channels);
        ASSERT_EQ(std::adjacent_find(grid.begin(), grid.end(), std::greater_equal<>()), grid.end());
      }
    }
  }
  EXPECT_LE(ChannelGrid(25088).size(), kMaxGridPoints);
}

}  // namespace
}  // namespace amc
