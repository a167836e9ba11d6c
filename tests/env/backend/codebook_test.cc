#include "env/backend/codebook.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/rng.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;

constexpr CodebookStart kStarts[] = {CodebookStart::kLinear, CodebookStart::kDensity,
                                     CodebookStart::kRandom};

std::vector<float> RandomWeights(int64_t count, Rng& rng) {
  std::vector<float> weights;
  for (int64_t i = 0; i < count; ++i) {
    weights.push_back(rng.Uniform() < 0.3 ? 0.0f : static_cast<float>(rng.Normal()));
  }
  return weights;
}

double SquaredError(const std::vector<float>& sorted, size_t begin, size_t end) {
  double mean = 0, error = 0;
  for (size_t i = begin; i < end; ++i) mean += sorted[i] / static_cast<double>(end - begin);
  for (size_t i = begin; i < end; ++i) error += (sorted[i] - mean) * (sorted[i] - mean);
  return error;
}

// The least error of any division of the weights from `begin` on into intervals.
double LeastError(const std::vector<float>& sorted, size_t begin, int clusters) {
  if (begin == sorted.size()) return 0;
  if (clusters == 0) return std::numeric_limits<double>::infinity();
  double least = std::numeric_limits<double>::infinity();
  for (size_t end = begin + 1; end <= sorted.size(); ++end) {
    least =
        std::min(least, SquaredError(sorted, begin, end) + LeastError(sorted, end, clusters - 1));
  }
  return least;
}

TEST(CodebookTest, FindsClustersThatAreFarApart) {
  for (const CodebookStart start : kStarts) {
    const auto codebook = ShareWeights({5, 0, 9, 1, 1, 0, 1.5f, 5.5f}, {.bits = 2, .start = start});
    ASSERT_TRUE(codebook.ok()) << codebook.status();
    EXPECT_THAT(codebook->values, ElementsAre(0, FloatNear(3.5f / 3, 1e-6f), 5.25f, 9));
    EXPECT_THAT(codebook->indices, ElementsAre(2, 0, 3, 1, 1, 0, 1, 2));
    EXPECT_NEAR(codebook->squared_error, 1.0 / 6 + 1.0 / 8, 1e-6);
  }
}

TEST(CodebookTest, KeepsFewValuesAsTheyAre) {
  const auto codebook = ShareWeights({-1, 0, 3, 3, -1, 0.25f}, {.bits = 4});
  EXPECT_THAT(codebook->values, ElementsAre(0, -1, 0.25f, 3));
  EXPECT_THAT(codebook->indices, ElementsAre(1, 0, 3, 3, 1, 2));
  EXPECT_EQ(codebook->squared_error, 0);
  EXPECT_THAT(ShareWeights({0, 0}, {})->values, ElementsAre(0));
}

// Every weight is at its nearest centroid and every centroid is the mean of its weights.
TEST(CodebookTest, StopsWhereLloydStepsChangeNothing) {
  Rng rng(3);
  for (const CodebookStart start : kStarts) {
    for (int round = 0; round < 20; ++round) {
      const std::vector<float> weights = RandomWeights(400, rng);
      const Codebook codebook =
          ShareWeights(weights, {.start = start, .seed = static_cast<uint64_t>(round)}).value();
      ASSERT_EQ(codebook.values.size(), 16u);
      std::vector<double> sums(16);
      std::vector<int> counts(16);
      double error = 0;
      for (size_t i = 0; i < weights.size(); ++i) {
        const int index = codebook.indices[i];
        ASSERT_EQ(index == 0, weights[i] == 0);
        sums[index] += weights[i];
        ++counts[index];
        const double own = std::abs(weights[i] - codebook.values[index]);
        error += own * own;
        for (size_t other = 1; index != 0 && other < 16; ++other) {
          ASSERT_LE(own, std::abs(weights[i] - codebook.values[other]) + 1e-7);
        }
      }
      for (int index = 1; index < 16; ++index) {
        ASSERT_GT(counts[index], 0);
        ASSERT_NEAR(codebook.values[index], sums[index] / counts[index], 1e-6);
        ASSERT_TRUE(index == 1 || codebook.values[index - 1] < codebook.values[index]);
      }
      ASSERT_NEAR(codebook.squared_error, error, 1e-5);
    }
  }
}

// No start is better than the best division, and the best of some is as good.
TEST(CodebookTest, ReachesTheBestDivision) {
  Rng rng(5);
  for (int round = 0; round < 20; ++round) {
    std::vector<float> weights;
    for (int i = 0; i < 12; ++i) weights.push_back(static_cast<float>(rng.Normal()));
    std::vector<float> sorted = weights;
    std::sort(sorted.begin(), sorted.end());
    const double least = LeastError(sorted, 0, 3);
    double best = std::numeric_limits<double>::infinity();
    for (uint64_t seed = 0; seed < 30; ++seed) {
      const double error =
          ShareWeights(weights, {.bits = 2, .start = CodebookStart::kRandom, .seed = seed})
              ->squared_error;
      EXPECT_GE(error, least - 1e-6);
      best = std::min(best, error);
    }
    EXPECT_NEAR(best, least, 1e-5);
  }
}

// A linear start puts centroids where there are no weights.
TEST(CodebookTest, UsesCentroidsThatStartWithoutWeights) {
  const auto codebook = ShareWeights({1, 1.01f, 1.02f, 1.03f, 9, 9.01f, 9.02f, 9.03f}, {.bits = 3});
  ASSERT_EQ(codebook->values.size(), 8u);
  // Seven clusters of eight weights: two neighbours share one.
  EXPECT_NEAR(codebook->squared_error, 0.01 * 0.01 / 2, 1e-6);
}

TEST(CodebookTest, LinearStartKeepsTheLargestWeight) {
  std::vector<float> weights = {10};
  for (int i = 0; i < 10000; ++i) weights.push_back(1 + 1e-4f * static_cast<float>(i));
  const auto linear = ShareWeights(weights, {.start = CodebookStart::kLinear});
  EXPECT_EQ(linear->values.back(), 10);
}

TEST(CodebookTest, RandomStartsComeFromTheSeed) {
  Rng rng(7);
  const std::vector<float> weights = RandomWeights(300, rng);
  const CodebookOptions options = {.start = CodebookStart::kRandom, .seed = 1};
  EXPECT_EQ(ShareWeights(weights, options)->values, ShareWeights(weights, options)->values);
  EXPECT_NE(ShareWeights(weights, options)->values,
            ShareWeights(weights, {.start = CodebookStart::kRandom, .seed = 2})->values);
}

TEST(CodebookTest, RefusesWhatItCannotShare) {
  EXPECT_THAT(ShareWeights({1}, {.bits = 9}).status().message(), HasSubstr("9 bits"));
  EXPECT_THAT(ShareWeights({1, std::nanf("")}, {}).status().message(),
              HasSubstr("nan is not finite"));
}

TEST(CodebookTest, CentroidGradientsAreSumsOverTheirWeights) {
  const Codebook codebook = ShareWeights({-1, 0, 3, 3, -1}, {}).value();
  EXPECT_THAT(*CentroidGradients(codebook, {1, 100, 2, 4, 8}), ElementsAre(0, 9, 6));
  EXPECT_THAT(CentroidGradients(codebook, {1}).status().message(),
              HasSubstr("1 gradients, want 5"));
}

}  // namespace
}  // namespace amc
