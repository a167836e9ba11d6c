// What people read: numbers, tables, bars, results, canonical history, errors.
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/cli/exit_status.h"
#include "server/cli/follow.h"
#include "server/cli/format.h"
#include "server/cli/history.h"
#include "server/cli/progress.h"
#include "server/cli/report.h"
#include "server/cli/table.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

TEST(FormatTest, CountsHaveFourDigitsAndAPrefix) {
  EXPECT_EQ(HumanCount(0), "0");
  EXPECT_EQ(HumanCount(640), "640");
  EXPECT_EQ(HumanCount(1000), "1.00 k");
  EXPECT_EQ(HumanCount(269722), "269.7 k");
  EXPECT_EQ(HumanCount(999949), "999.9 k");
  EXPECT_EQ(HumanCount(999999), "1.00 M");
  EXPECT_EQ(HumanCount(40551040), "40.55 M");
  EXPECT_EQ(HumanCount(std::numeric_limits<int64_t>::max()), "9.22 E");
  EXPECT_EQ(HumanBytes(1091234), "1.09 MB");
  EXPECT_EQ(HumanBytes(12), "12 B");
}

TEST(FormatTest, DurationsGrowCoarser) {
  EXPECT_EQ(HumanDuration(0.25), "0.2 s");
  EXPECT_EQ(HumanDuration(59.4), "59 s");
  EXPECT_EQ(HumanDuration(59.6), "1 min 00 s");
  EXPECT_EQ(HumanDuration(125), "2 min 05 s");
  EXPECT_EQ(HumanDuration(3 * 3600 + 12 * 60), "3 h 12 min");
  EXPECT_EQ(HumanDuration(NAN), "?");
  EXPECT_EQ(HumanDuration(-1), "?");
}

TEST(FormatTest, DoublesReadBackToTheSameBits) {
  for (const double value : {0.1, 1.0 / 3, 1e-300, 6.02214076e23, -0.0, 5e-324}) {
    EXPECT_EQ(std::strtod(RoundTrip(value).c_str(), nullptr), value) << RoundTrip(value);
  }
  EXPECT_EQ(RoundTrip(0.1), "0.1");
  EXPECT_EQ(RoundTrip(NAN), "null");
}

TEST(FormatTest, EvaluationsHaveOneDecimal) {
  EXPECT_EQ(SpentOf(12.34, 200), "12.3/200");
  EXPECT_EQ(SpentOf(16, 16), "16.0/16");
}

TEST(FormatTest, ClipsByCodePoints) {
  EXPECT_EQ(Clip("héé", 2), "hé");
  EXPECT_EQ(Clip("hé", 9), "hé");
  EXPECT_EQ(Clip("h", 0), "");
}

TEST(FormatTest, JsonStringsEscapeWhatTheyMust) {
  EXPECT_EQ(JsonQuote("a\"b\\c\nd"), R"("a\"b\\c\u000ad")");
}

TEST(FormatTest, BarsAreClipped) {
  EXPECT_EQ(DisplayWidth(Bar(0.5, 30)), 30u);
  EXPECT_EQ(Bar(2, 8), Bar(1, 8));
  EXPECT_EQ(Bar(NAN, 8), Bar(0, 8));
}

TEST(TableTest, AlignsByCodePoints) {
  Table table({{"name"}, {"n", Align::kRight}});
  table.AddRow({"é", "10"});
  table.AddRow({"longer"});
  EXPECT_EQ(table.ToString(),
            "name     n\n"
            "------  --\n"
            "é       10\n"
            "longer\n");
}

TEST(EtaTest, TimesOnlyWhatComesAfterTheFirstReport) {
  const absl::Time start = absl::FromUnixSeconds(1'000'000);
  EtaMeter meter;
  // A resumed job: 40 were done before, and two come together.
  EXPECT_EQ(meter.Eta(41, 60, start), "ETA ?");
  EXPECT_EQ(meter.Eta(42, 60, start), "ETA ?");
  EXPECT_EQ(meter.Eta(43, 60, start + absl::Seconds(2)), "ETA 34 s");
  EXPECT_EQ(meter.Eta(44, 60, start + absl::Seconds(2)), "ETA 16 s");
  EXPECT_EQ(meter.Eta(60, 60, start + absl::Seconds(9)), "ETA 0.0 s");
}

