// Starting a program as a child that dies with the thread which started it. What becomes of the
// child is for its starter to watch: process_tree.h, supervised_worker.h.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace amc {

// The signals that ask a process with children to stop: SIGINT, SIGTERM and, unless this process
// ignores it (nohup), SIGHUP.
sigset_t StopSignals();

struct SpawnOptions {
  std::vector<std::string> arguments;    // with the program's path first
  std::vector<std::string> environment;  // "NAME=VALUE"
  int output = -1;                       // becomes stdout and stderr; -1: those of this process
  int errors = -1;                       // becomes stderr; -1: as `output`
  int inherited = -1;                    // a descriptor that the program keeps under its number
};

// Starts the program in a process group of its own (Ctrl-C in the terminal does not reach it), with
// no signal blocked, nothing on stdin, and SIGKILL as soon as this thread ends. It exits with 127
// if it cannot be executed. Errors are those of fork.
absl::StatusOr<pid_t> Spawn(const SpawnOptions& options);

}  // namespace amc
