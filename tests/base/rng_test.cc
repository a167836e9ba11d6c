// The random generator: its stream is fixed for ever, its distributions have their moments.
#include "base/rng.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

struct Moments {
  double mean = 0, deviation = 0, least = 0, most = 0;
};

Moments Measure(int draws, const std::function<double()>& draw) {
  Moments m{.least = INFINITY, .most = -INFINITY};
  double squares = 0;
  for (int i = 0; i < draws; ++i) {
    const double x = draw();
    m.mean += x;
    squares += x * x;
    m.least = std::min(m.least, x);
    m.most = std::max(m.most, x);
  }
  m.mean /= draws;
  m.deviation = std::sqrt(squares / draws - m.mean * m.mean);
  return m;
}

// The reference code of Blackman and Vigna, from a state that RestoreState sets: 1, 2, 3, 4.
TEST(RngTest, IsXoshiro256StarStar) {
  std::string state(32, '\0');
  for (size_t i = 0; i < 4; ++i) state[8 * i] = static_cast<char>(i + 1);
  Rng rng(0);
  ASSERT_TRUE(rng.RestoreState(state).ok());
  for (const uint64_t expected :
       {uint64_t{11520}, uint64_t{0}, uint64_t{1509978240}, uint64_t{1215971899390074240}}) {
    EXPECT_EQ(rng.Next(), expected);
  }
}

TEST(RngTest, SeedAndStreamDecideTheStream) {
  EXPECT_EQ(Rng(7).Next(), Rng(7).Next());
  EXPECT_NE(Rng(7).Next(), Rng(8).Next());
  EXPECT_NE(Rng(7, 1).Next(), Rng(7, 2).Next());
  EXPECT_NE(Rng(1, 0).Next(), Rng(0, 1).Next());
}

TEST(RngTest, UniformHasItsMomentsAndBounds) {
  Rng rng(1);
  const Moments m = Measure(100'000, [&] { return rng.Uniform(); });
  EXPECT_NEAR(m.mean, 0.5, 0.004);
  EXPECT_NEAR(m.deviation, std::sqrt(1.0 / 12), 0.004);
  EXPECT_GE(m.least, 0);
  EXPECT_LT(m.most, 1);
  const Moments scaled = Measure(100'000, [&] { return rng.Uniform(-3, 5); });
  EXPECT_NEAR(scaled.mean, 1, 0.04);
  EXPECT_GE(scaled.least, -3);
  EXPECT_LT(scaled.most, 5);
}

TEST(RngTest, NormalHasItsMoments) {
  Rng rng(2);
  int beyond_two = 0;
  const Moments m = Measure(100'000, [&] {
    const double x = rng.Normal();
    beyond_two += std::abs(x) > 2;
    return x;
  });
  EXPECT_NEAR(m.mean, 0, 0.015);
  EXPECT_NEAR(m.deviation, 1, 0.015);
  EXPECT_NEAR(beyond_two / 100'000.0, 0.0455, 0.003);
}

// Mean and deviation of the normal (0.5, 0.5) cut to [0, 1], in closed form.
TEST(RngTest, TruncatedNormalStaysInsideWithTheRightMoments) {
  Rng rng(3);
  const Moments m = Measure(100'000, [&] { return rng.TruncatedNormal(0.5, 0.5, 0, 1); });
  EXPECT_GE(m.least, 0);
  EXPECT_LE(m.most, 1);
  EXPECT_NEAR(m.mean, 0.5, 0.004);
  EXPECT_NEAR(m.deviation, 0.2698, 0.003);
}

TEST(RngTest, TruncatedNormalReturnsFarOutInTheTail) {
  Rng rng(4);
  const Moments m = Measure(50, [&] { return rng.TruncatedNormal(0, 1e-3, 5, 6); });
  EXPECT_GE(m.least, 5);
  EXPECT_LE(m.most, 6);
}

TEST(RngTest, BelowIsUniformAlsoWhereTheRangeIsNoPowerOfTwo) {
  Rng rng(5);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70'000; ++i) ++counts[rng.Below(7)];
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 400);
  // Two thirds of the range: without rejection the lower half would be twice as likely.
  const uint64_t n = (uint64_t{1} << 63) + (uint64_t{1} << 62);
  int low = 0;
  for (int i = 0; i < 20'000; ++i) low += rng.Below(n) < n / 2;
  EXPECT_NEAR(low, 10'000, 300);
  EXPECT_EQ(rng.Below(1), 0u);
}

TEST(RngTest, PermutationHoldsEveryNumberOnce) {
  Rng rng(6);
  std::vector<int64_t> order = rng.Permutation(1000);
  std::vector<int64_t> expected(1000);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_NE(order, expected);
  std::sort(order.begin(), order.end());
  EXPECT_EQ(order, expected);
  EXPECT_TRUE(rng.Permutation(0).empty());
}

TEST(RngTest, PermutationsAreEquallyLikely) {
  Rng rng(7);
  std::map<std::vector<int64_t>, int> counts;
  for (int i = 0; i < 60'000; ++i) ++counts[rng.Permutation(3)];
  ASSERT_EQ(counts.size(), 6u);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 10'000, 450);
}

TEST(RngTest, SavedStateContinuesTheStream) {
  Rng rng(8);
  for (int i = 0; i < 10; ++i) rng.Normal();
  const std::string state = rng.SaveState();
  EXPECT_EQ(state.size(), 32u);
  const double expected = rng.Normal();
  Rng other(99);
  ASSERT_TRUE(other.RestoreState(state).ok());
  EXPECT_EQ(other.Normal(), expected);
}

TEST(RngTest, RefusesStatesOfAnotherLength) {
  Rng rng(9);
  const absl::Status status = rng.RestoreState("short");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("5 bytes, expected 32"));
}

}  // namespace
}  // namespace amc
