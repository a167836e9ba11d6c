// run: the whole service for one job, in one process tree.
//
// Starts a server on a private socket, looks for the job of the resolved spec among those of the
// folder or submits it, starts workers, follows it, fetches the result (local_jobs.h).
//
//   OUT/model.onnx    the smaller network
//   OUT/policy.json   what each group keeps (amc prune --policy)
//   OUT/history.jsonl every candidate as `amc history --canonical` prints it
//   OUT/stage-1/ ...  with --stages: the same of each stage; those above are the last one's
//   OUT/stages.json   with --stages: what `--json` prints
//   OUT/logs/         server.log, worker-1.log, ...
//   OUT/.amc/         database, artifacts, socket, lock
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/cli/checks.h"
#include "server/cli/client.h"
#include "server/cli/commands.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"
#include "server/cli/job_comparison.h"
#include "server/cli/json.h"
#include "server/cli/local_jobs.h"
#include "server/cli/report.h"
#include "server/cli/run.h"
#include "server/rpc/job_state.h"

namespace amc {
namespace {

std::string Progress(const v1::Job& job) {
  return absl::StrCat(SpentOf(job.evaluations_spent(), job.spec().search().episodes()),
                      " evaluations");
}

class Run {
 public:
  explicit Run(const RunArgs& args) : args_(args), server_(args.output) {}

  absl::Status Execute() { return OrWhyStopped(server_, Work()); }

 private:
  absl::Status Work() {
    AMC_ASSIGN_OR_RETURN(const v1::JobSpec local, MakeJobSpec(args_.job));
    AMC_RETURN_IF_ERROR(CheckBeforeStart(local));
    AMC_RETURN_IF_ERROR(server_.Start());
    server_.tree().OnStop([this] { client().CancelCalls(); });
    v1::JobSpec spec = local;
    AMC_RETURN_IF_ERROR(UploadInputs(client(), spec));
    AMC_ASSIGN_OR_RETURN(v1::Job job, FindOrSubmit(spec, local));
    if (job.state() == v1::JOB_STATE_SUCCEEDED) {
      std::fputs(absl::StrCat("already done (job ", job.id(), ")\n").c_str(), stderr);
      return WriteResult(job);
    }
    AMC_RETURN_IF_ERROR(
        StartWorkers(server_, job.spec(), WorkersFor(job.spec(), args_.workers, 1)));
    AMC_ASSIGN_OR_RETURN(job, FollowLocally(server_, job.id()));
    AMC_RETURN_IF_ERROR(
        JobOutcome(job, absl::StrCat("Its history is kept; the same command tries again. Logs: ",
                                     server_.log_folder())));
    return WriteResult(job);
  }

  // The folder's job of this spec, taken up again, or a new one. Whatever else the folder holds is
  // overwritten only if --force says so.
  absl::StatusOr<v1::Job> FindOrSubmit(const v1::JobSpec& spec, const v1::JobSpec& local) {
    AMC_ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, ListAllJobs(client()));
    const v1::Job* same = FindSame(jobs, spec);
    if (same == nullptr && !args_.force && !jobs.empty()) {
      const int64_t more = MoreEpisodes(jobs.front(), spec);
      if (more > 0) return Extend(jobs.front(), more);
    }
    if (!args_.force && !jobs.empty() && same != &jobs.front()) {
      AMC_RETURN_IF_ERROR(CheckReplaceable(args_, jobs.front(), spec));
    }
    AMC_RETURN_IF_ERROR(CancelOthers(client(), jobs, {same == nullptr ? "" : same->id()}));
    if (same != nullptr) return GoOn(*same);
    absl::StatusOr<v1::Job> job = SubmitOnce(client(), jobs, "run", spec);
    if (!job.ok()) return InTermsOfFlags(job.status(), args_.job, local);
    return job;
  }

  // How many evaluations `spec` asks for beyond the job's; 0 if it differs in anything else.
  static int64_t MoreEpisodes(const v1::Job& job, const v1::JobSpec& spec) {
    v1::JobSpec shorter = WithDefaults(spec);
    const int64_t more = shorter.search().episodes() - job.spec().search().episodes();
    shorter.mutable_search()->set_episodes(job.spec().search().episodes());
    return Differences(job.spec(), shorter).empty() ? more : 0;
  }

