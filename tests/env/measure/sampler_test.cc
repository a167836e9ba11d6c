// The sampler on a simulated machine, whose true times are known.
#include "env/measure/sampler.h"

#include <cmath>
#include <memory>
#include <string>

#include "base/interrupt.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

constexpr double kPi = 3.14159265358979;

// Runs take their true time, times a factor that wanders with the time of day, times noise; some
// are interrupted and take ten times as long.
class Machine {
 public:
  Sampler::Timer Timer(double true_us) {
    return [this, true_us](int64_t runs) -> absl::StatusOr<std::vector<double>> {
      std::vector<double> times;
      for (int64_t i = 0; i < runs; ++i) {
        const double seconds = absl::ToDoubleSeconds(clock.Now() - absl::UnixEpoch());
        double us = true_us * (1 + drift * std::sin(2 * kPi * seconds / period));
        us *= std::exp(noise * rng.Normal());
        if (rng.Uniform() < outliers) us *= 10;
        clock.Advance(absl::Microseconds(us));
        times.push_back(us);
      }
      ++bursts;
      return times;
    };
  }

  FakeClock clock{absl::UnixEpoch()};
  Rng rng{7};
  double drift = 0, period = 2, noise = 0.03, outliers = 0;
  int64_t bursts = 0;
};

SamplerOptions Tolerance(double tolerance) {
  SamplerOptions options;
  options.tolerance = tolerance;
  return options;
}

const std::vector<double> kTrueUs = {20, 55, 700, 2500, 60000};

void ExpectRatios(Machine& machine, double tolerance) {
  Sampler sampler(machine.Timer(500), Tolerance(0.01), &machine.clock);
  std::vector<SampledItem> items;
  for (const double us : kTrueUs) items.push_back({machine.Timer(us)});
  const auto results = sampler.Measure(items);
  ASSERT_TRUE(results.ok()) << results.status();
  for (size_t i = 0; i < items.size(); ++i) {
    EXPECT_TRUE((*results)[i].stable) << i;
    EXPECT_LE((*results)[i].error, 0.01) << i;
    EXPECT_NEAR((*results)[i].median * 500 / kTrueUs[i], 1, tolerance) << i;
  }
}

TEST(MedianTest, InterpolatesQuantiles) {
  EXPECT_EQ(Median({}), 0);
  EXPECT_EQ(Median({3}), 3);
  EXPECT_EQ(Median({4, 1, 3, 2}), 2.5);
  EXPECT_EQ(Quantile({5, 1, 2, 3, 4}, 0.25), 2);
  EXPECT_DOUBLE_EQ(Quantile({0, 10}, 0.95), 9.5);
}

TEST(MedianErrorTest, MatchesTheMediansTrueSpread) {
  // The median of n normal values has a standard deviation of 1.2533 / sqrt(n), for large n.
  Rng rng(3);
  for (const int n : {20, 100}) {
    double sum = 0;
    for (int trial = 0; trial < 400; ++trial) {
      std::vector<double> values;
      for (int i = 0; i < n; ++i) values.push_back(rng.Normal());
      sum += MedianError(values);
    }
    EXPECT_NEAR(sum / 400 * std::sqrt(n), 1.2533, 0.2) << n;
  }
  EXPECT_TRUE(std::isinf(MedianError({1, 1, 1, 1})));
  EXPECT_EQ(MedianError({1, 1, 1, 1, 1}), 0);
}

TEST(SamplerTest, RecoversRatiosOfASteadyMachine) {
  Machine machine;
  ExpectRatios(machine, 0.02);
}

TEST(SamplerTest, DividesDriftOut) {
  Machine machine;
  machine.drift = 0.3;
  ExpectRatios(machine, 0.02);
}

TEST(SamplerTest, IsNotMovedByOutliers) {
  Machine machine;
  machine.drift = 0.3;
  machine.outliers = 0.1;
  ExpectRatios(machine, 0.03);
}

TEST(SamplerTest, ReportsTheReferenceAndTheSpread) {
  Machine machine;
  machine.noise = 0.1;
  Sampler sampler(machine.Timer(500), Tolerance(0.01), &machine.clock);
  EXPECT_EQ(sampler.reference_us(), 0);
  const auto results = sampler.Measure({SampledItem{machine.Timer(100)}});
  ASSERT_TRUE(results.ok());
  EXPECT_NEAR(sampler.reference_us(), 500, 20);
  // A normal's interquartile range is 1.349 standard deviations; the reference's noise adds a
  // little.
  EXPECT_NEAR((*results)[0].spread * 500, 13.5, 3);
}

