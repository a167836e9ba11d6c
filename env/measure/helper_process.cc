#include "env/measure/helper_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/interrupt.h"
#include "base/status_macros.h"
#include "base/utf8.h"

extern char** environ;

namespace amc {
namespace {

constexpr size_t kMaxAnswer = size_t{1} << 22;
constexpr size_t kMaxQuoted = 500;                           // bytes of what a dead helper said
constexpr absl::Duration kGlance = absl::Milliseconds(100);  // between looks at CheckInterrupt
constexpr absl::Duration kFarewell = absl::Seconds(1);

// Variables that would change how fast a helper computes, or what node does.
bool IsUnwelcome(absl::string_view variable) {
  return absl::StartsWith(variable, "NODE_") || absl::StartsWith(variable, "OMP_") ||
         absl::StartsWith(variable, "GOMP_") || absl::StartsWith(variable, "OPENBLAS_") ||
         absl::StartsWith(variable, "MALLOC_") || absl::StartsWith(variable, "OPENCV_") ||
         absl::StartsWith(variable, "UV_");
}

std::vector<std::string> Environment(const std::vector<std::string>& settings) {
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!IsUnwelcome(*variable)) environment.emplace_back(*variable);
  }
  environment.insert(environment.end(), settings.begin(), settings.end());
  return environment;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

// At most `length` bytes of the end of `text`, on one line.
std::string Tail(absl::string_view text, size_t length) {
  text = absl::StripAsciiWhitespace(text);
  std::string tail = ToUtf8(text.substr(text.size() - std::min(text.size(), length)));
  std::replace(tail.begin(), tail.end(), '\n', ' ');
  return tail;
}

}  // namespace

absl::StatusOr<std::unique_ptr<HelperProcess>> HelperProcess::Start(const Options& options) {
  AMC_ASSIGN_OR_RETURN(TempDirectory folder, TempDirectory::Create("amc-helper"));
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return ErrnoToStatus(errno, "cannot make a socket for", options.name);
  }
  const std::string said = folder.path() + "/stderr";
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, said.c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
  sigset_t none;
  sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  std::vector<std::string> command = options.command;
  std::vector<std::string> environment = Environment(options.settings);
  pid_t pid = -1;
  const int error = ::posix_spawnp(&pid, command[0].c_str(), &actions, &attributes,
                                   Pointers(command).data(), Pointers(environment).data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (error != 0) {
    ::close(ends[0]);
    return ErrnoToStatus(error, "cannot execute", options.command[0]);
  }
  return absl::WrapUnique(new HelperProcess(options.name, std::move(folder), pid, ends[0]));
}

HelperProcess::~HelperProcess() {
  if (pid_ > 0) {
    ::shutdown(socket_, SHUT_RDWR);
    for (const absl::Time end = absl::Now() + kFarewell; pid_ > 0 && absl::Now() < end;) {
      if (::waitpid(pid_, &wait_status_, WNOHANG) == pid_) {
        pid_ = -1;
      } else {
        absl::SleepFor(absl::Milliseconds(2));
      }
    }
  }
  Kill();
  ::close(socket_);
}

void HelperProcess::Kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, &wait_status_, 0) < 0 && errno == EINTR) continue;
  pid_ = -1;
}

absl::Status HelperProcess::Died() {
  // Its end of the socket is closed, so it is ending: by itself, which must not be cut short.
  for (int i = 0; pid_ > 0 && i < 500; ++i) {
    if (::waitpid(pid_, &wait_status_, WNOHANG) == pid_) {
      pid_ = -1;
    } else {
      absl::SleepFor(absl::Milliseconds(2));
    }
  }
  Kill();
  const std::string how =
      WIFSIGNALED(wait_status_)
          ? absl::StrCat("signal ", WTERMSIG(wait_status_))
          : absl::StrCat("exit code ", WIFEXITED(wait_status_) ? WEXITSTATUS(wait_status_) : -1);
  const absl::StatusOr<std::string> said = ReadFile(folder_.path() + "/stderr");
  const std::string last = said.ok() ? Tail(*said, kMaxQuoted) : "";
  return absl::UnavailableError(
      absl::StrCat(name_, " died (", how, ")", last.empty() ? "" : ": ", last));
}

absl::Status HelperProcess::Await(short events, absl::Time deadline) {
  while (true) {
    AMC_RETURN_IF_ERROR(CheckInterrupt());
    pollfd waiting{socket_, events, 0};
    const absl::Duration left = std::min(kGlance, deadline - absl::Now());
    const int timeout = static_cast<int>(absl::ToInt64Milliseconds(left)) + 1;
    const int ready = ::poll(&waiting, 1, std::max(timeout, 0));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return ErrnoToStatus(errno, "cannot wait for", name_);
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat(name_, " hangs: no answer in time"));
    }
  }
}

absl::Status HelperProcess::Send(absl::string_view line, absl::Time deadline) {
  const std::string text = absl::StrCat(line, "\n");
  for (size_t sent = 0; sent < text.size();) {
    AMC_RETURN_IF_ERROR(Await(POLLOUT, deadline));
    const ssize_t count =
        ::send(socket_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      sent += static_cast<size_t>(count);
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return Died();
    } else if (errno != EINTR && errno != EAGAIN) {
      return ErrnoToStatus(errno, "cannot write to", name_);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> HelperProcess::Receive(absl::Time deadline) {
  size_t searched = 0;
  while (true) {
    if (const size_t end = received_.find('\n', searched); end != std::string::npos) {
      std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      return line;
    }
    searched = received_.size();
    if (received_.size() > kMaxAnswer) {
      return absl::InternalError(
          absl::StrCat(name_, " answered with ", received_.size(), " bytes without an end"));
    }
    AMC_RETURN_IF_ERROR(Await(POLLIN, deadline));
    std::array<char, 65536> buffer{};
    const ssize_t count = ::recv(socket_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count > 0) {
      received_.append(buffer.data(), static_cast<size_t>(count));
    } else if (count == 0 || errno == ECONNRESET) {
      return Died();
    } else if (errno != EINTR && errno != EAGAIN) {
      return ErrnoToStatus(errno, "cannot read from", name_);
    }
  }
}

absl::StatusOr<std::string> HelperProcess::Ask(absl::string_view line, absl::Duration timeout) {
  AMC_RETURN_IF_ERROR(broken_);
  const absl::Time deadline = absl::Now() + timeout;
  absl::StatusOr<std::string> answer = "";
  broken_ = Send(line, deadline);
  if (broken_.ok()) {
    answer = Receive(deadline);
    broken_ = answer.status();
  }
  if (broken_.ok()) {
    absl::string_view rest = *answer;
    if (rest == "ok") return std::string();
    if (absl::ConsumePrefix(&rest, "ok ")) return std::string(rest);
    if (absl::ConsumePrefix(&rest, "error ")) return absl::InvalidArgumentError(ToUtf8(rest));
    broken_ = absl::InternalError(
        absl::StrCat(name_, " answered \"", Tail(*answer, 80), "\", want ok or error"));
  }
  // The next answer could be to an earlier request.
  Kill();
  return broken_;
}

}  // namespace amc
