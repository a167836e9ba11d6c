// What becomes of workers that crash: how their end is read, when the next one starts, what the
// server hears. The workers are shell scripts, the server is a fake.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "amc/v1/worker.grpc.pb.h"
#include "base/file.h"
#include "base/mutex.h"
#include "gmock/gmock.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "server/cli/exit_status.h"
#include "server/cli/line_pipe.h"
#include "server/cli/supervised_worker.h"
#include "server/cli/supervisor.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kCore = 0x80;  // a wait status: signals stand in the low seven bits, exit codes above

TEST(ClassifyEndingTest, FaultsAreCrashes) {
  const Ending ending = ClassifyEnding(SIGSEGV | kCore, false);
  EXPECT_EQ(ending.kind, EndKind::kCrashed);
  EXPECT_EQ(ending.message, "killed by signal 11 (Segmentation fault)");
  EXPECT_EQ(ClassifyEnding(SIGABRT, false).kind, EndKind::kCrashed);
  EXPECT_EQ(ClassifyEnding(SIGSEGV, true).message, ending.message);
}

TEST(ClassifyEndingTest, SignalsThatSomebodySendsAreNot) {
  for (const int signal : {SIGKILL, SIGTERM, SIGINT, SIGHUP}) {
    EXPECT_EQ(ClassifyEnding(signal, false).kind, EndKind::kKilled) << signal;
  }
}

TEST(ClassifyEndingTest, TheKernelShortOfMemoryIsACrash) {
  const Ending ending = ClassifyEnding(SIGKILL, true);
  EXPECT_EQ(ending.kind, EndKind::kCrashed);
  EXPECT_EQ(ending.message, "killed for want of memory");
}

TEST(ClassifyEndingTest, OurOwnExitCodesAreNoCrashes) {
  EXPECT_EQ(ClassifyEnding(0, false).kind, EndKind::kDone);
  for (const int code : {1, 2, 3, 130}) {
    EXPECT_EQ(ClassifyEnding(code << 8, false).kind, EndKind::kRefused);
    EXPECT_EQ(ClassifyEnding(code << 8, false).exit_code, code);
  }
  for (const int code : {4, 127, 134}) {
    EXPECT_EQ(ClassifyEnding(code << 8, false).kind, EndKind::kCrashed);
    EXPECT_EQ(ClassifyEnding(code << 8, false).message,
              absl::StrCat("ended with exit code ", code));
  }
}

TEST(OomKillsTest, ReadsCounters) {
  const std::string events = "low 0\noom 3\noom_kill 2\noom_kill_group 9\n";
  EXPECT_EQ(CounterIn(events, "oom_kill"), 2);
  EXPECT_EQ(CounterIn(events, "none"), std::nullopt);
  EXPECT_EQ(CounterIn("oom_kill x\n", "oom_kill"), std::nullopt);
}

TEST(OomKillsTest, TheGroupIsTheBetterWitness) {
  EXPECT_TRUE(KilledForMemory({1, 5}, {2, 5}));
  EXPECT_FALSE(KilledForMemory({1, 5}, {1, 6}));
  EXPECT_TRUE(KilledForMemory({std::nullopt, 5}, {std::nullopt, 6}));
  EXPECT_FALSE(KilledForMemory({std::nullopt, 5}, {std::nullopt, 5}));
  EXPECT_FALSE(KilledForMemory({}, {}));
}

TEST(OomWitnessTest, RemembersTheLastSecondOrTwo) {
  const absl::Time start = absl::FromUnixSeconds(1000);
  OomWitness witness;
  witness.Look(start, {1, 1});
  EXPECT_FALSE(witness.Saw({1, 1}));
  EXPECT_TRUE(witness.Saw({2, 2}));
  witness.Look(start + absl::Seconds(1), {2, 2});
  EXPECT_TRUE(witness.Saw({2, 2}));  // counted before the process was gone
  witness.Look(start + absl::Seconds(1.1), {2, 2});
  EXPECT_TRUE(witness.Saw({2, 2}));  // a look out of turn makes it no shorter
  witness.Look(start + absl::Seconds(2), {2, 2});
  EXPECT_FALSE(witness.Saw({2, 2}));
  EXPECT_TRUE(witness.Saw({3, 3}));
}

TEST(RestartPolicyTest, WaitsTwiceAsLongEachTimeUntilALifeWasGood) {
  RestartPolicy policy;
  std::vector<double> waits;
  for (int i = 0; i < 7; ++i) {
    waits.push_back(absl::ToDoubleSeconds(*policy.Next(EndKind::kCrashed, absl::Seconds(3), true)));
  }
  EXPECT_THAT(waits, ElementsAre(1, 2, 4, 8, 16, 30, 30));
  EXPECT_EQ(policy.Next(EndKind::kKilled, absl::Minutes(1), true), absl::Seconds(1));
  EXPECT_EQ(policy.Next(EndKind::kKilled, absl::Seconds(1), true), absl::Seconds(2));
}

