// A child process that answers lines: what runs code that cannot be linked in here, and may crash
// without taking us along.
//
// A request is one line; the answer is one line, "ok ..." or "error TEXT". The child reads stdin
// and writes stdout until stdin ends; what it writes to stderr is quoted when it dies.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/file.h"

namespace amc {

// One thread at a time.
class HelperProcess {
 public:
  struct Options {
    std::string name;                   // what messages call it
    std::vector<std::string> command;   // the program (looked up in PATH) and its arguments
    std::vector<std::string> settings;  // "NAME=VALUE" besides this process's environment
  };
  // In a process group of its own, so that Ctrl-C ends it through us. NotFound if there is no such
  // program.
  static absl::StatusOr<std::unique_ptr<HelperProcess>> Start(const Options& options);
  ~HelperProcess();  // ends the child, after a second by force
  HelperProcess(const HelperProcess&) = delete;
  HelperProcess& operator=(const HelperProcess&) = delete;

  // The answer to `line` without its "ok ". InvalidArgument with its text if it is "error TEXT".
  // All else ends the child: Unavailable if it died (with its exit and the last of stderr),
  // DeadlineExceeded if it did not answer in time, Internal for an answer that is none, Cancelled
  // as CheckInterrupt; so then does every later call, with the first one's message.
  absl::StatusOr<std::string> Ask(absl::string_view line, absl::Duration timeout);

 private:
  HelperProcess(std::string name, TempDirectory folder, pid_t pid, int socket)
      : name_(std::move(name)), folder_(std::move(folder)), pid_(pid), socket_(socket) {}
  absl::Status Send(absl::string_view line, absl::Time deadline);
  absl::StatusOr<std::string> Receive(absl::Time deadline);
  // Waits until the socket is ready for `events`.
  absl::Status Await(short events, absl::Time deadline);
  // How the child ended, and the last of what it said.
  absl::Status Died();
  void Kill();

  const std::string name_;
  const TempDirectory folder_;  // holds its stderr
  pid_t pid_;                   // -1 once it is reaped
  int socket_;                  // its stdin and stdout
  int wait_status_ = 0;         // of a reaped one
  std::string received_;        // beyond the last line
  absl::Status broken_;         // why it is of no more use
};

}  // namespace amc
