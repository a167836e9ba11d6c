// backup: copies a server's data while it works.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/cli/backup.h"
#include "server/cli/client.h"
#include "server/cli/commands.h"
#include "server/cli/format.h"

namespace amc {
namespace {

struct BackupArgs {
  ClientFlags client;
  std::string folder;
  bool json = false;
};

absl::Status RunBackup(const BackupArgs& args) {
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(args.client));
  AMC_ASSIGN_OR_RETURN(const BackupSummary done, BackUp(*client, args.folder));
  if (args.json) {  // 64-bit integers are strings, as in proto3 JSON
    std::puts(absl::StrCat("{\"folder\": ", JsonQuote(args.folder), ", \"database_bytes\": \"",
                           done.database_bytes, "\", \"artifacts\": \"", done.artifacts,
                           "\", \"artifacts_copied\": \"", done.copied, "\", \"bytes_copied\": \"",
                           done.copied_bytes, "\"}")
                  .c_str());
  } else {
    std::puts(absl::StrCat(args.folder, ": database ", HumanBytes(done.database_bytes), ", ",
                           done.artifacts, " artifacts (", done.copied, " new, ",
                           HumanBytes(done.copied_bytes), "); `amc serve --data-folder ",
                           args.folder, "` goes on from here.")
                  .c_str());
  }
  return done.damaged;
}

Action DefineBackup(CLI::App& app) {
  const auto args = std::make_shared<BackupArgs>();
  app.add_option("FOLDER", args->folder,
                 "Where the copy goes; made if it is not there. An earlier backup in it is brought "
                 "up to date: only artifacts that it lacks are copied")
      ->required();
  app.add_flag("--json", args->json, "Print what was copied as JSON");
  AddClientFlags(app, args->client);
  return [args] { return RunBackup(*args); };
}

}  // namespace

std::vector<Command> BackupCommands() {
  return {{"backup", "Copy a server's data while it works", "amc backup /mnt/backup/amc",
           DefineBackup}};
}

}  // namespace amc