TEST(EtaTest, KnowsTheSpeed) {
  const absl::Time start = absl::FromUnixSeconds(1'000'000);
  EtaMeter meter;
  EXPECT_EQ(meter.PerSecond(start), 0);
  meter.Add(40, start);
  EXPECT_EQ(meter.PerSecond(start + absl::Seconds(5)), 0);
  meter.Add(43, start + absl::Seconds(6));
  EXPECT_EQ(meter.PerSecond(start + absl::Seconds(6)), 0.5);
  EXPECT_EQ(meter.PerSecond(start + absl::Seconds(12)), 0.25);
}

TEST(EtaTest, BeginsAnewWithANewCount) {
  const absl::Time start = absl::FromUnixSeconds(1'000'000);
  EtaMeter meter;
  EXPECT_EQ(meter.Eta(50, 100, start), "ETA ?");
  EXPECT_EQ(meter.Eta(1, 10, start + absl::Seconds(100)), "ETA ?");
  EXPECT_EQ(meter.Eta(2, 10, start + absl::Seconds(102)), "ETA 16 s");
}

TEST(ExitStatusTest, CodesFollowTheDesign) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("bad model")), 1);
  EXPECT_EQ(ExitCodeOf(UsageError("bad flag")), 2);
  EXPECT_EQ(ExitCodeOf(WithHint(UsageError("bad flag"), "do this")), 2);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("gone")), 3);
  EXPECT_EQ(ExitCodeOf(WithHint(InterruptedError("stopped"), "do this")), 130);
}

TEST(ExitStatusTest, WhatAnotherProcessSaidIsNotSaidAgain) {
  EXPECT_TRUE(AlreadyReported(0).ok());
  EXPECT_EQ(ExitCodeOf(AlreadyReported(130)), kExitInterrupted);
  testing::internal::CaptureStderr();
  EXPECT_EQ(ReportStatus("amc worker", AlreadyReported(3)), kExitUnreachable);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(ExitStatusTest, MessagesNameTheCommandAndSayWhatNext) {
  testing::internal::CaptureStderr();
  ReportStatus("amc jobs", WithHint(WithHint(absl::UnavailableError("gone"), "first"), "second"));
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "amc jobs: gone\nfirst\n");
}

v1::Episode SomeEpisode() {
  v1::Episode episode;
  episode.set_number(7);
  episode.set_note("warm-up");
  v1::Step& step = *episode.add_steps();
  step.set_group("Conv \"a\"");
  step.set_action(0.1);
  step.set_executed(0.5);
  step.set_kept(8);
  v1::Decision& decision = *episode.mutable_policy()->add_decisions();
  decision.set_target("Conv \"a\"");
  decision.set_kept(8);
  episode.mutable_cost()->set_macs(int64_t{1} << 60);
  episode.mutable_measurement()->set_top1(1.0 / 3);
  episode.mutable_measurement()->set_work(99);
  episode.set_evaluations(1);
  episode.set_reward(1.0 / 3);
  return episode;
}

TEST(CanonicalLineTest, HasTheseBytes) {
  EXPECT_EQ(
      CanonicalLine(SomeEpisode()),
      R"({"number":7,"note":"warm-up","kind":"candidate","steps":[{"group":"Conv \"a\"","action":0.1,)"
      R"("executed":0.5,"kept":8}],"policy":{"Conv \"a\"":8},)"
      R"("cost":{"macs":1152921504606846976,"params":0},"evaluations":1,)"
      R"("measurement":{"top1":0.3333333333333333,"top5":0,"loss":0,"kl":0,"soft_kl":0,"images":0,)"
      R"("macs":0,"params":0,"work":99},"reward":0.3333333333333333})");
}

