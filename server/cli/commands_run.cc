// run: the whole service for one job, in one process tree.
//
// Starts a server on a private socket and its workers, submits the job under a request id derived
// from its resolved inputs, follows it, fetches the result. Nothing of the search lives in this
// process: after Ctrl-C, kill -9 or power loss the same command finds the job in the folder's
// database and goes on.
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

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/cli/client.h"
#include "server/cli/commands.h"
#include "server/cli/engine.h"
#include "server/cli/exit_status.h"
#include "server/cli/follow.h"
#include "server/cli/history.h"
#include "server/cli/job_flags.h"
#include "server/cli/json.h"
#include "server/cli/private_server.h"
#include "server/cli/report.h"
#include "server/rpc/job_state.h"

namespace amc {
namespace {

constexpr int64_t kDefaultParallelEpisodes = 2;  // of the server
constexpr absl::Duration kStallPatience = absl::Seconds(15);

struct RunArgs {
  JobFlags job;
  std::string output;
  int workers = 0;
  bool json = false;
};

class Run {
 public:
  explicit Run(const RunArgs& args) : args_(args), server_(args.output) {}

  absl::Status Execute() {
    AMC_ASSIGN_OR_RETURN(v1::JobSpec spec, MakeJobSpec(args_.job));
    const absl::Status started = server_.Start();
    AMC_RETURN_IF_ERROR(Interrupted());
    AMC_RETURN_IF_ERROR(started);
    AMC_RETURN_IF_ERROR(StartWorkers(spec));
    AMC_RETURN_IF_ERROR(UploadInputs(client(), spec));
    AMC_ASSIGN_OR_RETURN(v1::Job job, Submit(std::move(spec)));
    AMC_ASSIGN_OR_RETURN(job, Follow(job.id()));
    AMC_RETURN_IF_ERROR(
        JobOutcome(job, absl::StrCat("Its history is kept; the same command tries again. Logs: ",
                                     server_.log_folder())));
    return WriteResult(job);
  }

 private:
  absl::Status StartWorkers(const v1::JobSpec& spec) {
    const int threads = static_cast<int>(std::max<int64_t>(1, spec.evaluation().threads()));
    const int64_t parallel = spec.search().has_parallel_episodes()
                                 ? spec.search().parallel_episodes()
                                 : kDefaultParallelEpisodes;
    const int64_t workers = args_.workers > 0 ? args_.workers
                                              : std::clamp<int64_t>(AvailableCores() / threads, 1,
                                                                    std::max<int64_t>(1, parallel));
    for (int64_t i = 1; i <= workers; ++i) {
      AMC_RETURN_IF_ERROR(server_.StartWorker(i, threads));
    }
    return absl::OkStatus();
  }

  // The same resolved inputs give the same request id, and so the same job.
  absl::StatusOr<v1::Job> Submit(v1::JobSpec spec) {
    v1::SubmitJobRequest request;
    request.set_request_id("run-" + Sha256Hex(spec.SerializeAsString()));
    *request.mutable_spec() = std::move(spec);
    absl::StatusOr<v1::Job> job =
        client().Call(client().jobs(), &v1::JobService::Stub::SubmitJob, request);
    AMC_RETURN_IF_ERROR(Interrupted());
    if (!job.ok()) return job;
    if (job->state() == v1::JOB_STATE_CANCELLED || job->state() == v1::JOB_STATE_FAILED) {
      v1::ResumeJobRequest resume;
      resume.set_id(job->id());
      return client().Call(client().jobs(), &v1::JobService::Stub::ResumeJob, resume);
    }
    if (job->episodes_done() > 0 && !HasEnded(job->state())) {
      std::fputs(absl::StrCat("going on after episode ", job->episodes_done() - 1, "\n").c_str(),
                 stderr);
    }
    return job;
  }

  absl::StatusOr<v1::Job> Follow(const std::string& id) {
    FollowOptions options;
    options.patience = kStallPatience;
    options.on_call = [this](grpc::ClientContext* context) {
      if (context == nullptr) {
        server_.tree().OnStop(nullptr);
      } else {
        server_.tree().OnStop([context] { context->TryCancel(); });
      }
      return server_.tree().status().ok();
    };
    absl::StatusOr<v1::Job> job = FollowJob(client(), id, options);
    AMC_RETURN_IF_ERROR(Interrupted());
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
  app.add_option("-o,--output", args->output, "Folder of the result; the same again resumes")
      ->required();
  AddJobFlags(app, args->job);
  app.add_option("--job", args->job.file, "A job file (amc init); flags override it");
  app.add_option("--workers", args->workers,
                 "Worker processes; 0: as many as cores and parallel episodes allow")
      ->check(CLI::Range(0, 256))
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
