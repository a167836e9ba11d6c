// Helpers that misbehave, played by shell scripts.
#include "env/measure/helper_process.h"

#include "absl/time/clock.h"
#include "base/interrupt.h"
#include "env/measure/helper_runtime.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(60);

std::unique_ptr<HelperProcess> StartScript(const std::string& script) {
  return HelperProcess::Start({"the helper", {"sh", "-c", script}, {}}).value();
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(HelperProcessTest, AnswersLines) {
  const auto helper = StartScript("while read -r a b; do echo \"ok $b and $a\"; done");
  EXPECT_EQ(helper->Ask("one two", kLong).value(), "two and one");
  EXPECT_EQ(helper->Ask("x y z", kLong).value(), "y z and x");
}

TEST(HelperProcessTest, PassesErrorsOnAndLivesOn) {
  const auto helper = StartScript("read a; echo error Conv c1 is odd; read a; echo ok");
  const absl::Status error = helper->Ask("load", kLong).status();
  EXPECT_EQ(error, absl::InvalidArgumentError("Conv c1 is odd"));
  EXPECT_EQ(helper->Ask("load", kLong).value(), "");
}

TEST(HelperProcessTest, SaysHowAHelperDied) {
  const auto helper = StartScript("read a; echo cannot open the shop >&2; exit 3");
  const absl::Status died = helper->Ask("load", kLong).status();
  EXPECT_EQ(died.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Message(died),
              AllOf(HasSubstr("the helper died (exit code 3)"), HasSubstr("cannot open the shop")));
  EXPECT_EQ(helper->Ask("again", kLong).status(), died);
  const auto killed = StartScript("read a; kill -9 $$");
  EXPECT_THAT(Message(killed->Ask("load", kLong).status()), HasSubstr("signal 9"));
}

TEST(HelperProcessTest, OutlivesAHelperThatDiedBeforeItWasAsked) {
  const auto helper = StartScript("exit 0");
  absl::SleepFor(absl::Milliseconds(100));
  EXPECT_EQ(helper->Ask(std::string(1 << 20, 'x'), kLong).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(HelperProcessTest, GivesUpAHelperThatHangs) {
  const auto helper = StartScript("read a; echo ok; sleep 1000");
  EXPECT_TRUE(helper->Ask("first", kLong).ok());
  const absl::Time start = absl::Now();
  const absl::Status hung = helper->Ask("second", absl::Milliseconds(200)).status();
  EXPECT_EQ(hung.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(Message(hung), HasSubstr("the helper"));
  EXPECT_LT(absl::Now() - start, absl::Seconds(30));
  // One that does not even read.
  const auto deaf = StartScript("sleep 1000");
  EXPECT_EQ(deaf->Ask(std::string(8 << 20, 'x'), absl::Milliseconds(200)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(HelperProcessTest, RefusesGarbage) {
  const absl::Status garbage =
      StartScript("read a; echo '\xff}{ <html>'; cat")->Ask("a", kLong).status();
  EXPECT_EQ(garbage.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Message(garbage), HasSubstr("}{ <html>"));
  // Without an end.
  EXPECT_EQ(StartScript("cat /dev/zero")->Ask("a", kLong).status().code(),
            absl::StatusCode::kInternal);
}

TEST(HelperProcessTest, CanBeInterruptedWhileItWaits) {
  const auto helper = StartScript("sleep 1000");
  const absl::Time start = absl::Now();
  const InterruptScope scope([&] { return absl::Now() - start > absl::Milliseconds(150); });
  EXPECT_EQ(helper->Ask("a", kLong).status().code(), absl::StatusCode::kCancelled);
}

TEST(HelperProcessTest, NamesAProgramThatIsNotThere) {
  const auto helper = HelperProcess::Start({"x", {"/no/such/program"}, {}});
  EXPECT_EQ(helper.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(helper.status()), HasSubstr("/no/such/program"));
}

absl::StatusOr<std::unique_ptr<Runtime>> ScriptRuntime(const std::string& script,
                                                       absl::Duration timeout = kLong) {
  RuntimeOptions options;
  options.timeout = timeout;
  return CreateHelperRuntime("fake", {"sh", "-c", script}, "install it", options);
}

Graph SomeNetwork() {
  GraphBuilder builder;
  builder.graph.name = "some network";
  builder.Head(builder.Input({kDynamic, 3, 4, 4}));
  return builder.graph;
}

TEST(HelperRuntimeTest, SpeaksTheProtocol) {
  // Checks that the file is there while it is loaded.
  const auto runtime = ScriptRuntime(
      "read a; echo ok 1.2; read l t s p; [ $l$t$s = load11x3x4x4 ] && [ -s \"$p\" ] && echo ok 7;"
      "read a; [ \"$a\" = 'time 7 3' ] && echo ok 1.5 2 3e1; read a; [ \"$a\" = 'unload 7' ] && "
      "echo ok");
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  EXPECT_EQ((*runtime)->setting().runtime, "fake");
  EXPECT_EQ((*runtime)->setting().version, "1.2");
  const auto network = (*runtime)->Load(SomeNetwork());
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_THAT((*network)->Time(3).value(), ::testing::ElementsAre(1.5, 2, 30));
}

TEST(HelperRuntimeTest, RefusesTimesThatAreNone) {
  for (const char* const times : {"ok 1 2", "ok 1 2 x", "ok 1 2 nan", "ok 1 2 -3", "ok"}) {
    const auto runtime =
        ScriptRuntime(std::string("read a; echo ok 1; read a; echo ok 7; read a; echo ") + times +
                      "; read a; echo ok");
    const absl::Status refused = (*runtime)->Load(SomeNetwork()).value()->Time(3).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInternal) << times;
    EXPECT_THAT(Message(refused), HasSubstr("some network")) << times;
  }
}

TEST(HelperRuntimeTest, NamesTheNetworkThatKilledTheHelper) {
  const auto runtime = ScriptRuntime("read a; echo ok 1; read a; kill -11 $$");
  const absl::Status died = (*runtime)->Load(SomeNetwork()).status();
  EXPECT_EQ(died.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Message(died), AllOf(HasSubstr("some network"), HasSubstr("signal 11")));
}

TEST(HelperRuntimeTest, SaysWhatToInstall) {
  for (const auto& runtime :
       {ScriptRuntime("read a; echo error there is no onnxruntime-node"), ScriptRuntime("exit 1"),
        ScriptRuntime("sleep 1000", absl::Milliseconds(200)),
        CreateHelperRuntime("fake", {"/no/such/program"}, "install it", {})}) {
    EXPECT_EQ(runtime.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(Message(runtime.status()), AllOf(HasSubstr("fake"), HasSubstr("install it")));
  }
}

}  // namespace
}  // namespace amc
