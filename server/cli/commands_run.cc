// run: the whole service for one job, in one process tree.
//
// Starts a server on a private socket, looks for the job of the resolved spec among those of the
// folder or submits it, starts workers, follows it, fetches the result. Nothing of the search lives
// in this process: after Ctrl-C, kill -9 or power loss the same command finds the job in the
// folder's database and goes on.
//
//   OUT/model.onnx    the smaller network
//   OUT/policy.json   what each group keeps (amc prune --policy)
//   OUT/history.jsonl every candidate as `amc history --canonical` prints it
//   OUT/logs/         server.log, worker-1.log, ...
//   OUT/.amc/         database, artifacts, socket, lock
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/cli/checks.h"
#include "server/cli/client.h"
#include "server/cli/commands.h"
#include "server/cli/engine.h"
#include "server/cli/exit_status.h"
#include "server/cli/follow.h"
#include "server/cli/history.h"
#include "server/cli/input_check.h"
#include "server/cli/job_comparison.h"
#include "server/cli/job_flags.h"
#include "server/cli/json.h"
#include "server/cli/private_server.h"
#include "server/cli/report.h"
#include "server/rpc/job_state.h"

namespace amc {
namespace {

constexpr absl::Duration kStallPatience = absl::Seconds(15);

struct RunArgs {
  JobFlags job;
  std::string output;
  int workers = 0;
  bool force = false, json = false;
};

class Run {
 public:
  explicit Run(const RunArgs& args) : args_(args), server_(args.output) {}

  absl::Status Execute() {
    absl::Status status = Work();
    if (!status.ok()) AMC_RETURN_IF_ERROR(Interrupted());  // which is why
    return status;
  }

 private:
  absl::Status Work() {
    AMC_ASSIGN_OR_RETURN(const v1::JobSpec local, MakeJobSpec(args_.job));
    AMC_RETURN_IF_ERROR(CheckInputs(local));
    if (local.evaluation().device() != v1::DEVICE_UNSPECIFIED) {
      AMC_RETURN_IF_ERROR(CheckEngineDevice(
          ShortEnumName(*v1::Device_descriptor()->FindValueByNumber(local.evaluation().device()))));
    }
    AMC_RETURN_IF_ERROR(server_.Start());
    server_.tree().OnStop([this] { client().CancelCalls(); });
    v1::JobSpec spec = local;
    AMC_RETURN_IF_ERROR(UploadInputs(client(), spec));
    AMC_ASSIGN_OR_RETURN(v1::Job job, FindOrSubmit(spec, local));
    if (job.state() == v1::JOB_STATE_SUCCEEDED) {
      std::fputs(absl::StrCat("already done (job ", job.id(), ")\n").c_str(), stderr);
      return WriteResult(job);
    }
    AMC_RETURN_IF_ERROR(StartWorkers(job.spec()));
    AMC_ASSIGN_OR_RETURN(job, Follow(job.id()));
    AMC_RETURN_IF_ERROR(
        JobOutcome(job, absl::StrCat("Its history is kept; the same command tries again. Logs: ",
                                     server_.log_folder())));
    return WriteResult(job);
  }

  absl::Status StartWorkers(const v1::JobSpec& spec) {
    const int threads = static_cast<int>(std::max<int64_t>(1, spec.evaluation().threads()));
    const int64_t parallel = std::max<int64_t>(1, spec.search().parallel_episodes());
    const int64_t workers = args_.workers > 0
                                ? args_.workers
                                : std::clamp<int64_t>(AvailableCores() / threads, 1, parallel);
    for (int64_t i = 1; i <= workers; ++i) {
      AMC_RETURN_IF_ERROR(server_.StartWorker(i, threads));
    }
    return absl::OkStatus();
  }