TEST(SamplerTest, TakesMoreBurstsWhereThereIsMoreNoise) {
  int64_t bursts[2];
  for (const bool noisy : {false, true}) {
    Machine machine;
    machine.noise = noisy ? 0.5 : 0.01;
    Sampler sampler(machine.Timer(3000), Tolerance(0.02), &machine.clock);
    const auto results = sampler.Measure({SampledItem{machine.Timer(3000)}});
    ASSERT_TRUE(results.ok());
    bursts[noisy ? 1 : 0] = (*results)[0].bursts;
  }
  EXPECT_LE(bursts[0], 6);
  EXPECT_GT(bursts[1], 30);
}

TEST(SamplerTest, MeasuresDifferencesToTheTolerance) {
  // 300 us are left of 1000.
  Machine machine;
  SamplerOptions options = Tolerance(0.02);
  options.max_bursts = 10000;
  Sampler sampler(machine.Timer(500), options, &machine.clock);
  const auto results =
      sampler.Measure({SampledItem{machine.Timer(1000), 1}, SampledItem{machine.Timer(700)}});
  ASSERT_TRUE(results.ok());
  ASSERT_TRUE((*results)[0].stable);
  EXPECT_NEAR(((*results)[0].median - (*results)[1].median) * 500, 300, 15);
  EXPECT_GT((*results)[1].bursts, 5) << "a baseline is measured as well as what needs it";
}

TEST(SamplerTest, StopsAtTheCaps) {
  Machine machine;
  machine.noise = 2;
  SamplerOptions options = Tolerance(1e-6);
  options.max_bursts = 7;
  Sampler by_bursts(machine.Timer(500), options, &machine.clock);
  auto results = by_bursts.Measure({SampledItem{machine.Timer(100)}});
  ASSERT_TRUE(results.ok());
  EXPECT_EQ((*results)[0].bursts, 7);
  EXPECT_FALSE((*results)[0].stable);

  options.max_bursts = 1000000;
  options.max_time = absl::Seconds(1);
  Sampler by_time(machine.Timer(500), options, &machine.clock);
  const absl::Time start = machine.clock.Now();
  results = by_time.Measure({SampledItem{machine.Timer(100)}});
  ASSERT_TRUE(results.ok());
  EXPECT_FALSE((*results)[0].stable);
  EXPECT_GE(machine.clock.Now() - start, absl::Seconds(1));
  EXPECT_LT(machine.clock.Now() - start, absl::Seconds(2));
}

TEST(SamplerTest, ReportsProgressAndTheSameSeedGivesTheSameOrder) {
  std::vector<std::vector<int>> orders;
  for (const uint64_t seed : {1, 1, 2}) {
    Machine machine;
    SamplerOptions options;
    options.seed = seed;
    Sampler sampler(machine.Timer(500), options, &machine.clock);
    std::vector<int> order;
    std::vector<SampledItem> items;
    for (int i = 0; i < 6; ++i) {
      items.push_back({[&order, i, timer = machine.Timer(100)](int64_t runs) {
        order.push_back(i);
        return timer(runs);
      }});
    }
    std::vector<size_t> stable;
    ASSERT_TRUE(sampler
                    .Measure(items,
                             [&](size_t done, size_t total) {
                               EXPECT_EQ(total, 6U);
                               stable.push_back(done);
                             })
                    .ok());
    EXPECT_EQ(stable.front(), 0U);
    EXPECT_EQ(stable.back(), 6U);
    EXPECT_TRUE(std::is_sorted(stable.begin(), stable.end()));
    orders.push_back(order);
  }
  EXPECT_EQ(orders[0], orders[1]);
  EXPECT_NE(orders[0], orders[2]);
}

TEST(SamplerTest, EndsWithAnItemsError) {
  Machine machine;
  Sampler sampler(machine.Timer(500), {}, &machine.clock);
  const auto broken = [](int64_t) -> absl::StatusOr<std::vector<double>> {
    return absl::UnavailableError("helper died");
  };
  EXPECT_EQ(sampler.Measure({SampledItem{broken}}).status().code(), absl::StatusCode::kUnavailable);
  const auto too_few = [](int64_t) { return std::vector<double>{1}; };
  EXPECT_EQ(sampler.Measure({SampledItem{too_few}}).status().code(), absl::StatusCode::kInternal);
}

TEST(SamplerTest, CanBeInterrupted) {
  Machine machine;
  machine.noise = 1;
  Sampler sampler(machine.Timer(500), Tolerance(1e-9), &machine.clock);
  const InterruptScope scope([&] { return machine.bursts > 20; });
  EXPECT_EQ(sampler.Measure({SampledItem{machine.Timer(100)}}).status().code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace amc
