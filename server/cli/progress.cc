#include "server/cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/cli/format.h"

namespace amc {
namespace {

constexpr absl::Duration kTerminalInterval = absl::Milliseconds(100);
constexpr absl::Duration kPlainInterval = absl::Seconds(10);
constexpr absl::Duration kTogether = absl::Milliseconds(50);

size_t TerminalColumns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

// The first `columns` code points.
std::string Clip(const std::string& text, size_t columns) {
  size_t seen = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) continue;
    if (seen++ == columns) return text.substr(0, i);
  }
  return text;
}

}  // namespace

ProgressLine::ProgressLine()
    : terminal_(::isatty(STDERR_FILENO) == 1),
      last_(terminal_ ? absl::InfinitePast() : absl::Now()) {}

void ProgressLine::Write(const std::string& text) {
  if (terminal_) {
    std::fputs(absl::StrCat("\r\x1b[K", Clip(text, TerminalColumns() - 1)).c_str(), stderr);
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

std::string EtaMeter::Eta(int64_t done, int64_t total, absl::Time now) {
  // What is reported together was done together.
  if (now - start_ < kTogether || done < done_at_start_) {
    start_ = done < done_at_start_ ? now : std::min(start_, now);
    done_at_start_ = done;
  }
  if (done >= total) return absl::StrCat("ETA ", HumanDuration(0));
  if (done <= done_at_start_) return "ETA ?";
  const double each =
      absl::ToDoubleSeconds(now - start_) / static_cast<double>(done - done_at_start_);
  return absl::StrCat("ETA ", HumanDuration(each * static_cast<double>(total - done)));
}

}  // namespace amc
