// lut import, export, list, show, check, delete: latency tables, in files and on a server.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "server/cli/checks.h"
#include "server/cli/client.h"
#include "server/cli/commands.h"
#include "server/cli/exit_status.h"
#include "server/cli/json.h"
#include "server/cli/latency_file.h"
#include "server/cli/latency_text.h"
#include "server/rpc/latency_convert.h"

namespace amc {
namespace {

using Stub = v1::LatencyService::Stub;

constexpr size_t kLeastDigits = 6, kAllDigits = 64;

struct LutArgs {
  ClientFlags client;
  std::string file, digest, extend, output;
  int limit = 20;
  bool rows = false, json = false;
};

// A digest or its beginning; people may paste it in capitals.
CLI::Validator Digest() {
  return CLI::Validator(
      [](std::string& text) {
        text = absl::AsciiStrToLower(text);
        const bool good =
            text.size() >= kLeastDigits && text.size() <= kAllDigits &&
            std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isxdigit(c); });
        return good ? std::string()
                    : absl::StrCat("\"", text, "\" is not a table's digest or its first digits, ",
                                   kLeastDigits, " at least");
      },
      "DIGEST");
}

// Of tables that the server does not know.
absl::Status WithListHint(const absl::Status& status) {
  if (!absl::IsNotFound(status)) return status;
  return WithHint(status, "`amc lut list` lists the server's tables.");
}

absl::StatusOr<LatencyTable> Fetch(const LutArgs& args) {
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(args.client));
  v1::GetLatencyTableRequest request;
  request.set_digest(args.digest);
  const absl::StatusOr<v1::LatencyTable> message =
      client->Call(client->latency(), &Stub::GetLatencyTable, request);
  if (!message.ok()) return WithListHint(message.status());
  LatencyTable table = FromProto(*message);
  const absl::Status checked = CheckLatencyTable(table);
  const std::string got = checked.ok() ? LatencyDigest(table) : "";
  if (!absl::StartsWith(got, args.digest)) {
    return absl::DataLossError(absl::StrCat(
        "latency table ", args.digest, ": the server sent another one or a damaged one",
        checked.ok() ? absl::StrCat(", ", got) : absl::StrCat(": ", checked.message())));
  }
  return table;
}

void PrintInfo(const v1::LatencyTableInfo& info, bool json, const std::string& text) {
  if (json) return PrintJson(info);
  std::puts(text.c_str());
}

absl::Status Import(const LutArgs& args) {
  AMC_ASSIGN_OR_RETURN(const LatencyTable table, ReadLatencyFile(args.file));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(args.client));
  v1::ImportLatencyTableRequest request;
  *request.mutable_table() = ToProto(table);
  request.set_extend(args.extend);
  absl::StatusOr<v1::LatencyTableInfo> info =
      client->Call(client->latency(), &Stub::ImportLatencyTable, request);
  if (absl::IsFailedPrecondition(info.status())) {
    return WithHint(Annotate(info.status(), args.file),
                    "Without --extend it becomes a table of its own.");
  }
  if (!info.ok()) return WithListHint(Annotate(info.status(), args.file));
  PrintInfo(*info, args.json, absl::StrCat("table ", info->digest(), ": ", LatencySummary(*info)));
  return absl::OkStatus();
}

absl::Status Check(const LutArgs& args) {
  AMC_ASSIGN_OR_RETURN(const LatencyTable table, ReadLatencyFile(args.file));
  const v1::LatencyTableInfo info = DescribeLatencyTable(table);
  PrintInfo(info, args.json, absl::StrCat("table ", info.digest(), ": ", LatencySummary(info)));
  return absl::OkStatus();
}

// Whether `output` is to hold JSON: its ending says so, of stdout --json.
absl::StatusOr<bool> IsJsonOutput(const LutArgs& args) {
  if (args.output == "-") return args.json;
  if (absl::EndsWithIgnoreCase(args.output, ".json")) return true;
  if (absl::EndsWithIgnoreCase(args.output, ".csv")) return false;
  return UsageError(
      absl::StrCat("--output ", args.output, ": a table is written to FILE.csv, FILE.json or -"));
}

absl::Status Export(const LutArgs& args) {
  AMC_ASSIGN_OR_RETURN(const bool as_json, IsJsonOutput(args));
  if (args.output != "-") AMC_RETURN_IF_ERROR(CheckOutputFile(args.output));
  AMC_ASSIGN_OR_RETURN(const LatencyTable table, Fetch(args));
  const std::string text = as_json ? LatencyJson(table) : WriteLatencyCsv(table);
  if (args.output == "-") {
    std::fputs(text.c_str(), stdout);
    return absl::OkStatus();
  }
  AMC_RETURN_IF_ERROR(WriteFileAtomically(args.output, text));
  const v1::LatencyTableInfo info = DescribeLatencyTable(table);
  PrintInfo(info, args.json, absl::StrCat(args.output, ": ", LatencySummary(info)));
  return absl::OkStatus();
}

