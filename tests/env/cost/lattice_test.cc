// What a group may keep.
#include "env/cost/lattice.h"

#include <limits>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

PruneGroup Group(const std::string& name, int64_t channels, int64_t cells = 1) {
  PruneGroup group;
  group.name = name;
  group.channels = channels;
  group.cells = cells;
  for (int64_t c = 0; c < channels; ++c) {
    group.cell_of_channel.push_back(static_cast<int32_t>(c * cells / channels));
  }
  return group;
}

Grouping OneGroup(int64_t channels, int64_t cells = 1) {
  Grouping grouping;
  grouping.groups.push_back(Group("g", channels, cells));
  return grouping;
}

std::vector<int64_t> Choices(const Grouping& grouping, LatticeOptions options) {
  const absl::StatusOr<Lattice> lattice = Lattice::Create(grouping, std::move(options));
  EXPECT_TRUE(lattice.ok()) << lattice.status();
  const auto choices = lattice->choices(0);
  return {choices.begin(), choices.end()};
}

TEST(LatticeTest, KeepsMultiplesFromTheFloorUpAndTheOriginalCount) {
  EXPECT_THAT(Choices(OneGroup(10), {.min_preserve_ratio = 0.55}), ElementsAre(6, 7, 8, 9, 10));
  EXPECT_THAT(Choices(OneGroup(30), {.channel_multiple = 8}), ElementsAre(8, 16, 24, 30));
  EXPECT_THAT(Choices(OneGroup(32), {.channel_multiple = 8, .min_preserve_ratio = 0.3}),
              ElementsAre(16, 24, 32));
}

TEST(LatticeTest, FloorIsAtLeastOneChannel) {
  EXPECT_THAT(Choices(OneGroup(3), {.min_preserve_ratio = 0}), ElementsAre(1, 2, 3));
}

TEST(LatticeTest, FloorIsNotRaisedByRoundingErrors) {
  // 0.1 * 30 is a hair above 3 in doubles, 0.7 * 10 a hair below 7.
  EXPECT_EQ(Choices(OneGroup(30), {.min_preserve_ratio = 0.1}).front(), 3);
  EXPECT_EQ(Choices(OneGroup(10), {.min_preserve_ratio = 0.7}).front(), 7);
}

TEST(LatticeTest, CellsAndMultipleCombineToTheirLeastCommonMultiple) {
  EXPECT_THAT(Choices(OneGroup(48, 6), {.channel_multiple = 4}), ElementsAre(12, 24, 36, 48));
}

TEST(LatticeTest, GroupWithoutAMultipleBetweenFloorAndAllStaysWhole) {
  EXPECT_THAT(Choices(OneGroup(12), {.channel_multiple = 8, .min_preserve_ratio = 0.7}),
              ElementsAre(12));
  EXPECT_THAT(Choices(OneGroup(7), {.channel_multiple = 8}), ElementsAre(7));
}

TEST(LatticeTest, FrozenGroupsStayWhole) {
  EXPECT_THAT(Choices(OneGroup(12), {.frozen = {"g"}}), ElementsAre(12));
}

TEST(LatticeTest, ResidualPathsStayWholeOnRequest) {
  Grouping grouping = OneGroup(4);
  EXPECT_THAT(Choices(grouping, {.keep_residual = true}), ElementsAre(1, 2, 3, 4));
  grouping.groups[0].residual = true;
  EXPECT_THAT(Choices(grouping, {.keep_residual = true}), ElementsAre(4));
  EXPECT_THAT(Choices(grouping, {}), ElementsAre(1, 2, 3, 4));
}

// Against brute force over all choices.
TEST(LatticeTest, RoundFloorAndCeilAgreeWithBruteForce) {
  const absl::StatusOr<Lattice> lattice =
      Lattice::Create(OneGroup(50), {.channel_multiple = 8, .min_preserve_ratio = 0.1});
  ASSERT_TRUE(lattice.ok());
  for (int step = 0; step <= 100; ++step) {
    const double ratio = step / 100.0;
    int64_t nearest = 0, below = 8, above = 50;
    for (const int64_t kept : lattice->choices(0)) {
      if (std::abs(kept - 50 * ratio) <= std::abs(nearest - 50 * ratio) || nearest == 0) {
        nearest = kept;
      }
      if (100 * kept <= 50 * step) below = kept;
      if (100 * kept >= 50 * step) above = std::min(above, kept);
    }
    EXPECT_EQ(lattice->Round(0, ratio), nearest) << ratio;
    EXPECT_EQ(lattice->Floor(0, ratio), below) << ratio;
    EXPECT_EQ(lattice->Ceil(0, ratio), above) << ratio;
  }
}

TEST(LatticeTest, EveryChoiceIsAFixedPointOfItsRatio) {
  for (int64_t channels = 1; channels <= 200; ++channels) {
    const absl::StatusOr<Lattice> lattice =
        Lattice::Create(OneGroup(channels), {.min_preserve_ratio = 0});
    ASSERT_TRUE(lattice.ok());
    for (const int64_t kept : lattice->choices(0)) {
      const double ratio = static_cast<double>(kept) / channels;
      EXPECT_EQ(lattice->Round(0, ratio), kept);
      EXPECT_EQ(lattice->Floor(0, ratio), kept);
      EXPECT_EQ(lattice->Ceil(0, ratio), kept);
      EXPECT_TRUE(lattice->Contains(0, kept));
    }
    EXPECT_FALSE(lattice->Contains(0, channels + 1));
    EXPECT_THAT(lattice->Minimum(), ElementsAre(1));
    EXPECT_THAT(lattice->Maximum(), ElementsAre(channels));
  }
}

TEST(LatticeTest, RefusesOptionsOutOfRange) {
  const Grouping grouping = OneGroup(8);
  const std::vector<std::pair<LatticeOptions, std::string>> bad = {
      {{.channel_multiple = 0}, "channel_multiple: 0"},
      {{.channel_multiple = int64_t{1} << 40}, "channel_multiple"},
      {{.min_preserve_ratio = -0.1}, "min_preserve_ratio: -0.1"},
      {{.min_preserve_ratio = 1.5}, "min_preserve_ratio: 1.5"},
      {{.min_preserve_ratio = std::numeric_limits<double>::quiet_NaN()}, "min_preserve_ratio"},
      {{.frozen = {"nobody"}}, "nobody"},
  };
  for (const auto& [options, message] : bad) {
    const absl::StatusOr<Lattice> lattice = Lattice::Create(grouping, options);
    EXPECT_EQ(lattice.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(lattice.status().message()), HasSubstr(message));
  }
}

}  // namespace
}  // namespace amc
