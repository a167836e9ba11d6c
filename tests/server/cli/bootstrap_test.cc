// Bootstrap intervals against enumerated resamples, closed forms, and how often they hold the
// truth.
#include "server/cli/bootstrap.h"

#include <cmath>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace amc {
namespace {

double Deviation(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / count);
}

// How often each value comes, of all.
std::map<double, double> Frequencies(const std::vector<double>& values) {
  std::map<double, double> frequencies;
  for (const double value : values) {
    frequencies[value] += 1.0 / static_cast<double>(values.size());
  }
  return frequencies;
}

void ExpectAlike(const std::map<double, double>& found, const std::map<double, double>& exact,
                 double resamples) {
  EXPECT_EQ(found.size(), exact.size());
  for (const auto& [value, probability] : exact) {
    const double deviation = std::sqrt(probability * (1 - probability) / resamples);
    const auto seen = found.find(value);
    ASSERT_NE(seen, found.end()) << value;
    EXPECT_NEAR(seen->second, probability, 4.5 * deviation) << value;
  }
}

TEST(BootstrapTest, ResamplesOfImagesAreThoseThatEnumerationFinds) {
  const std::vector<double> values = {0, 1, 5};
  std::map<double, double> exact;
  for (const double a : values) {
    for (const double b : values) {
      for (const double c : values) exact[(a + b + c) / 3] += 1.0 / 27;
    }
  }
  constexpr int64_t kResamples = 100'000;
  Rng rng(1);
  ExpectAlike(Frequencies(ResampledMeans({{values}}, kResamples, rng)[0]), exact, kResamples);
}

TEST(BootstrapTest, ImagesAndSeedsAreCrossed) {
  const SeedsByImages values = {{1, 2}, {4, 16}};  // [seed][image]
  std::map<double, double> exact;
  for (int draw = 0; draw < 16; ++draw) {
    const int images[2] = {draw & 1, draw >> 1 & 1}, seeds[2] = {draw >> 2 & 1, draw >> 3 & 1};
    double sum = 0;
    for (const int seed : seeds) {
      for (const int image : images) {
        sum += values[static_cast<size_t>(seed)][static_cast<size_t>(image)];
      }
    }
    exact[sum / 4] += 1.0 / 16;
  }
  constexpr int64_t kResamples = 100'000;
  Rng rng(2);
  ExpectAlike(Frequencies(ResampledMeans({values}, kResamples, rng)[0]), exact, kResamples);
}

