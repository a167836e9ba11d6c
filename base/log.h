// Log lines on stderr and invariant checks. Debian's Abseil has no absl/log, and libtorch defines
// LOG and CHECK, so ours are AMC_LOG and AMC_CHECK.
//
//   AMC_LOG(kInfo) << "job " << id << " started";
//   AMC_CHECK(kept <= channels) << "group " << name;   // aborts: for our own invariants only
//
// A line is "2026-11-20T22:15:01.123Z I file.cc:42] message". Thread-safe: one write per line.
#pragma once

#include <sstream>
#include <string>

namespace amc {

enum class LogSeverity { kInfo, kWarning, kError, kFatal };

// Lines below this severity are dropped. kInfo unless set; servers log kInfo, commands kWarning.
void SetMinLogSeverity(LogSeverity severity);

namespace log_internal {

class LogMessage {
 public:
  LogMessage(LogSeverity severity, const char* file, int line);
  ~LogMessage();  // writes the line; aborts if kFatal
  LogMessage(const LogMessage&) = delete;
  LogMessage& operator=(const LogMessage&) = delete;
  std::ostream& stream() { return stream_; }

 private:
  LogSeverity severity_;
  std::ostringstream stream_;
};

struct Voidify {
  void operator&(std::ostream&) const {}
};

}  // namespace log_internal
}  // namespace amc

#define AMC_LOG(severity) \
  ::amc::log_internal::LogMessage(::amc::LogSeverity::severity, __FILE__, __LINE__).stream()

#define AMC_CHECK(condition) \
  (condition)                \
      ? (void)0              \
      : ::amc::log_internal::Voidify() & (AMC_LOG(kFatal) << "check failed: " #condition " ")
