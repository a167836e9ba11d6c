// The two clocks, log lines, and the status macros.
#include "base/clock.h"

#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

TEST(ClockTest, FakeClockStandsStillUntilTold) {
  const absl::Time start = absl::FromUnixSeconds(1'000'000);
  FakeClock clock(start);
  EXPECT_EQ(clock.Now(), start);
  EXPECT_EQ(clock.Now(), start);
  clock.Advance(absl::Seconds(90));
  EXPECT_EQ(clock.Now(), start + absl::Seconds(90));
}

TEST(ClockTest, SystemClockIsTheMachines) {
  const absl::Time before = absl::Now();
  const absl::Time now = Clock::System()->Now();
  EXPECT_LE(before, now);
  EXPECT_LE(now, absl::Now());
  EXPECT_EQ(Clock::System(), Clock::System());
}

TEST(LogTest, LinesBelowTheSeverityAreDropped) {
  SetMinLogSeverity(LogSeverity::kWarning);
  ::testing::internal::CaptureStderr();
  AMC_LOG(kInfo) << "quiet";
  AMC_LOG(kWarning) << "loud " << 7;
  const std::string lines = ::testing::internal::GetCapturedStderr();
  SetMinLogSeverity(LogSeverity::kInfo);
  EXPECT_THAT(lines, ::testing::MatchesRegex("[0-9T:.-]*Z W clock_test.cc:[0-9]*. loud 7\n"));
}

TEST(LogTest, BrokenInvariantAborts) {
  EXPECT_DEATH(AMC_CHECK(1 + 1 == 3) << "group conv1", "group conv1");
}

absl::Status Fail(bool fail) {
  return fail ? absl::NotFoundError("no such group") : absl::OkStatus();
}
absl::StatusOr<int> Number(bool fail) {
  AMC_RETURN_IF_ERROR(Annotate(Fail(fail), "layer conv1"));
  return 41;
}
absl::StatusOr<int> Next(bool fail) {
  AMC_ASSIGN_OR_RETURN(const int number, Number(fail));
  return number + 1;
}

TEST(StatusMacrosTest, ErrorsPassThroughWithTheirContext) {
  EXPECT_EQ(Next(false).value(), 42);
  EXPECT_EQ(Next(true).status(), absl::NotFoundError("layer conv1: no such group"));
}

TEST(StatusMacrosTest, AnnotationKeepsPayloads) {
  absl::Status status = absl::InvalidArgumentError("bad");
  status.SetPayload("field", absl::Cord("budget.macs"));
  const absl::Status annotated = Annotate(status, "job");
  EXPECT_EQ(annotated.GetPayload("field"), absl::Cord("budget.macs"));
  EXPECT_TRUE(Annotate(absl::OkStatus(), "job").ok());
}

}  // namespace
}  // namespace amc
