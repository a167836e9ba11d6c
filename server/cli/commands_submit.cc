// submit, watch: jobs on a server.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/cli/checks.h"
#include "server/cli/client.h"
#include "server/cli/commands.h"
#include "server/cli/exit_status.h"
#include "server/cli/follow.h"
#include "server/cli/input_check.h"
#include "server/cli/job_flags.h"
#include "server/cli/json.h"
#include "server/cli/report.h"
#include "server/cli/watcher.h"
#include "server/rpc/random_hex.h"

namespace amc {
namespace {

// Prints how a followed job ended.
absl::Status PrintEnd(const v1::Job& job, bool json) {
  if (json) {
    PrintJson(job);
  } else if (job.has_result()) {
    std::fputs(ResultText(job).c_str(), stdout);
  }
  return JobOutcome(job, ResumeHint(job));
}

struct SubmitArgs {
  ClientFlags client;
  JobFlags job;
  std::string request_id;
  bool wait = false, json = false;
};

absl::Status Submit(const SubmitArgs& args) {
  std::optional<Watcher> watcher;
  if (args.wait) watcher.emplace();
  AMC_ASSIGN_OR_RETURN(const v1::JobSpec local, MakeJobSpec(args.job));
  AMC_RETURN_IF_ERROR(CheckInputs(local));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(args.client));
  v1::JobSpec spec = local;
  AMC_RETURN_IF_ERROR(UploadInputs(*client, spec));
  v1::SubmitJobRequest request;
  request.set_request_id(args.request_id.empty() ? RandomHex(32) : args.request_id);
  *request.mutable_spec() = std::move(spec);
  const absl::StatusOr<v1::Job> submitted =
      client->Call(client->jobs(), &v1::JobService::Stub::SubmitJob, request);
  if (!submitted.ok()) return InTermsOfFlags(submitted.status(), args.job, local);
  const v1::Job& job = *submitted;
  if (watcher) {
    if (!args.json) std::fputs(absl::StrCat("job ", job.id(), "\n").c_str(), stderr);
    AMC_ASSIGN_OR_RETURN(const v1::Job ended, watcher->Follow(*client, job.id(), {}));
    return PrintEnd(ended, args.json);
  }
  if (args.json) {
    PrintJson(job);
  } else {
    std::puts(absl::StrCat("job ", job.id(), " is ", JobStateName(job.state()), "; `amc watch ",
                           job.id(), "` follows it.")
                  .c_str());
  }
  return absl::OkStatus();
}

Action DefineSubmit(CLI::App& app) {
  const auto args = std::make_shared<SubmitArgs>();
  app.add_option("JOBFILE", args->job.file, "A job file (amc init); flags override it");
  app.add_option("--model", args->job.model, "The network, ONNX, or its digest");
  AddJobFlags(app, args->job);
  app.add_option("--request-id", args->request_id,
                 "Submitting twice with the same id gives the same job; random if not given");
  app.add_flag("--wait", args->wait, "Follow the job to its end");
  app.add_flag("--json", args->json, "Print the Job as JSON");
  AddClientFlags(app, args->client);
  return [args] { return Submit(*args); };
}

struct WatchArgs {
  ClientFlags client;
  std::string job;
  int64_t after = 0;
  bool json = false;
};

absl::Status Watch(const WatchArgs& args) {
  Watcher watcher;
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(args.client));
  FollowOptions options;
  options.json = args.json;
  options.after_sequence = args.after;
  AMC_ASSIGN_OR_RETURN(const v1::Job job, watcher.Follow(*client, args.job, options));
  return args.json ? JobOutcome(job, ResumeHint(job)) : PrintEnd(job, false);
}

Action DefineWatch(CLI::App& app) {
  const auto args = std::make_shared<WatchArgs>();
  app.add_option("JOB", args->job, "The job's id")->required();
  app.add_option("--after", args->after, "Replay events after this sequence number")
      ->check(AtLeast(0))
      ->capture_default_str();
  app.add_flag("--json", args->json, "Print every JobEvent as a line of JSON");
  AddClientFlags(app, args->client);
  return [args] { return Watch(*args); };
}

}  // namespace

std::vector<Command> SubmitCommands() {
  return {{"submit", "Queue a job on a server",
           "amc submit job.json --model resnet20.onnx --data cifar.pack --budget 0.5 --wait",
           DefineSubmit},
          {"watch", "Follow a job to its end", "amc watch JOB", DefineWatch}};
}

}  // namespace amc