  // The folder's job of this spec, taken up again, or a new one. Whatever else the folder holds is
  // overwritten only if --force says so.
  absl::StatusOr<v1::Job> FindOrSubmit(const v1::JobSpec& spec, const v1::JobSpec& local) {
    AMC_ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, Jobs());
    const v1::Job* same = nullptr;
    for (const v1::Job& job : jobs) {
      if (same == nullptr && Differences(job.spec(), spec).empty()) same = &job;
    }
    if (same == nullptr && !args_.force && !jobs.empty()) {
      const int64_t more = MoreEpisodes(jobs.front(), spec);
      if (more > 0) return Extend(jobs.front(), more);
    }
    if (!args_.force && !jobs.empty() && same != &jobs.front()) {
      AMC_RETURN_IF_ERROR(CheckReplaceable(jobs.front(), spec));
    }
    for (const v1::Job& job : jobs) {  // which would share the workers
      if (&job == same || HasEnded(job.state())) continue;
      v1::CancelJobRequest cancel;
      cancel.set_id(job.id());
      AMC_RETURN_IF_ERROR(
          client().Call(client().jobs(), &v1::JobService::Stub::CancelJob, cancel).status());
    }
    return same != nullptr ? TakeUp(*same) : Submit(spec, local);
  }

  // How many episodes `spec` asks for beyond the job's; 0 if it differs in anything else.
  static int64_t MoreEpisodes(const v1::Job& job, const v1::JobSpec& spec) {
    v1::JobSpec shorter = WithDefaults(spec);
    const int64_t more = shorter.search().episodes() - job.spec().search().episodes();
    shorter.mutable_search()->set_episodes(job.spec().search().episodes());
    return Differences(job.spec(), shorter).empty() ? more : 0;
  }

  absl::StatusOr<v1::Job> Extend(const v1::Job& job, int64_t more) {
    std::fputs(absl::StrCat("going on after episode ", job.episodes_done(), " with ", more,
                            " more than before\n")
                   .c_str(),
               stderr);
    if (!HasEnded(job.state())) {  // it takes more once it has ended
      v1::CancelJobRequest cancel;
      cancel.set_id(job.id());
      AMC_RETURN_IF_ERROR(
          client().Call(client().jobs(), &v1::JobService::Stub::CancelJob, cancel).status());
    }
    v1::ResumeJobRequest resume;
    resume.set_id(job.id());
    resume.set_more_episodes(more);
    return client().Call(client().jobs(), &v1::JobService::Stub::ResumeJob, resume);
  }

  // Newest first.
  absl::StatusOr<std::vector<v1::Job>> Jobs() {
    std::vector<v1::Job> jobs;
    v1::ListJobsRequest request;
    request.set_page_size(100);
    do {
      AMC_ASSIGN_OR_RETURN(
          const v1::ListJobsResponse page,
          client().Call(client().jobs(), &v1::JobService::Stub::ListJobs, request));
      jobs.insert(jobs.end(), page.jobs().begin(), page.jobs().end());
      request.set_page_token(page.next_page_token());
    } while (!request.page_token().empty());
    return jobs;
  }

  // UsageError if another job's measurements lie in the folder. One that failed without any (an
  // original near chance) does not stand in the way.
  absl::Status CheckReplaceable(const v1::Job& job, const v1::JobSpec& spec) const {
    if (job.episodes_done() == 0 && HasEnded(job.state())) return absl::OkStatus();
    const std::vector<std::string> differences = Differences(job.spec(), spec);
    return WithHint(
        UsageError(
            absl::StrCat(args_.output, " holds job ", job.id(), " (", JobStateName(job.state()),
                         ", ", job.episodes_done(), " of ", job.episodes_total(), " episodes): ",
                         differences.empty() ? "a newer one" : absl::StrJoin(differences, "; "))),
        absl::StrCat("Name another folder with -o, or overwrite the results here with --force; the "
                     "job stays readable: `amc history ",
                     job.id(), " --dir ", args_.output, "`."));
  }

  absl::StatusOr<v1::Job> TakeUp(const v1::Job& job) {
    if (job.state() == v1::JOB_STATE_SUCCEEDED) return job;
    if (job.episodes_done() > 0) {
      std::fputs(absl::StrCat("going on after episode ", job.episodes_done(), " of ",
                              job.episodes_total(), "\n")
                     .c_str(),
                 stderr);
    }
    if (!HasEnded(job.state())) return job;
    v1::ResumeJobRequest resume;
    resume.set_id(job.id());
    return client().Call(client().jobs(), &v1::JobService::Stub::ResumeJob, resume);
  }

