// jobs, cancel, resume, delete, export: asking a server, one call each.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "server/cli/checks.h"
#include "server/cli/client.h"
#include "server/cli/commands.h"
#include "server/cli/engine.h"
#include "server/cli/engine_call.h"
#include "server/cli/exit_status.h"
#include "server/cli/follow.h"
#include "server/cli/format.h"
#include "server/cli/job_source.h"
#include "server/cli/json.h"
#include "server/cli/table.h"
#include "server/rpc/job_state.h"

namespace amc {
namespace {

struct JobArgs {
  ClientFlags client;
  std::string job, output, folder;
  std::vector<std::string> formats;  // export: of a package
  std::string data;                  // likewise
  int limit = 20;
  int64_t more_episodes = 0;
  bool json = false;
};

void AddJobRow(const v1::Job& job, Table& table) {
  table.AddRow(
      {job.id(), job.spec().name(), JobStateName(job.state()), absl::StrCat(job.episodes_done()),
       job.spec().has_build() ? ""
                              : SpentOf(job.evaluations_spent(), job.spec().search().episodes()),
       job.episodes_reused() > 0 ? absl::StrCat(job.episodes_reused()) : "",
       job.best_episode() >= 0 && job.episodes_done() > 0
           ? absl::StrFormat("%.4f", job.best_reward())
           : "",
       job.spec().has_build() ? "(latency table)" : job.spec().search().agent(),
       LocalTime(job.create_time_ms())});
}

Table JobTable() {
  return Table({{"job"},
                {"name"},
                {"state"},
                {"episodes", Align::kRight},
                {"evaluations", Align::kRight},
                {"reused", Align::kRight},
                {"best reward", Align::kRight},
                {"agent"},
                {"submitted"}});
}

absl::Status Jobs(const JobArgs& args) {
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<JobSource> source,
                       JobSource::OpenAll({args.client, "", args.folder}));
  Client* const client = &source->client();
  v1::ListJobsResponse all;
  v1::ListJobsRequest request;
  do {
    request.set_page_size(std::min(100, args.limit - all.jobs_size()));
    AMC_ASSIGN_OR_RETURN(v1::ListJobsResponse page,
                         client->Call(client->jobs(), &v1::JobService::Stub::ListJobs, request));
    request.set_page_token(page.next_page_token());
    all.MergeFrom(page);
  } while (!request.page_token().empty() && all.jobs_size() < args.limit);
  all.set_next_page_token(request.page_token());
  if (args.json) {
    PrintJson(all);
    return absl::OkStatus();
  }
  Table table = JobTable();
  std::string notes;
  for (const v1::Job& job : all.jobs()) {
    AddJobRow(job, table);
    if (job.state() == v1::JOB_STATE_FAILED) {
      absl::StrAppend(&notes, "\njob ", job.id(), " failed: ", job.message(), "\n",
                      FailureHint(job, ResumeHint(job)), "\n");
    }
  }
  if (!all.next_page_token().empty()) {
    absl::StrAppend(&notes, "\nThere are more jobs than these ", all.jobs_size(),
                    ": --limit shows more.\n");
  }
  std::fputs(absl::StrCat(table.ToString(), notes).c_str(), stdout);
  return absl::OkStatus();
}

void PrintJob(const v1::Job& job, bool json) {
  if (json) return PrintJson(job);
  Table table = JobTable();
  AddJobRow(job, table);
  std::fputs(table.ToString().c_str(), stdout);
}

// A call that takes a job's id, with whatever else `request` has, and returns the job.
template <typename Request>
absl::Status ChangeJob(const JobArgs& args,
                       grpc::Status (v1::JobService::Stub::*method)(grpc::ClientContext*,
                                                                    const Request&, v1::Job*),
                       Request request = Request()) {
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(args.client));
  request.set_id(args.job);
  AMC_ASSIGN_OR_RETURN(const v1::Job job, client->Call(client->jobs(), method, request));
  PrintJob(job, args.json);
  return absl::OkStatus();
}

absl::Status Cancel(const JobArgs& args) {
  return ChangeJob(args, &v1::JobService::Stub::CancelJob);
}

absl::Status Resume(const JobArgs& args) {
  v1::ResumeJobRequest request;
  request.set_more_episodes(args.more_episodes);
  return ChangeJob(args, &v1::JobService::Stub::ResumeJob, request);
}

absl::Status Delete(const JobArgs& args) {
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(args.client));
  v1::DeleteJobRequest request;
  request.set_id(args.job);
  AMC_ASSIGN_OR_RETURN(const v1::DeleteJobResponse response,
                       client->Call(client->jobs(), &v1::JobService::Stub::DeleteJob, request));
  if (args.json) PrintJson(response);
  return absl::OkStatus();
}

