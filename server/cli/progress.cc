#include "server/cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/cli/format.h"
#include "server/cli/terminal.h"

namespace amc {
namespace {

constexpr absl::Duration kTerminalInterval = absl::Milliseconds(100);
constexpr absl::Duration kPlainInterval = absl::Seconds(10);
constexpr absl::Duration kTogether = absl::Milliseconds(50);

}  // namespace

ProgressLine::ProgressLine()
    : terminal_(::isatty(STDERR_FILENO) == 1),
      last_(terminal_ ? absl::InfinitePast() : absl::Now()) {}

void ProgressLine::Write(const std::string& text) {
  if (terminal_) {
    std::fputs(
        absl::StrCat("\r\x1b[K", Clip(text, SizeOfTerminal(STDERR_FILENO).columns - 1)).c_str(),
        stderr);
    open_ = true;
  } else {
    std::fputs(absl::StrCat(text, "\n").c_str(), stderr);
  }
  std::fflush(stderr);
  pending_.clear();
  last_ = absl::Now();
}

void ProgressLine::Show(const std::string& text, bool important) {
  const absl::Duration interval = terminal_ ? kTerminalInterval : kPlainInterval;
  if (!important && absl::Now() - last_ < interval) {
    pending_ = text;
    return;
  }
  Write(text);
}

void ProgressLine::Say(const std::string& text) {
  if (open_) std::fputs("\r\x1b[K", stderr);
  open_ = false;
  pending_.clear();
  std::fputs(absl::StrCat(text, "\n").c_str(), stderr);
  std::fflush(stderr);
}

void ProgressLine::Finish() {
  if (terminal_ && !pending_.empty()) Write(pending_);
  if (open_) std::fputs("\n", stderr);
  open_ = false;
}

void EtaMeter::Add(double done, absl::Time now) {
  // What is reported together was done together.
  if (now - start_ < kTogether || done < done_at_start_) {
    start_ = done < done_at_start_ ? now : std::min(start_, now);
    done_at_start_ = done;
  }
  done_ = done;
}

double EtaMeter::PerSecond(absl::Time now) const {
  if (done_ <= done_at_start_ || now <= start_) return 0;
  return (done_ - done_at_start_) / absl::ToDoubleSeconds(now - start_);
}

std::string EtaMeter::Eta(double done, double total, absl::Time now) {
  Add(done, now);
  if (done >= total) return absl::StrCat("ETA ", HumanDuration(0));
  const double speed = PerSecond(now);
  if (speed <= 0) return "ETA ?";
  return absl::StrCat("ETA ", HumanDuration((total - done) / speed));
}

}  // namespace amc
