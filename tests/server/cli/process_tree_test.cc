// Children die with their parent's wish, and their deaths are told.
#include <unistd.h>

#include <csignal>
#include <string>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/cli/process_tree.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

class ProcessTreeTest : public testing::Test {
 protected:
  absl::Status StartShell(ProcessTree& tree, const std::string& script) {
    return tree.Start({.name = "shell",
                       .arguments = {"/bin/sh", "-c", script},
                       .environment = {"GREETING=hello"},
                       .log_path = log_});
  }
  // The status of `tree` once it is not OK.
  static absl::Status WaitForTrouble(ProcessTree& tree) {
    absl::Notification stopped;
    tree.OnStop([&] { stopped.Notify(); });
    EXPECT_TRUE(stopped.WaitForNotificationWithTimeout(absl::Seconds(20)));
    tree.OnStop(nullptr);
    return tree.status();
  }
  TempDirectory folder_ = *TempDirectory::Create();
  const std::string log_ = folder_.path() + "/log";
};

TEST_F(ProcessTreeTest, TellsHowAChildEndedWithTheEndOfItsLog) {
  ProcessTree tree;
  ASSERT_TRUE(StartShell(tree, "echo $GREETING; echo trouble >&2; exit 7").ok());
  const absl::Status status = WaitForTrouble(tree);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr("the shell ended with exit code 7"), HasSubstr("hello"),
                             HasSubstr("trouble")));
}

TEST_F(ProcessTreeTest, TellsThatAProgramCannotBeStarted) {
  ProcessTree tree;
  ASSERT_TRUE(tree.Start({.name = "ghost",
                          .arguments = {"/no/such/program"},
                          .environment = {},
                          .log_path = log_})
                  .ok());
  EXPECT_THAT(std::string(WaitForTrouble(tree).message()), HasSubstr("the ghost ended"));
  EXPECT_FALSE(
      tree.Start(
              {.name = "x", .arguments = {"/bin/true"}, .environment = {}, .log_path = "/no/log"})
          .ok());
}

TEST_F(ProcessTreeTest, PassesOnNews) {
  ProcessTree tree;
  ASSERT_TRUE(
      tree.Start({.name = "worker 1",
                  .arguments = {"/bin/sh", "-c",
                                "echo started again >/proc/self/fd/${1#--news=}; sleep 60", "sh"},
                  .environment = {},
                  .log_path = log_,
                  .news_option = "--news"})
          .ok());
  std::vector<std::string> news;
  for (int i = 0; i < 1000 && news.empty(); ++i) {
    absl::SleepFor(absl::Milliseconds(20));
    news = tree.TakeNews();
  }
  EXPECT_THAT(news, testing::ElementsAre("worker 1: started again"));
  EXPECT_THAT(tree.TakeNews(), testing::IsEmpty());
  EXPECT_TRUE(tree.status().ok());
}

TEST_F(ProcessTreeTest, StopsPolitelyFirst) {
  ProcessTree tree;
  ASSERT_TRUE(
      StartShell(tree, "trap 'echo goodbye; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
          .ok());
  while (LogTail(log_, 5) != "ready") absl::SleepFor(absl::Milliseconds(20));
  tree.Stop(absl::Seconds(20));
  EXPECT_EQ(LogTail(log_, 5), "ready\ngoodbye");
  EXPECT_TRUE(tree.status().ok());
}

TEST_F(ProcessTreeTest, KillsWhatDoesNotListen) {
  ProcessTree tree;
  ASSERT_TRUE(StartShell(tree, "trap '' TERM; echo ready; while :; do sleep 0.05; done").ok());
  while (LogTail(log_, 5) != "ready") absl::SleepFor(absl::Milliseconds(20));
  const absl::Time start = absl::Now();
  tree.Stop(absl::ZeroDuration());
  EXPECT_LT(absl::Now() - start, absl::Seconds(15));
}

TEST_F(ProcessTreeTest, ASignalCancelsAndLateListenersHearOfIt) {
  ProcessTree tree;
  ASSERT_TRUE(StartShell(tree, "sleep 60").ok());
  ::kill(::getpid(), SIGINT);
  EXPECT_TRUE(absl::IsCancelled(WaitForTrouble(tree)));
  bool told = false;
  tree.OnStop([&] { told = true; });
  EXPECT_TRUE(told);
}

}  // namespace
}  // namespace amc