absl::Status List(const LutArgs& args) {
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(args.client));
  v1::ListLatencyTablesResponse all;
  v1::ListLatencyTablesRequest request;
  do {
    request.set_page_size(std::min(100, args.limit - all.tables_size()));
    AMC_ASSIGN_OR_RETURN(const v1::ListLatencyTablesResponse page,
                         client->Call(client->latency(), &Stub::ListLatencyTables, request));
    request.set_page_token(page.next_page_token());
    all.MergeFrom(page);
  } while (!request.page_token().empty() && all.tables_size() < args.limit);
  all.set_next_page_token(request.page_token());
  if (args.json) {
    PrintJson(all);
    return absl::OkStatus();
  }
  std::string text = LatencyListText(all);
  if (all.tables().empty()) {
    absl::StrAppend(&text, "\nThere are none: `amc lut import FILE` brings one in.\n");
  }
  if (!all.next_page_token().empty()) {
    absl::StrAppend(&text, "\nThere are more tables than these ", all.tables_size(),
                    ": --limit shows more.\n");
  }
  std::fputs(text.c_str(), stdout);
  return absl::OkStatus();
}

absl::Status Show(const LutArgs& args) {
  AMC_ASSIGN_OR_RETURN(const LatencyTable table, Fetch(args));
  std::fputs((args.json ? LatencyJson(table) : LatencyTableText(table, args.rows)).c_str(), stdout);
  return absl::OkStatus();
}

absl::Status Delete(const LutArgs& args) {
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(args.client));
  v1::DeleteLatencyTableRequest request;
  request.set_digest(args.digest);
  const absl::StatusOr<v1::DeleteLatencyTableResponse> response =
      client->Call(client->latency(), &Stub::DeleteLatencyTable, request);
  if (absl::IsFailedPrecondition(response.status())) {
    return WithHint(response.status(),
                    "`amc delete JOB` removes a job and its history; one that has not ended wants "
                    "`amc cancel JOB` before.");
  }
  if (!response.ok()) return WithListHint(response.status());
  if (args.json) PrintJson(*response);
  return absl::OkStatus();
}

void AddFile(CLI::App& app, LutArgs& args) {
  app.add_option("FILE", args.file, "The table: CSV or JSON (docs/formats.md)")->required();
}

void AddDigest(CLI::App& app, LutArgs& args) {
  app.add_option("DIGEST", args.digest, "The table's digest, or its first digits")
      ->required()
      ->transform(Digest());
}

// `amc lut NAME`, of `run`; `add` defines the options beside --json and, where a server is asked,
// the client's.
Command Make(const std::string& name, std::string summary, std::string example,
             absl::Status (*run)(const LutArgs&), bool asks_server,
             std::function<void(CLI::App&, LutArgs&)> add) {
  const auto define = [run, asks_server, add = std::move(add)](CLI::App& app) -> Action {
    const auto args = std::make_shared<LutArgs>();
    add(app, *args);
    app.add_flag("--json", args->json, "Print the answer as JSON");
    if (asks_server) AddClientFlags(app, args->client);
    return [args, run] { return run(*args); };
  };
  return {absl::StrCat("lut ", name), std::move(summary), std::move(example), define};
}

}  // namespace

std::vector<Command> LutCommands() {
  return {
      Make("import", "Give the server a latency table", "amc lut import pixel7.csv", Import, true,
           [](CLI::App& app, LutArgs& args) {
             AddFile(app, args);
             app.add_option("--extend", args.extend,
                            "Add its rows and fits to this table of the same setting; the result "
                            "is a new one")
                 ->transform(Digest());
           }),
      Make("export", "Write a latency table to a file", "amc lut export 3fa9c21b0d77 -o pixel7.csv",
           Export, true,
           [](CLI::App& app, LutArgs& args) {
             AddDigest(app, args);
             app.add_option("-o,--output", args.output,
                            "FILE.csv, FILE.json, or - for stdout (CSV, with --json JSON)")
                 ->required();
           }),
      Make("list", "List the server's latency tables, newest first", "amc lut list", List, true,
           [](CLI::App& app, LutArgs& args) {
             app.add_option("--limit", args.limit, "Tables at most")
                 ->check(WholeBetween(1, 1'000'000))
                 ->capture_default_str();
           }),
      Make("show", "Show a latency table's layers and fits", "amc lut show 3fa9c21b0d77 --rows",
           Show, true,
           [](CLI::App& app, LutArgs& args) {
             AddDigest(app, args);
             app.add_flag("--rows", args.rows, "Every row instead of a line a layer");
           }),
      Make("check", "Check a latency table's file, without a server", "amc lut check pixel7.csv",
           Check, false, AddFile),
      Make("delete", "Remove a latency table that no job names", "amc lut delete 3fa9c21b0d77",
           Delete, true, AddDigest),
  };
}

}  // namespace amc
