#include "server/cli/exit_status.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace amc {
namespace {

constexpr char kUsageUrl[] = "amc/usage";
constexpr char kInterruptedUrl[] = "amc/interrupted";
constexpr char kReportedUrl[] = "amc/reported";
constexpr char kHintUrl[] = "amc/hint";

// Whether all that was printed so far left this process.
absl::Status FlushOutput() {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("cannot write the output: ",
                                          errno != 0 ? std::strerror(errno) : "an earlier error"));
}

}  // namespace

absl::Status UsageError(absl::string_view message) {
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kUsageUrl, absl::Cord("1"));
  return status;
}

absl::Status InterruptedError(absl::string_view message) {
  absl::Status status = absl::CancelledError(message);
  status.SetPayload(kInterruptedUrl, absl::Cord("1"));
  return status;
}

absl::Status AlreadyReported(int code) {
  if (code == kExitDone) return absl::OkStatus();
  absl::Status status = absl::UnknownError(absl::StrCat("exit code ", code));
  status.SetPayload(kReportedUrl, absl::Cord(absl::StrCat(code)));
  return status;
}

absl::Status WithHint(absl::Status status, absl::string_view hint) {
  if (!status.ok() && !status.GetPayload(kHintUrl)) status.SetPayload(kHintUrl, absl::Cord(hint));
  return status;
}

ExitCode ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kExitDone;
  if (const auto reported = status.GetPayload(kReportedUrl)) {
    int code = kExitFailed;
    static_cast<void>(absl::SimpleAtoi(std::string(*reported), &code));
    return static_cast<ExitCode>(code);
  }
  if (status.GetPayload(kUsageUrl)) return kExitUsage;
  if (status.GetPayload(kInterruptedUrl)) return kExitInterrupted;
  return absl::IsUnavailable(status) ? kExitUnreachable : kExitFailed;
}

ExitCode ReportStatus(absl::string_view command, const absl::Status& status) {
  const ExitCode code = ExitCodeOf(status);
  if (code == kExitDone) {
    const absl::Status flushed = FlushOutput();
    return flushed.ok() ? code : ReportStatus(command, flushed);
  }
  if (status.GetPayload(kReportedUrl)) return code;
  std::string text = absl::StrCat(command, ": ", status.message(), "\n");
  if (const auto hint = status.GetPayload(kHintUrl)) {
    absl::StrAppend(&text, std::string(*hint), "\n");
  } else if (code == kExitUsage) {
    absl::StrAppend(&text, "`", command, " --help` lists its options.\n");
  }
  std::fflush(stdout);
  std::fputs(text.c_str(), stderr);
  return code;
}

}  // namespace amc
