#include "server/cli/command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "server/cli/exit_status.h"
#include "server/rpc/channel.h"

namespace amc {
namespace {

std::string Overview(const std::string& program, const std::string& description,
                     absl::Span<const Command> commands) {
  size_t width = 0;
  for (const Command& command : commands) width = std::max(width, command.name.size());
  std::string text =
      absl::StrCat(description, "\n\nusage: ", program, " COMMAND [OPTIONS]\n\nCommands:\n");
  for (const Command& command : commands) {
    absl::StrAppendFormat(&text, "  %-*s  %s\n", static_cast<int>(width), command.name,
                          command.summary);
  }
  absl::StrAppend(&text, "\nExamples:\n");
  for (const Command& command : commands) {
    if (!command.example.empty()) absl::StrAppend(&text, "  ", command.example, "\n");
  }
  absl::StrAppend(&text, "\n`", program, " COMMAND --help` or `", program,
                  " help COMMAND` lists a command's options.\nExit codes: 0 done, 1 failed, 2 "
                  "wrong usage, 3 the server cannot be reached, 130 interrupted.\n");
  return text;
}

// The app of `name`, made with its parent where the name has two words.
CLI::App* AddSubcommand(CLI::App& root, const Command& command) {
  const std::vector<std::string> words = absl::StrSplit(command.name, ' ');
  CLI::App* parent = &root;
  if (words.size() == 2) {
    const auto named = root.get_subcommands(
        [&](const CLI::App* candidate) { return candidate->get_name() == words[0]; });
    // "data" alone is no command; "workers" is one, and stands before "workers drain" in the table.
    parent = named.empty() ? root.add_subcommand(words[0])->require_subcommand(1) : named.front();
  }
  CLI::App* app = parent->add_subcommand(words.back(), command.summary);
  app->footer(absl::StrCat("Example:\n  ", command.example));
  app->get_formatter()->column_width(34);
  return app;
}

// How many letters one has to insert, drop or change to come from `a` to `b`, or two neighbours to
// swap.
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1,
                             cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

// Names the nearest command, if one is near.
absl::Status NoSuchCommand(const std::string& program, const std::string& name,
                           absl::Span<const Command> commands) {
  std::string nearest;
  size_t distance = 3;
  for (const Command& command : commands) {
    const size_t to = EditDistance(name, command.name);
    if (to >= distance) continue;
    nearest = command.name;
    distance = to;
  }
  return WithHint(UsageError(absl::StrCat("there is no command \"", name, "\"",
                                          nearest.empty() ? "" : "; did you mean ", nearest,
                                          nearest.empty() ? "" : "?")),
                  absl::StrCat("`", program, " --help` lists the commands."));
}

// "amc data pack" from the subcommands that were met.
std::string NameOf(const std::string& program, const CLI::App& root) {
  std::string name = program;
  for (auto met = root.get_subcommands(); !met.empty(); met = met.front()->get_subcommands()) {
    absl::StrAppend(&name, " ", met.front()->get_name());
  }
  return name;
}

}  // namespace

int RunCommandLine(const std::string& program, const std::string& description,
                   absl::Span<const Command> commands, int argc, char** argv) {
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  if (!words.empty() && words[0] == "help") {  // `amc help run` is `amc run --help`
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  if (!words.empty() && words[0][0] != '-' &&
      std::none_of(commands.begin(), commands.end(), [&](const Command& command) {
        return command.name.substr(0, command.name.find(' ')) == words[0];
      })) {
    return ReportStatus(program, NoSuchCommand(program, words[0], commands));
  }
  CLI::App root(description, program);
  root.require_subcommand(1);
  root.set_version_flag("--version", std::string(Version()));
  std::map<const CLI::App*, Action> actions;
  for (const Command& command : commands) {
    CLI::App* app = AddSubcommand(root, command);
    actions[app] = command.define(*app);
  }
  try {
    std::reverse(words.begin(), words.end());  // as CLI11 wants them
    root.parse(words);
  } catch (const CLI::CallForVersion&) {
    std::puts(absl::StrCat(program, " ", std::string(Version())).c_str());
    return ReportStatus(program, absl::OkStatus());
  } catch (const CLI::CallForHelp&) {
    const bool whole = root.get_subcommands().empty();
    std::fputs((whole ? Overview(program, description, commands) : root.help()).c_str(), stdout);
    return ReportStatus(program, absl::OkStatus());
  } catch (const CLI::ParseError& error) {
    if (argc <= 1) {
      std::fputs(Overview(program, description, commands).c_str(), stderr);
      return kExitUsage;
    }
    return ReportStatus(NameOf(program, root), UsageError(error.what()));
  }
  const CLI::App* met = &root;
  while (!met->get_subcommands().empty()) met = met->get_subcommands().front();
  const std::string name = NameOf(program, root);
  try {
    return ReportStatus(name, actions.at(met)());
  } catch (const std::exception& error) {
    // Out of memory, or a library's exception that nobody closer to it expects.
    return ReportStatus(name, absl::InternalError(error.what()));
  }
}

}  // namespace amc
