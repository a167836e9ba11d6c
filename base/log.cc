#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace amc {
namespace {

std::atomic<LogSeverity> min_severity{LogSeverity::kInfo};

}  // namespace

void SetMinLogSeverity(LogSeverity severity) { min_severity = severity; }

namespace log_internal {

LogMessage::LogMessage(LogSeverity severity, const char* file, int line) : severity_(severity) {
  const char* base = std::strrchr(file, '/');
  stream_ << absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone()) << ' '
          << "IWEF"[static_cast<int>(severity)] << ' ' << (base ? base + 1 : file) << ':' << line
          << "] ";
}

LogMessage::~LogMessage() {
  if (severity_ >= min_severity.load()) {
    stream_ << '\n';
    const std::string text = stream_.str();
    // One write keeps lines of several threads and processes apart; a failed one has no remedy.
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
  }
  if (severity_ == LogSeverity::kFatal) std::abort();
}

}  // namespace log_internal
}  // namespace amc