  // The same resolved inputs give the same request id, and so the same job.
  absl::StatusOr<v1::Job> Submit(const v1::JobSpec& spec, const v1::JobSpec& local) {
    v1::JobSpec resolved = WithDefaults(spec);
    resolved.clear_name();
    v1::SubmitJobRequest request;
    request.set_request_id("run-" + Sha256Hex(resolved.SerializeAsString()));
    *request.mutable_spec() = spec;
    absl::StatusOr<v1::Job> job =
        client().Call(client().jobs(), &v1::JobService::Stub::SubmitJob, request);
    if (!job.ok()) return InTermsOfFlags(job.status(), args_.job, local);
    return job;
  }

  absl::StatusOr<v1::Job> Follow(const std::string& id) {
    FollowOptions options;
    options.patience = kStallPatience;
    options.news = [this] { return server_.tree().TakeNews(); };
    absl::StatusOr<v1::Job> job = FollowJob(client(), id, options);
    if (absl::IsResourceExhausted(job.status())) {
      return WithHint(job.status(),
                      "Nothing is lost: the same command goes on where it stopped, once there is "
                      "space.");
    }
    return job;
  }

  absl::Status WriteResult(const v1::Job& job) {
    AMC_ASSIGN_OR_RETURN(const v1::GetBestResponse best, client().GetBest(job.id()));
    AMC_RETURN_IF_ERROR(client().Download(job.result().model(), server_.folder() + "/model.onnx"));
    AMC_RETURN_IF_ERROR(WriteFileAtomically(server_.folder() + "/policy.json",
                                            PolicyFileJson(best.episode().policy())));
    AMC_RETURN_IF_ERROR(WriteHistory(job.id()));
    if (args_.json) {
      PrintJson(job.result());
      return absl::OkStatus();
    }
    std::fputs(
        absl::StrCat("\n", ResultText(job), "\nIn ", server_.folder(),
                     ":\n  model.onnx     the smaller network\n  policy.json    what each "
                     "group keeps\n  history.jsonl  every candidate\n  logs/          server "
                     "and workers\n")
            .c_str(),
        stdout);
    const std::string data = IsSha256Hex(args_.job.data) || args_.job.data.empty()
                                 ? std::string("PACK")
                                 : args_.job.data;
    std::fputs(absl::StrCat("\nNothing was trained yet; next: amc finetune ", args_.output,
                            "/model.onnx --data ", data, " -o tuned.onnx\n")
                   .c_str(),
               stdout);
    return absl::OkStatus();
  }

  absl::Status WriteHistory(const std::string& job) {
    v1::ListEpisodesRequest request;
    request.set_job(job);
    request.set_with_steps(true);
    std::string lines;
    AMC_RETURN_IF_ERROR(ForEachEpisode(client(), request, 0, [&](const v1::Episode& episode) {
      absl::StrAppend(&lines, CanonicalLine(episode), "\n");
    }));
    return WriteFileAtomically(server_.folder() + "/history.jsonl", lines);
  }

  // Why the tree stops, with what to do next; OK while it does not.
  absl::Status Interrupted() const {
    const absl::Status status = server_.tree().status();
    return WithHint(status, absl::IsCancelled(status)
                                ? "Nothing is lost: the same command goes on where it stopped."
                                : "What was measured is kept: the same command goes on.");
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
  app.add_option("--job", args->job.file, "A job file (amc init); flags override it");
  app.add_option("--workers", args->workers,
                 "Worker processes; 0: as many as cores and parallel episodes allow")
      ->check(WholeBetween(0, 256))
      ->capture_default_str();
  app.add_flag("--json", args->json, "Print the JobResult as JSON");
  return [args] { return Run(*args).Execute(); };
}

}  // namespace

std::vector<Command> RunCommands() {
  return {{"run", "Compress a network: server, workers and search in one command",
           "amc run resnet20.onnx --data cifar.pack --budget 0.5 -o out", DefineRun}};
}

}  // namespace amc
