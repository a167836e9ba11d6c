#include "server/cli/process_tree.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <deque>
#include <fstream>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "server/cli/child_process.h"

namespace amc {
namespace {

constexpr int kLogTailLines = 15;
constexpr absl::Duration kPoll = absl::Milliseconds(50);
constexpr absl::Duration kLastPatience = absl::Seconds(2);

std::string HowItEnded(int status) {
  return WIFSIGNALED(status) ? absl::StrCat("was killed by signal ", WTERMSIG(status))
                             : absl::StrCat("ended with exit code ", WEXITSTATUS(status));
}

}  // namespace

std::string LogTail(const std::string& path, int lines) {
  std::ifstream file(path);
  std::deque<std::string> tail;
  for (std::string line; std::getline(file, line);) {
    tail.push_back(line);
    if (tail.size() > static_cast<size_t>(lines)) tail.pop_front();
  }
  return absl::StrJoin(tail, "\n");
}

ProcessTree::ProcessTree() {
  const sigset_t signals = StopSignals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  watcher_ = std::thread([this] { Watch(); });
}

ProcessTree::~ProcessTree() {
  Stop(absl::ZeroDuration());
  {
    MutexLock lock(&mutex_);
    done_ = true;
  }
  watcher_.join();
}

absl::Status ProcessTree::Start(const ChildOptions& options) {
  const int log = ::open(options.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) return ErrnoToStatus(errno, "cannot write log", options.log_path);
  const absl::Cleanup close_log = [log] { ::close(log); };
  SpawnOptions spawn = {
      .arguments = options.arguments, .environment = options.environment, .output = log};
  Child child;
  child.options = options;
  if (!options.news_option.empty()) {
    AMC_ASSIGN_OR_RETURN(child.news, LinePipe::Open());
    spawn.inherited = child.news->writing_end();
    spawn.arguments.push_back(absl::StrCat(options.news_option, "=", spawn.inherited));
  }
  absl::StatusOr<pid_t> pid = Spawn(spawn);
  AMC_RETURN_IF_ERROR(Annotate(pid.status(), options.name));
  child.pid = *pid;
  if (child.news) child.news->CloseWritingEnd();
  MutexLock lock(&mutex_);
  children_.push_back(std::move(child));
  return absl::OkStatus();
}

std::vector<std::string> ProcessTree::TakeNews() {
  MutexLock lock(&mutex_);
  std::vector<std::string> news;
  for (const Child& child : children_) {
    if (!child.news) continue;
    for (const std::string& line : child.news->Read()) {
      news.push_back(absl::StrCat(child.options.name, ": ", line));
    }
  }
  return news;
}

absl::Status ProcessTree::status() const {
  MutexLock lock(&mutex_);
  return status_;
}

void ProcessTree::OnStop(std::function<void()> stop) {
  MutexLock lock(&mutex_);
  if (stop && !status_.ok()) return stop();
  stop_ = std::move(stop);
}

void ProcessTree::Watch() {
  const sigset_t signals = StopSignals();
  const timespec poll = absl::ToTimespec(kPoll);
  while (true) {
    const int signal = ::sigtimedwait(&signals, nullptr, &poll);
    MutexLock lock(&mutex_);
    if (done_) return;
    if (signal > 0) {
      if (!status_.ok()) impatient_ = true;
      status_.Update(absl::CancelledError("interrupted"));
    }
    for (const Child& child : children_) {
      siginfo_t info{};
      // Looks without reaping: Stop reaps.
      if (stopping_ || !status_.ok() ||
          ::waitid(P_PID, static_cast<id_t>(child.pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
          info.si_pid == 0) {
        continue;
      }
      int status = 0;
      ::waitpid(child.pid, &status, 0);
      status_ = absl::InternalError(absl::StrCat(
          "the ", child.options.name, " ", HowItEnded(status), "; the end of its log, ",
          child.options.log_path, ":\n", LogTail(child.options.log_path, kLogTailLines)));
      children_.erase(children_.begin() + (&child - children_.data()));
      break;
    }
    if (!status_.ok() && stop_) std::exchange(stop_, nullptr)();
  }
}

void ProcessTree::StopTogether(std::vector<Child> children, absl::Duration patience) {
  for (const Child& child : children) ::kill(child.pid, SIGTERM);
  const absl::Time again = absl::Now() + patience;
  bool asked_again = false;
  while (true) {
    std::erase_if(children, [](const Child& child) {
      const pid_t ended = ::waitpid(child.pid, nullptr, WNOHANG);
      return ended == child.pid || (ended < 0 && errno == ECHILD);
    });
    if (children.empty()) return;
    bool impatient = false;
    {
      MutexLock lock(&mutex_);
      impatient = impatient_;
    }
    const absl::Time now = absl::Now();
    const int signal = impatient || now > again + kLastPatience ? SIGKILL
                       : !asked_again && now > again            ? SIGTERM
                                                                : 0;
    asked_again = asked_again || signal == SIGTERM;
    for (const Child& child : children) ::kill(child.pid, signal);  // 0 does nothing
    absl::SleepFor(kPoll);
  }
}

void ProcessTree::Stop(absl::Duration patience) {
  std::vector<Child> first, later;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    later.swap(children_);
  }
  if (!later.empty()) {
    first.push_back(std::move(later.front()));
    later.erase(later.begin());
  }
  StopTogether(std::move(later), patience);
  StopTogether(std::move(first), patience);
}

}  // namespace amc
