#include "server/rate.h"

#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace amc {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1'000'000);

absl::Time At(double seconds) { return kStart + absl::Seconds(seconds); }

TEST(RateTest, NothingHasHappenedYet) {
  const Rate rate(kStart);
  EXPECT_EQ(rate.total(), 0);
  EXPECT_EQ(rate.PerMinute(kStart), 0);
  EXPECT_EQ(rate.PerMinute(At(1000)), 0);
}

TEST(RateTest, CountsOverTheTimeSinceTheStartWhileThatIsShort) {
  Rate rate(kStart);
  for (int i = 0; i < 10; ++i) rate.Count(At(i));
  EXPECT_EQ(rate.PerMinute(At(10)), 60);
  EXPECT_EQ(rate.PerMinute(At(20)), 30);
  EXPECT_EQ(rate.PerMinute(At(59)), 10 * 60 / 59.);
}

TEST(RateTest, TheFirstSecondCountsAsAWholeOne) {
  Rate rate(kStart);
  rate.Count(kStart);
  EXPECT_EQ(rate.PerMinute(kStart), 60);
  EXPECT_EQ(rate.PerMinute(At(0.5)), 60);
  EXPECT_EQ(rate.PerMinute(At(-5)), 60);  // a clock that was set back
}

TEST(RateTest, LooksAtTheLastMinuteAlone) {
  Rate rate(kStart);
  for (int second = 0; second < 300; ++second) {
    for (int i = 0; i < (second < 200 ? 1 : 5); ++i) rate.Count(At(second));
  }
  EXPECT_EQ(rate.total(), 200 + 500);
  EXPECT_EQ(rate.PerMinute(At(299)), 300);
  EXPECT_EQ(rate.PerMinute(At(309)), 250);  // ten seconds of silence
  EXPECT_EQ(rate.PerMinute(At(358)), 5);
  EXPECT_EQ(rate.PerMinute(At(359)), 0);
  rate.Count(At(1000));  // a bucket that was used long ago
  EXPECT_EQ(rate.PerMinute(At(1000)), 1);
  EXPECT_EQ(rate.total(), 701);
}

TEST(RateTest, TimesBeforeTheEpochDoNoHarm) {
  Rate rate(kStart);
  rate.Count(absl::FromUnixSeconds(-7));
  rate.Count(absl::InfinitePast());
  EXPECT_EQ(rate.total(), 2);
  EXPECT_EQ(rate.PerMinute(At(0)), 0);
}

TEST(RateTest, ManyThreadsLoseNothing) {
  Rate rate(kStart);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&rate, t] {
      for (int i = 0; i < 1000; ++i) {
        rate.Count(At((i + t) % 30));
        if (i % 100 == 0) {
          EXPECT_GE(rate.PerMinute(At(59)), 0);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(rate.total(), 4000);
  EXPECT_EQ(rate.PerMinute(At(59)), 4000 * 60 / 59.);
}

}  // namespace
}  // namespace amc
