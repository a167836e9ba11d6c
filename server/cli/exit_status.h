// What a command ends with: a status, turned into one line on stderr, what to do next, and the
// process's exit code.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace amc {

enum ExitCode : int {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,          // the command line is wrong
  kExitUnreachable = 3,    // the server cannot be reached
  kExitInterrupted = 130,  // Ctrl-C, as shells count it
};

// An error of the command line itself: exits with kExitUsage.
absl::Status UsageError(absl::string_view message);

// The user stopped it: exits with kExitInterrupted.
absl::Status InterruptedError(absl::string_view message);

// Another process of ours has said on stderr what is wrong: nothing is written, and this process
// exits with the other's code. kExitDone gives OK.
absl::Status AlreadyReported(int code);

// `status` with a line for people that says what to do next. OK stays OK; an earlier hint stays.
absl::Status WithHint(absl::Status status, absl::string_view hint);

// kExitDone for OK, kExitUsage for UsageError, kExitInterrupted for InterruptedError,
// kExitUnreachable for Unavailable, AlreadyReported's own, else kExitFailed.
ExitCode ExitCodeOf(const absl::Status& status);

// Writes "amc COMMAND: message" and the hint to stderr; returns ExitCodeOf. OK writes nothing, but
// is a failure where what was printed to stdout did not get there (a full disk).
ExitCode ReportStatus(absl::string_view command, const absl::Status& status);

}  // namespace amc