TEST(RestartPolicyTest, GivesUpWhereNoWorkerEverRegisters) {
  RestartPolicy policy;
  const auto next = [&policy](EndKind kind, bool registered) {
    return policy.Next(kind, absl::ZeroDuration(), registered).has_value();
  };
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(next(EndKind::kCrashed, false));
  EXPECT_TRUE(next(EndKind::kCrashed, true));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(next(EndKind::kCrashed, false));
  EXPECT_TRUE(next(EndKind::kKilled, false));
  EXPECT_FALSE(next(EndKind::kCrashed, false));
}

// Remembers what it is told.
class FakeWorkerService : public v1::WorkerService::Service {
 public:
  grpc::Status ReportCrash(grpc::ServerContext* /*context*/, const v1::ReportCrashRequest* request,
                           v1::ReportCrashResponse* /*response*/) override {
    MutexLock lock(&mutex_);
    reports_.push_back(*request);
    return grpc::Status::OK;
  }
  std::vector<v1::ReportCrashRequest> reports() {
    MutexLock lock(&mutex_);
    return reports_;
  }

 private:
  Mutex mutex_;
  std::vector<v1::ReportCrashRequest> reports_ ABSL_GUARDED_BY(mutex_);
};

class SuperviseWorkerTest : public testing::Test {
 protected:
  SuperviseWorkerTest() {
    // Before gRPC's threads begin, as in `amc worker`.
    ::signal(SIGHUP, SIG_DFL);
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&signals, signal);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    args_.server = "unix:" + folder_.path() + "/socket";
    grpc::ServerBuilder builder;
    builder.AddListeningPort(args_.server, grpc::InsecureServerCredentials());
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
  }
  // Supervises a script that finds the pipe's number in $fd and how often it has been started, from
  // 1 on, in $start.
  absl::Status Supervise(const std::string& body) {
    const std::string count = folder_.path() + "/count";
    const std::string script = absl::StrCat("fd=${1#--session-fd=}; echo >>", count,
                                            "; start=$(wc -l <", count, ")\n", body);
    return SuperviseWorker(args_, {"/bin/sh", "-c", script, "worker"}, oom_kills_);
  }

  TempDirectory folder_ = *TempDirectory::Create();
  FakeWorkerService service_;
  std::unique_ptr<grpc::Server> server_;
  WorkerArgs args_;
  OomKillsFn oom_kills_ = [] { return OomKills{.group = 0, .machine = 0}; };
};

TEST_F(SuperviseWorkerTest, ReportsACrashUnderTheLastSessionAndStartsAgain) {
  const auto news = *LinePipe::Open();
  args_.news_fd = news->writing_end();
  EXPECT_TRUE(
      Supervise("[ $start = 2 ] && exit 0\n"
                "echo first >/proc/self/fd/$fd; echo second >/proc/self/fd/$fd; kill -SEGV $$")
          .ok());
  const auto reports = service_.reports();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].session(), "second");
  EXPECT_EQ(reports[0].message(), "killed by signal 11 (Segmentation fault)");
  EXPECT_FALSE(reports[0].from_outside());
  EXPECT_THAT(news->Read(),
              ElementsAre("killed by signal 11 (Segmentation fault); it starts again in 1.0 s"));
}

TEST_F(SuperviseWorkerTest, SaysThatSomebodyKilledIt) {
  EXPECT_TRUE(
      Supervise("[ $start = 2 ] && exit 0\necho mine >/proc/self/fd/$fd; kill -KILL $$").ok());
  const auto reports = service_.reports();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].message(), "killed by signal 9 (Killed)");
  EXPECT_TRUE(reports[0].from_outside());
}

TEST_F(SuperviseWorkerTest, WhatTheKernelKilledLongAgoWasNotTheWorker) {
  const absl::Time soon = absl::Now() + absl::Milliseconds(500);
  oom_kills_ = [soon] { return OomKills{.group = absl::Now() < soon ? 0 : 1, .machine = 0}; };
  EXPECT_TRUE(Supervise("[ $start = 2 ] && exit 0\n"
                        "echo mine >/proc/self/fd/$fd; sleep 4; kill -KILL $$")
                  .ok());
  const auto reports = service_.reports();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_TRUE(reports[0].from_outside()) << reports[0].message();
}