TEST(CanonicalLineTest, LeavesOutTimesWorkersAndAttempts) {
  v1::Episode other = SomeEpisode();
  other.set_job("another");
  other.set_worker("w");
  other.set_attempts(3);
  other.set_seconds(1.5);
  other.set_commit_time_ms(1);
  other.set_reused(true);
  EXPECT_EQ(CanonicalLine(other), CanonicalLine(SomeEpisode()));
}

TEST(CanonicalLineTest, AnInfeasibleEpisodeHasItsReasonInsteadOfFigures) {
  v1::Episode episode;
  episode.set_number(3);
  episode.set_kind(v1::EPISODE_KIND_PROBE);
  episode.set_evaluations(0.125);
  episode.set_state(v1::EPISODE_STATE_INFEASIBLE);
  episode.set_infeasible("layer \"fc\": singular");
  episode.mutable_cost()->set_macs(9);
  EXPECT_EQ(
      CanonicalLine(episode),
      R"({"number":3,"note":"","kind":"probe","steps":[],"policy":{},)"
      R"("cost":{"macs":9,"params":0},"evaluations":0.125,"state":"infeasible","reason":"layer \"fc\": singular"})");
}

TEST(EpisodeNoteTest, SaysWhatIsNotInTheFigures) {
  v1::Episode episode;
  EXPECT_EQ(EpisodeNote(episode), "");
  episode.set_note("warm-up");
  episode.set_reused(true);
  EXPECT_EQ(EpisodeNote(episode), "warm-up, reused");
  episode.set_reused(false);
  episode.set_state(v1::EPISODE_STATE_INFEASIBLE);
  episode.set_infeasible("singular");
  EXPECT_EQ(EpisodeNote(episode), "warm-up, infeasible: singular");
}

TEST(JobOutcomeTest, FailuresSayWhatToDo) {
  v1::Job job;
  job.set_id("j");
  job.set_state(v1::JOB_STATE_FAILED);
  job.set_failure(v1::FAILURE_REASON_QUARANTINED);
  job.set_message("episode 5 crashed 3 workers: killed by signal 11 (Segmentation fault)");
  testing::internal::CaptureStderr();
  ReportStatus("amc watch", JobOutcome(job, ResumeHint(job)));
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("job j failed: episode 5 crashed 3 workers"));
  EXPECT_THAT(said, HasSubstr("logs"));
  EXPECT_THAT(said, HasSubstr("`amc resume j`"));
  job.set_failure(v1::FAILURE_REASON_INFEASIBLE);
  EXPECT_THAT(FailureHint(job, "hint"), HasSubstr("`amc history j`"));
  job.set_failure(v1::FAILURE_REASON_LOST_WORKERS);
  EXPECT_THAT(FailureHint(job, "hint"), HasSubstr("hint"));
  job.set_failure(v1::FAILURE_REASON_INTERNAL);
  EXPECT_EQ(FailureHint(job, "hint"), "hint");
}

TEST(ReportTest, ShowsBeforeAndAfterAndABarForEachGroup) {
  v1::Job job;
  v1::JobResult& result = *job.mutable_result();
  result.mutable_original()->set_top1(0.928);
  result.mutable_original()->mutable_cost()->set_macs(40551040);
  result.mutable_compressed()->set_top1(0.902);
  result.mutable_compressed()->mutable_cost()->set_macs(20275520);
  v1::Step& step = *result.add_steps();
  step.set_group("conv1");
  step.set_kept(4);
  step.set_channels(16);
  const std::string text = ResultText(job);
  EXPECT_THAT(text, HasSubstr("40.55 M  20.28 M           50.0%"));
  EXPECT_THAT(text, HasSubstr("92.80%   90.20%    -2.60 points"));
  EXPECT_THAT(text, HasSubstr(" 25%  4 of 16\n"));
}

}  // namespace
}  // namespace amc
