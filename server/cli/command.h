// The command line as a table: one row per command, shared by `amc` and `amc-engine`.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace CLI {
class App;
}  // namespace CLI

namespace amc {

// Runs a command whose options have been parsed.
using Action = std::function<absl::Status()>;

struct Command {
  std::string name;                             // "inspect", or two words: "data pack"
  std::string summary;                          // one line
  std::string example;                          // a whole command line that works
  std::function<Action(CLI::App& app)> define;  // adds the options, returns what runs them
};

// Parses the arguments, runs the command, reports its error; returns the process's exit code.
// `--help` and `--version` print to stdout and exit with 0, a wrong command line with kExitUsage.
int RunCommandLine(const std::string& program, const std::string& description,
                   absl::Span<const Command> commands, int argc, char** argv);

}  // namespace amc