// The standard error of a mean over n values is their deviation over sqrt(n) (Efron & Tibshirani
// 1993, equation 5.12).
TEST(BootstrapTest, TheSpreadOfAMeanIsItsStandardError) {
  Rng rng(3);
  std::vector<double> values;
  for (int i = 0; i < 200; ++i) values.push_back(rng.Normal());
  const std::vector<double> means = ResampledMeans({{values}}, 20'000, rng)[0];
  EXPECT_NEAR(Deviation(means) / (Deviation(values) / std::sqrt(200.0)), 1, 0.025);
}

TEST(BootstrapTest, ImagesArePaired) {
  Rng rng(4);
  SeedsByImages first(1), second(1);
  for (int i = 0; i < 50; ++i) {
    first[0].push_back(10 * rng.Normal());
    second[0].push_back(first[0].back() - 0.25);  // always better by as much
  }
  const auto means = ResampledMeans({first, second}, 1000, rng);
  for (size_t i = 0; i < means[0].size(); ++i) {
    ASSERT_NEAR(means[0][i] - means[1][i], 0.25, 1e-9);
  }
}

TEST(BootstrapTest, SeedsOfTwoAgentsAreDrawnApart) {
  SeedsByImages agent;
  for (int seed = 0; seed < 8; ++seed) agent.push_back({static_cast<double>(seed)});
  Rng rng(5);
  const auto means = ResampledMeans({agent, agent}, 20'000, rng);
  std::vector<double> differences;
  for (size_t i = 0; i < means[0].size(); ++i) differences.push_back(means[0][i] - means[1][i]);
  EXPECT_NEAR(Deviation(differences) / (std::sqrt(2.0) * Deviation(means[0])), 1, 0.03);
}

TEST(BootstrapTest, TheSameSeedGivesTheSameResamples) {
  const SeedsByImages values = {{1, 2, 3}, {4, 5, 6}};
  Rng first(7), second(7), other(8);
  const auto means = ResampledMeans({values}, 100, first);
  EXPECT_EQ(means, ResampledMeans({values}, 100, second));
  EXPECT_NE(means, ResampledMeans({values}, 100, other));
}

TEST(PercentileIntervalTest, TakesTheRanksThatTheHeaderStates) {
  std::vector<double> replicates(10'000);
  std::iota(replicates.rbegin(), replicates.rend(), 1);  // any order
  Interval interval = PercentileInterval(5000, replicates);
  EXPECT_EQ(interval.mean, 5000);
  EXPECT_EQ(interval.low, 250);
  EXPECT_EQ(interval.high, 9751);
  replicates.resize(999);
  std::iota(replicates.begin(), replicates.end(), 1);
  interval = PercentileInterval(500, replicates, 0.9);  // (999 + 1) * 0.05 = 50 exactly
  EXPECT_EQ(interval.low, 50);
  EXPECT_EQ(interval.high, 950);
  interval = PercentileInterval(7, {7});
  EXPECT_EQ(interval.low, 7);
  EXPECT_EQ(interval.high, 7);
}

TEST(PercentileIntervalTest, SaysWhetherZeroIsOutside) {
  EXPECT_TRUE((Interval{.mean = 1, .low = 0.1, .high = 2}).excludes_zero());
  EXPECT_TRUE((Interval{.mean = -1, .low = -2, .high = -0.1}).excludes_zero());
  EXPECT_FALSE((Interval{.mean = 1, .low = -0.1, .high = 2}).excludes_zero());
  EXPECT_FALSE((Interval{.mean = 1, .low = 0, .high = 2}).excludes_zero());
}

// How often the 95% interval of a difference holds the true one.
double Coverage(size_t seeds, double seed_deviation, int trials) {
  constexpr double kTruth = 0.3;
  constexpr size_t kImages = 80;
  int held = 0;
  for (int trial = 0; trial < trials; ++trial) {
    Rng rng(static_cast<uint64_t>(trial), 99);
    std::vector<double> hardness;  // of images, shared by both
    for (size_t i = 0; i < kImages; ++i) hardness.push_back(3 * rng.Normal());
    std::vector<SeedsByImages> agents;
    for (const double mean : {kTruth, 0.0}) {
      SeedsByImages& agent = agents.emplace_back();
      for (size_t seed = 0; seed < seeds; ++seed) {
        const double luck = seed_deviation * rng.Normal();
        std::vector<double>& values = agent.emplace_back();
        for (const double hard : hardness) {
          values.push_back(mean + luck + hard + 0.5 * rng.Normal());
        }
      }
    }
    const auto means = ResampledMeans(agents, 600, rng);
    std::vector<double> differences;
    for (size_t i = 0; i < means[0].size(); ++i) differences.push_back(means[0][i] - means[1][i]);
    const Interval interval =
        PercentileInterval(MeanOf(agents[0]) - MeanOf(agents[1]), differences);
    held += interval.low <= kTruth && kTruth <= interval.high ? 1 : 0;
  }
  return static_cast<double>(held) / trials;
}

// 400 trials: a coverage of 0.95 has a deviation of 0.011.
TEST(BootstrapTest, IntervalsOfOneSeedHoldTheTruthNineteenTimesInTwenty) {
  const double coverage = Coverage(1, 0, 400);
  EXPECT_GE(coverage, 0.91);
  EXPECT_LE(coverage, 0.98);
}

// Ten seeds are few: a percentile interval of n values is narrower than Student's by about
// sqrt((n - 1) / n) and the quantile's ratio.
TEST(BootstrapTest, IntervalsCountTheLuckOfSeeds) {
  const double coverage = Coverage(10, 0.5, 400);
  EXPECT_GE(coverage, 0.88);
  EXPECT_LE(coverage, 0.98);
}

}  // namespace
}  // namespace amc