TEST_F(SuperviseWorkerTest, AWorkerThatTheKernelKilledHasCrashed) {
  const std::string killed = folder_.path() + "/killed";
  oom_kills_ = [killed] {
    return OomKills{.group = ::access(killed.c_str(), F_OK) == 0 ? 1 : 0, .machine = 0};
  };
  EXPECT_TRUE(Supervise(absl::StrCat("[ $start = 2 ] && exit 0\necho mine >/proc/self/fd/$fd\n",
                                     "sleep 1.5; echo >", killed, "; kill -KILL $$"))
                  .ok());
  const auto reports = service_.reports();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].message(), "killed for want of memory");
  EXPECT_FALSE(reports[0].from_outside());
}

TEST_F(SuperviseWorkerTest, PassesOnTheExitCodeOfARefusal) {
  const absl::Status status = Supervise("echo mine >/proc/self/fd/$fd; exit 3");
  EXPECT_EQ(ExitCodeOf(status), kExitUnreachable);
  testing::internal::CaptureStderr();
  EXPECT_EQ(ReportStatus("amc worker", status), kExitUnreachable);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_THAT(service_.reports(), IsEmpty());
}

TEST_F(SuperviseWorkerTest, ACrashBeforeTheFirstSessionIsNotReported) {
  EXPECT_TRUE(Supervise("[ $start = 2 ] && exit 0\nexit 127").ok());
  EXPECT_THAT(service_.reports(), IsEmpty());
}

// The script works until a second signal, as workers do.
constexpr char kPatientScript[] =
    "stops=0; trap 'stops=$((stops + 1))' TERM\n"
    "echo mine >/proc/self/fd/$fd\n"
    "while [ $stops -lt 2 ]; do sleep 0.05; done; exit 130";

TEST_F(SuperviseWorkerTest, ForwardsEverySignalThatAsksToLeave) {
  const pid_t self = ::getpid();
  std::thread user([self] {
    for (int i = 0; i < 2; ++i) {
      absl::SleepFor(absl::Milliseconds(500));
      ::kill(self, i == 0 ? SIGINT : SIGTERM);
    }
  });
  const absl::Status status = Supervise(kPatientScript);
  user.join();
  EXPECT_EQ(ExitCodeOf(status), kExitInterrupted);
  EXPECT_THAT(service_.reports(), IsEmpty());
}

// The script ends with the code 3 if it was asked to leave so many times within a second.
std::string HangUpTwiceAndExpect(int stops) {
  return absl::StrCat(
      "stops=0; trap 'stops=$((stops + 1))' TERM\necho mine >/proc/self/fd/$fd\n"
      "kill -HUP $PPID; sleep 0.5; kill -HUP $PPID; sleep 0.5\n[ $stops = ",
      stops, " ] && exit 3; exit 1");
}

TEST_F(SuperviseWorkerTest, AClosedTerminalAsksToLeaveOnce) {
  EXPECT_EQ(ExitCodeOf(Supervise(HangUpTwiceAndExpect(1))), kExitUnreachable);
  EXPECT_THAT(service_.reports(), IsEmpty());
}

TEST_F(SuperviseWorkerTest, UnderNohupItDoesNot) {
  ::signal(SIGHUP, SIG_IGN);
  EXPECT_EQ(ExitCodeOf(Supervise(HangUpTwiceAndExpect(0))), kExitUnreachable);
  ::signal(SIGHUP, SIG_IGN);  // which forgets what came while this test's thread blocks it
  ::signal(SIGHUP, SIG_DFL);
}

TEST_F(SuperviseWorkerTest, ACrashOnTheWayOutIsReportedAndIsAFailure) {
  const pid_t self = ::getpid();
  std::thread user([self] {
    absl::SleepFor(absl::Milliseconds(500));
    ::kill(self, SIGTERM);
  });
  const absl::Status status = Supervise(
      "trap 'kill -ABRT $$' TERM\necho mine >/proc/self/fd/$fd; while :; do sleep 0.05; done");
  user.join();
  EXPECT_THAT(std::string(status.message()), HasSubstr("killed by signal 6 (Aborted)"));
  EXPECT_EQ(service_.reports().size(), 1u);
}

TEST_F(SuperviseWorkerTest, DoesNotStartAgainWhatWasAskedToLeaveWhileItWaits) {
  const pid_t self = ::getpid();
  std::thread user([self] {
    absl::SleepFor(absl::Milliseconds(600));
    ::kill(self, SIGTERM);
  });
  EXPECT_TRUE(Supervise("echo mine >/proc/self/fd/$fd; kill -SEGV $$").ok());
  user.join();
  EXPECT_EQ(service_.reports().size(), 1u);
}

}  // namespace
}  // namespace amc
