// workers, workers drain: who measures for a server, and who is to leave.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/cli/client.h"
#include "server/cli/commands.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"
#include "server/cli/json.h"
#include "server/cli/table.h"
#include "server/cli/worker_text.h"

namespace amc {
namespace {

struct WorkersArgs {
  ClientFlags client;
  std::vector<std::string> uuids;
  bool all = false, json = false;
};

absl::Status Workers(const WorkersArgs& args) {
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(args.client));
  AMC_ASSIGN_OR_RETURN(const std::vector<v1::Worker> workers, client->ListWorkers(!args.all));
  if (args.json) {
    v1::ListWorkersResponse response;
    response.mutable_workers()->Assign(workers.begin(), workers.end());
    PrintJson(response);
    return absl::OkStatus();
  }
  Table table({{"worker"},
               {"host"},
               {"state"},
               {"threads", Align::kRight},
               {"memory", Align::kRight},
               {"completed", Align::kRight},
               {"job"},
               {"task", Align::kRight},
               {"doing"},
               {"last seen"}});
  for (const v1::Worker& worker : workers) {
    const v1::WorkerCapabilities& can = worker.capabilities();
    table.AddRow({ShortUuid(worker), can.hostname(), WorkerStateName(worker),
                  absl::StrCat(can.threads()), HumanBytes(can.memory_bytes()),
                  absl::StrCat(worker.completed()), worker.lease().job(),
                  worker.has_lease() ? absl::StrCat(worker.lease().task()) : "",
                  WorkerActivity(worker), LocalTime(worker.last_seen_ms())});
  }
  std::fputs(table.ToString().c_str(), stdout);
  if (workers.empty() && !args.all) {
    std::fputs(
        "\nNobody is there: `amc worker --server ADDRESS` starts one; --all lists who was.\n",
        stdout);
  }
  return absl::OkStatus();
}

Action DefineWorkers(CLI::App& app) {
  const auto args = std::make_shared<WorkersArgs>();
  app.add_flag("--all", args->all, "Also those that are lost, gone or crashed");
  app.add_flag("--json", args->json, "Print the answer as JSON");
  AddClientFlags(app, args->client);
  return [args] { return Workers(*args); };
}

absl::Status Drain(const WorkersArgs& args) {
  if (args.all != args.uuids.empty()) {
    return UsageError(args.all ? "--all and a UUID: name the workers, or ask all of them"
                               : "UUID or --all is required");
  }
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(args.client));
  v1::DrainWorkersRequest request;
  request.set_all(args.all);
  if (!args.all) {
    AMC_ASSIGN_OR_RETURN(const std::vector<v1::Worker> there, client->ListWorkers(true));
    for (const std::string& prefix : args.uuids) {
      AMC_ASSIGN_OR_RETURN(*request.add_uuids(), FindWorker(there, prefix));
    }
  }
  AMC_ASSIGN_OR_RETURN(
      const v1::DrainWorkersResponse response,
      client->Call(client->workers(), &v1::WorkerService::Stub::DrainWorkers, request));
  if (args.json) {
    PrintJson(response);
    return absl::OkStatus();
  }
  const int asked = response.uuids_size();
  std::puts(absl::StrCat(asked, asked == 1 ? " worker finishes" : " workers finish",
                         " the task at hand and ", asked == 1 ? "leaves" : "leave",
                         "; `amc workers` shows who is still there.")
                .c_str());
  return absl::OkStatus();
}

Action DefineDrain(CLI::App& app) {
  const auto args = std::make_shared<WorkersArgs>();
  app.add_option("UUID", args->uuids,
                 "Workers as `amc workers` lists them; the first characters are enough");
  app.add_flag("--all", args->all, "Everybody who is there now");
  app.add_flag("--json", args->json, "Print the answer as JSON");
  AddClientFlags(app, args->client);
  return [args] { return Drain(*args); };
}

}  // namespace

std::vector<Command> WorkerCommands() {
  return {{"workers", "List the server's workers", "amc workers --all", DefineWorkers},
          {"workers drain", "Let workers finish what they have and leave",
           "amc workers drain 3fa9c2", DefineDrain}};
}

}  // namespace amc