// A package of the job's network, made by the engine.
absl::Status ExportPackage(const JobArgs& args, Client& client, const v1::Job& job) {
  AMC_ASSIGN_OR_RETURN(const TempDirectory aside, TempDirectory::Create());
  const std::string model = absl::StrCat(aside.path(), "/model.onnx");
  const std::string policy = absl::StrCat(aside.path(), "/policy.json");
  AMC_RETURN_IF_ERROR(client.Download(job.result().model(), model));
  v1::Policy kept;
  for (const v1::Step& step : job.result().steps()) {
    v1::Decision& decision = *kept.add_decisions();
    decision.set_target(step.group());
    decision.set_kept(step.kept());
  }
  AMC_RETURN_IF_ERROR(WriteFileAtomically(policy, PolicyFileJson(kept)));
  std::vector<std::string> call = {"package",  model,    "--output",   args.output,
                                   "--job",    job.id(), "--original", job.spec().model(),
                                   "--policy", policy};
  if (args.formats != std::vector<std::string>{"all"}) {
    call.insert(call.end(), {"--format", absl::StrJoin(args.formats, ",")});
  }
  if (!args.data.empty()) call.insert(call.end(), {"--data", args.data});
  if (args.json) call.emplace_back("--json");
  AMC_ASSIGN_OR_RETURN(const std::string printed,
                       CallEngine(call, AvailableCores(), [] { return absl::OkStatus(); }));
  std::fputs(printed.c_str(), stdout);
  return absl::OkStatus();
}

absl::Status Export(const JobArgs& args) {
  if (args.formats.empty() && !args.data.empty()) {
    return UsageError("--data is what a package's self-test takes: --format makes one");
  }
  AMC_RETURN_IF_ERROR(args.formats.empty() ? CheckOutputFile(args.output)
                                           : CheckNewFolder(args.output));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(args.client));
  AMC_ASSIGN_OR_RETURN(const v1::Job job, client->GetJob(args.job));
  if (!job.has_result() && HasEnded(job.state())) {
    return WithHint(
        absl::FailedPreconditionError(absl::StrCat("job ", job.id(),
                                                   job.state() == v1::JOB_STATE_FAILED
                                                       ? absl::StrCat(" failed: ", job.message())
                                                       : std::string(" was cancelled"),
                                                   ": it has no network to hand out")),
        FailureHint(job, absl::StrCat("`amc resume ", job.id(), "` goes on with it.")));
  }
  if (!job.has_result()) {
    return WithHint(absl::FailedPreconditionError(absl::StrCat("job ", job.id(), " is ",
                                                               JobStateName(job.state()),
                                                               ": it has no network to hand out")),
                    absl::StrCat("`amc watch ", job.id(), "` waits for it."));
  }
  if (job.result().has_table()) {
    return WithHint(
        absl::FailedPreconditionError(absl::StrCat(
            "job ", job.id(), " has made a latency table: it has no network to hand out")),
        absl::StrCat("`amc lut export ", job.result().table().table().digest(),
                     " -o FILE.csv` writes the table."));
  }
  if (!args.formats.empty()) return ExportPackage(args, *client, job);
  AMC_RETURN_IF_ERROR(client->Download(job.result().model(), args.output));
  if (args.json) {
    PrintJson(job.result());
  } else {
    std::puts(absl::StrFormat("%s: %s MACs of %s, top-1 %s of %s", args.output,
                              HumanCount(job.result().compressed().cost().macs()),
                              HumanCount(job.result().original().cost().macs()),
                              Percent(job.result().compressed().top1(), 2),
                              Percent(job.result().original().top1(), 2))
                  .c_str());
  }
  return absl::OkStatus();
}

// A command of `run` with the flags common to all; `add` defines the rest.
Command Make(std::string name, std::string summary, std::string example,
             absl::Status (*run)(const JobArgs&), bool takes_job,
             std::function<void(CLI::App&, JobArgs&)> add = nullptr) {
  const auto define = [run, takes_job, add = std::move(add)](CLI::App& app) -> Action {
    const auto args = std::make_shared<JobArgs>();
    if (takes_job) app.add_option("JOB", args->job, "The job's id")->required();
    if (add) add(app, *args);
    app.add_flag("--json", args->json, "Print the answer as JSON");
    AddClientFlags(app, args->client);
    return [args, run] { return run(*args); };
  };
  return {std::move(name), std::move(summary), std::move(example), define};
}

}  // namespace

std::vector<Command> JobCommands() {
  return {
      Make("jobs", "List the server's jobs, newest first", "amc jobs --limit 50", Jobs, false,
           [](CLI::App& app, JobArgs& args) {
             app.add_option("--limit", args.limit, "Jobs at most")
                 ->check(WholeBetween(1, 1'000'000))
                 ->capture_default_str();
             app.add_option("--dir", args.folder,
                            "List those in the folder of an `amc run` instead of a server's");
           }),
      Make("cancel", "Stop a job; its history stays", "amc cancel JOB", Cancel, true),
      Make("resume", "Go on with a job: cancelled, failed, or done and to be given more episodes",
           "amc resume JOB --episodes +100", Resume, true,
           [](CLI::App& app, JobArgs& args) {
             app.add_option("--episodes", args.more_episodes,
                            "So many more evaluations, as in +100")
                 ->check(AtLeast(0));
           }),
      Make("delete", "Remove an ended job and its history", "amc delete JOB", Delete, true),
      Make("export", "Fetch the compressed network", "amc export JOB --output small.onnx", Export,
           true,
           [](CLI::App& app, JobArgs& args) {
             app.add_option("-o,--output", args.output,
                            "The ONNX file to write; with --format the folder to make")
                 ->required();
             app.add_option("--format", args.formats,
                            "Make a package for these sparse runtimes, as csr,nvidia24, or all")
                 ->delimiter(',');
             app.add_option("--data", args.data,
                            "Data pack whose reward images the package's self-test takes; without "
                            "one it takes noise");
           }),
  };
}

}  // namespace amc