  absl::StatusOr<v1::Job> Extend(const v1::Job& job, int64_t more) {
    std::fputs(absl::StrCat("going on after ", Progress(job), " with ", more, " more than before\n")
                   .c_str(),
               stderr);
    AMC_RETURN_IF_ERROR(CancelOthers(client(), {job}, {}));  // it takes more once it has ended
    v1::ResumeJobRequest resume;
    resume.set_id(job.id());
    resume.set_more_episodes(more);
    return client().Call(client().jobs(), &v1::JobService::Stub::ResumeJob, resume);
  }

  absl::StatusOr<v1::Job> GoOn(const v1::Job& job) {
    if (job.state() != v1::JOB_STATE_SUCCEEDED && job.episodes_done() > 0) {
      std::fputs(absl::StrCat("going on after ", Progress(job), "\n").c_str(), stderr);
    }
    return TakeUp(client(), job);
  }

  absl::Status WriteResult(const v1::Job& job) {
    AMC_RETURN_IF_ERROR(WriteResultFiles(client(), job, server_.folder()));
    if (args_.json) {
      PrintJson(job.result());
      return absl::OkStatus();
    }
    std::fputs(
        absl::StrCat("\n", ResultText(job), WhatIsThere(args_, server_.folder(), "")).c_str(),
        stdout);
    return absl::OkStatus();
  }

  Client& client() { return server_.client(); }

  const RunArgs& args_;
  PrivateServer server_;
};

Action DefineRun(CLI::App& app) {
  const auto args = std::make_shared<RunArgs>();
  app.add_option("MODEL", args->job.model, "The network, ONNX");
  app.add_option("-o,--output", args->output,
                 "Folder of the result; the same command again goes on there")
      ->required();
  app.add_flag("--force", args->force,
               "Overwrite the results of another job in the folder, which stays readable");
  AddJobFlags(app, args->job);
  app.add_option("--stages", args->stages,
                 "Instead of --budget: what the result of each stage may cost, of the original's "
                 "cost, as in 0.5,0.25. A stage searches the network that the one before has "
                 "rebuilt; --episodes is for all of them, in equal parts. --learn-from and "
                 "--start-policy are for the first stage alone, whose network they fit")
      ->delimiter(',')
      ->check(Share())
      ->excludes("--budget")
      ->excludes("--budget-absolute");
  app.add_option("--job", args->job.file, "A job file (amc init); flags override it");
  app.add_option("--workers", args->workers,
                 "Worker processes; 0: as many as cores and parallel episodes allow")
      ->check(WholeBetween(0, 256))
      ->capture_default_str();
  app.add_flag("--json", args->json, "Print the JobResult as JSON, with --stages an object of all");
  return [args] { return args->stages.empty() ? Run(*args).Execute() : RunStages(*args); };
}

}  // namespace

absl::Status CheckReplaceable(const RunArgs& args, const v1::Job& job, const v1::JobSpec& spec) {
  if (job.episodes_done() == 0 && HasEnded(job.state())) return absl::OkStatus();
  const std::vector<std::string> differences = Differences(job.spec(), spec);
  return WithHint(
      UsageError(absl::StrCat(
          args.output, " holds job ", job.id(), " (", JobStateName(job.state()), ", ",
          Progress(job),
          "): ", differences.empty() ? "a newer one" : absl::StrJoin(differences, "; "))),
      absl::StrCat("Name another folder with -o, or overwrite the results here with --force; the "
                   "job stays readable: `amc history ",
                   job.id(), " --dir ", args.output, "`."));
}

std::string WhatIsThere(const RunArgs& args, const std::string& folder, const std::string& more) {
  const bool sparse = args.job.sparsity.has_value();
  const std::string data =
      IsSha256Hex(args.job.data) || args.job.data.empty() ? std::string("PACK") : args.job.data;
  return absl::StrCat(
      "\nIn ", folder, ":\n  model.onnx     the ",
      sparse ? "network with its zeros" : "smaller network",
      "\n  policy.json    what each group keeps\n  history.jsonl  every candidate\n", more,
      "  logs/          server and workers\n\n",
      sparse ? absl::StrCat("Next, for sparse runtimes: amc package ", args.output,
                            "/model.onnx --data ", data, " -o ", args.output, ".package\n")
             : absl::StrCat("Nothing was trained yet; next: amc finetune ", args.output,
                            "/model.onnx --data ", data, " -o tuned.onnx\n"));
}

std::vector<Command> RunCommands() {
  return {{"run", "Compress a network: server, workers and search in one command",
           "amc run resnet20.onnx --data cifar.pack --budget 0.5 -o out", DefineRun}};
}

}  // namespace amc
