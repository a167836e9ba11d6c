#include "base/interrupt.h"

#include <thread>

#include "gtest/gtest.h"

namespace amc {
namespace {

bool Interrupted() { return absl::IsCancelled(CheckInterrupt()); }

TEST(InterruptTest, NothingIsInterruptedWithoutAScope) { EXPECT_TRUE(CheckInterrupt().ok()); }

TEST(InterruptTest, AsksTheScopeEveryTime) {
  bool wanted = false;
  int asked = 0;
  {
    const InterruptScope scope([&] { return ++asked, wanted; });
    EXPECT_TRUE(CheckInterrupt().ok());
    wanted = true;
    EXPECT_TRUE(Interrupted());
    wanted = false;
    EXPECT_TRUE(CheckInterrupt().ok());
  }
  wanted = true;
  EXPECT_TRUE(CheckInterrupt().ok());
  EXPECT_EQ(asked, 3);
}

TEST(InterruptTest, AnyScopeAroundTheCallerCounts) {
  bool outer_wanted = false, inner_wanted = true;
  const InterruptScope outer([&] { return outer_wanted; });
  {
    const InterruptScope inner([&] { return inner_wanted; });
    EXPECT_TRUE(Interrupted());
    inner_wanted = false;
    EXPECT_FALSE(Interrupted());
    outer_wanted = true;
    EXPECT_TRUE(Interrupted());
    inner_wanted = true;
    outer_wanted = false;
  }
  EXPECT_FALSE(Interrupted());
  outer_wanted = true;
  EXPECT_TRUE(Interrupted());
}

TEST(InterruptTest, OtherThreadsDoNotSeeIt) {
  const InterruptScope scope([] { return true; });
  bool there = true;
  std::thread([&] { there = Interrupted(); }).join();
  EXPECT_FALSE(there);
  EXPECT_TRUE(Interrupted());
}

}  // namespace
}  // namespace amc
