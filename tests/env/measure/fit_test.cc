// Fits against coefficients that the points were made with.
#include "env/measure/fit.h"

#include <cmath>
#include <limits>

#include "base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

constexpr double kLayers = 1.1, kByteUs = 2e-4, kConstantUs = 80;

FitPoint Point(double layers_us, double bytes, double error = 0) {
  const double us = kLayers * layers_us + kByteUs * bytes + kConstantUs;
  return {layers_us, bytes, us * (1 + error)};
}

// Pruned versions of one network: bytes go down with the layers' times, more slowly.
std::vector<FitPoint> Versions(int count, double noise, uint64_t seed) {
  Rng rng(seed);
  std::vector<FitPoint> points;
  for (int i = 0; i < count; ++i) {
    const double kept = rng.Uniform(0.2, 1);
    points.push_back(
        Point(4000 * kept * kept * rng.Uniform(0.9, 1.1), 5e6 * kept, noise * rng.Normal()));
  }
  return points;
}

TEST(FitLatencyTest, FindsTheCoefficientsOfExactPoints) {
  const auto fit = FitLatency(
      std::vector<FitPoint>{Point(1000, 1e6), Point(3000, 5e5), Point(500, 3e6), Point(2000, 2e6)});
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_NEAR(fit->layers, kLayers, 0.03);
  EXPECT_NEAR(fit->byte_us, kByteUs, 0.1 * kByteUs);
  EXPECT_NEAR(fit->constant_us, kConstantUs, 0.5 * kConstantUs);
  EXPECT_NEAR(Predict(*fit, {1500, 1.5e6, 0}), Point(1500, 1.5e6).measured_us, 20);
}

TEST(FitLatencyTest, PredictsVersionsThatItHasNotSeen) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    auto fit = FitLatency(Versions(12, 0.02, seed));
    ASSERT_TRUE(fit.ok());
    SetErrors(*fit, Versions(40, 0, seed + 1000));
    EXPECT_LT(fit->median_error, 0.03) << seed;
    EXPECT_LT(fit->p95_error, 0.07) << seed;
    EXPECT_GT(fit->layers, 0);
    EXPECT_GE(fit->byte_us, 0);
    EXPECT_EQ(fit->networks, 40);
  }
}

// Layers take with the square of what is kept, channels with itself.
TEST(FitLatencyTest, TellsChannelsFromLayers) {
  std::vector<FitPoint> points, unseen;
  Rng rng(3);
  for (int i = 0; i < 24; ++i) {
    const double kept = rng.Uniform(0.2, 1), channels = 2000 * kept;
    const double layers = 4000 * kept * kept * rng.Uniform(0.9, 1.1);
    (i < 12 ? points : unseen)
        .push_back({layers, 0, 0.8 * layers + 0.9 * channels + 100, channels});
  }
  auto fit = FitLatency(points);
  ASSERT_TRUE(fit.ok());
  EXPECT_NEAR(fit->channel_us, 0.9, 0.2);
  SetErrors(*fit, unseen);
  EXPECT_LT(fit->p95_error, 0.02);
  for (FitPoint& point : points) point.channels = 0;  // without them it cannot be told
  auto blind = FitLatency(points);
  EXPECT_EQ(blind->channel_us, 0);
  SetErrors(*blind, unseen);
  EXPECT_GT(blind->p95_error, 2 * fit->p95_error);
  EXPECT_FALSE(FitLatency(std::vector<FitPoint>{{1, 0, 1, -1}}).ok());
}

TEST(FitLatencyTest, KeepsCoefficientsWithinBounds) {
  // The more bytes, the faster: no byte takes negative time.
  const auto bytes = FitLatency(std::vector<FitPoint>{
      {1000, 4e6, 900}, {1000, 2e6, 1000}, {1000, 1e6, 1100}, {2000, 1e6, 2100}});
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(bytes->byte_us, 0);
  // The more layers, the faster.
  const auto layers = FitLatency(std::vector<FitPoint>{
      {1000, 1e6, 2000}, {2000, 1e6, 1000}, {4000, 1e6, 500}, {8000, 1e6, 250}});
  ASSERT_TRUE(layers.ok());
  EXPECT_GT(layers->layers, 0);
}

TEST(FitLatencyTest, OfOnePointStaysNearTheLayers) {
  const auto fit = FitLatency(std::vector<FitPoint>{{1000, 0, 1200}});
  ASSERT_TRUE(fit.ok());
  EXPECT_NEAR(Predict(*fit, {1000, 0, 0}), 1200, 60);
  EXPECT_NEAR(fit->layers, 1, 0.15);
}

TEST(FitLatencyTest, RefusesWhatIsNoTime) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const FitPoint& bad : {FitPoint{0, 1, 1}, FitPoint{1, -1, 1}, FitPoint{1, 1, 0},
                              FitPoint{1, 1, nan}, FitPoint{1, INFINITY, 1}}) {
    EXPECT_EQ(FitLatency(std::vector<FitPoint>{{1, 1, 1}, bad}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(FitLatency({}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SetErrorsTest, TakesMedianAndQuantileOfRelativeErrors) {
  LatencyFit fit;  // layers alone
  SetErrors(fit, std::vector<FitPoint>{{110, 0, 100}, {80, 0, 100}, {100, 0, 100}});
  EXPECT_NEAR(fit.median_error, 0.1, 1e-12);
  EXPECT_NEAR(fit.p95_error, 0.19, 1e-12);
  EXPECT_EQ(fit.networks, 3);
}

}  // namespace
}  // namespace amc
