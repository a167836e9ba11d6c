#include "server/cli/supervisor.h"

#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/cli/exit_status.h"

namespace amc {
namespace {

// Whether a signal comes from somebody rather than from a fault: SIGKILL, or what asks to leave.
bool FromOutside(int signal) {
  return signal == SIGKILL || signal == SIGTERM || signal == SIGINT || signal == SIGHUP;
}

bool IsOwnExitCode(int code) {
  return code == kExitFailed || code == kExitUsage || code == kExitUnreachable ||
         code == kExitInterrupted;
}

}  // namespace

Ending ClassifyEnding(int wait_status, bool out_of_memory) {
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    if (signal == SIGKILL && out_of_memory) {
      return {EndKind::kCrashed, 0, "killed for want of memory"};
    }
    return {FromOutside(signal) ? EndKind::kKilled : EndKind::kCrashed, 0,
            absl::StrCat("killed by signal ", signal, " (", ::strsignal(signal), ")")};
  }
  const int code = WEXITSTATUS(wait_status);
  const EndKind kind = code == kExitDone     ? EndKind::kDone
                       : IsOwnExitCode(code) ? EndKind::kRefused
                                             : EndKind::kCrashed;
  return {kind, code, absl::StrCat("ended with exit code ", code)};
}

std::optional<int64_t> CounterIn(const std::string& text, const std::string& name) {
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::pair<std::string, std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    int64_t value = 0;
    if (words.first == name && absl::SimpleAtoi(words.second, &value)) return value;
  }
  return std::nullopt;
}

bool KilledForMemory(const OomKills& before, const OomKills& after) {
  if (before.group && after.group) return *after.group > *before.group;
  return before.machine && after.machine && *after.machine > *before.machine;
}

void OomWitness::Look(absl::Time now, const OomKills& kills) {
  if (now - newer_.at < kMemory) return;
  older_ = newer_.at == absl::InfinitePast() ? Reading{now, kills} : newer_;
  newer_ = {now, kills};
}

std::optional<absl::Duration> RestartPolicy::Next(EndKind kind, absl::Duration life,
                                                  bool registered) {
  if (registered) false_starts_ = 0;
  if (!registered && kind == EndKind::kCrashed && ++false_starts_ >= kFalseStarts) {
    return std::nullopt;
  }
  if (life >= kGoodLife) next_ = kFirst;
  return std::exchange(next_, std::min(2 * next_, kLongest));
}

}  // namespace amc
