#include "server/cli/command.h"

#include <CLI/CLI.hpp>
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
  absl::StrAppend(&text, "\n`", program,
                  " COMMAND --help` lists a command's options.\nExit codes: 0 done, 1 failed, 2 "
                  "wrong usage, 3 the server cannot be reached.\n");
  return text;
}

// The app of `name`, made with its parent where the name has two words.
CLI::App* AddSubcommand(CLI::App& root, const Command& command) {
  const std::vector<std::string> words = absl::StrSplit(command.name, ' ');
  CLI::App* parent = &root;
  if (words.size() == 2) {
    const auto named = root.get_subcommands(
        [&](const CLI::App* candidate) { return candidate->get_name() == words[0]; });
    parent = named.empty() ? root.add_subcommand(words[0]) : named.front();
    parent->require_subcommand(1);
  }
  CLI::App* app = parent->add_subcommand(words.back(), command.summary);
  app->footer(absl::StrCat("Example:\n  ", command.example));
  app->get_formatter()->column_width(34);
  return app;
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
  CLI::App root(description, program);
  root.require_subcommand(1);
  root.set_version_flag("--version", std::string(Version()));
  std::map<const CLI::App*, Action> actions;
  for (const Command& command : commands) {
    CLI::App* app = AddSubcommand(root, command);
    actions[app] = command.define(*app);
  }
  try {
    root.parse(argc, argv);
  } catch (const CLI::CallForVersion&) {
    std::puts(absl::StrCat(program, " ", std::string(Version())).c_str());
    return kExitDone;
  } catch (const CLI::CallForHelp&) {
    const bool whole = root.get_subcommands().empty();
    std::fputs((whole ? Overview(program, description, commands) : root.help()).c_str(), stdout);
    return kExitDone;
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
