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
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
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
#include "server/cli/process_tree.h"
#include "server/cli/report.h"

namespace amc {
namespace {

constexpr int64_t kDefaultParallelEpisodes = 2;  // of the server
constexpr absl::Duration kStartPatience = absl::Seconds(60);
constexpr absl::Duration kStopPatience = absl::Seconds(3);
constexpr absl::Duration kStallPatience = absl::Seconds(15);

struct RunArgs {
  JobFlags job;
  std::string output;
  int workers = 0;
  bool json = false;
};

// Held while the run lasts, so that two do not share a folder.
class FolderLock {
 public:
  static absl::StatusOr<std::unique_ptr<FolderLock>> Take(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return ErrnoToStatus(errno, "cannot open", path);
    auto lock = std::unique_ptr<FolderLock>(new FolderLock(fd));
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, ": another `amc run` is working in this folder"));
    }
    return lock;
  }
  ~FolderLock() { ::close(fd_); }

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  const int fd_;
};

// The engine's environment, without what is meant for another server than the run's own.
std::vector<std::string> ChildEnvironment(int threads) {
  std::vector<std::string> environment = EngineEnvironment(threads);
  std::erase_if(environment, [](const std::string& variable) {
    return absl::StartsWith(variable, "AMC_TOKEN=") || absl::StartsWith(variable, "AMC_SERVER=");
  });
  return environment;
}

// The private socket: in the run's own folder, or, where that makes too long a path for a socket,
// in a temporary one.
struct Socket {
  std::optional<TempDirectory> folder;
  std::string address;
};

absl::StatusOr<Socket> MakeSocket(const std::string& state_folder) {
  Socket socket;
  socket.address = absl::StrCat("unix:", state_folder, "/socket");
  if (!CheckAddress(socket.address).ok()) {
    AMC_ASSIGN_OR_RETURN(socket.folder, TempDirectory::Create("amc-run"));
    socket.address = absl::StrCat("unix:", socket.folder->path(), "/socket");
  }
  return socket;
}

class Run {
 public:
  explicit Run(const RunArgs& args) : args_(args) {}

  absl::Status Execute() {
    AMC_ASSIGN_OR_RETURN(v1::JobSpec spec, MakeJobSpec(args_.job));
    std::error_code error;
    out_ = std::filesystem::absolute(args_.output, error).lexically_normal().string();
    state_ = out_ + "/.amc";
    AMC_RETURN_IF_ERROR(MakeDirectories(state_));
    AMC_RETURN_IF_ERROR(MakeDirectories(out_ + "/logs"));
    AMC_ASSIGN_OR_RETURN(const std::unique_ptr<FolderLock> lock,
                         FolderLock::Take(state_ + "/lock"));
    AMC_ASSIGN_OR_RETURN(const Socket socket, MakeSocket(state_));

    absl::Status status = Search(socket.address, std::move(spec));
    tree_.OnStop(nullptr);
    client_.reset();
    tree_.Stop(kStopPatience);
    return status;
  }

 private:
  absl::Status Search(const std::string& address, v1::JobSpec spec) {
    AMC_ASSIGN_OR_RETURN(const std::string engine, FindEngine());
    AMC_RETURN_IF_ERROR(StartServer(engine, address));
    AMC_RETURN_IF_ERROR(Connect(address));
    AMC_RETURN_IF_ERROR(StartWorkers(engine, address, spec));
    AMC_RETURN_IF_ERROR(UploadInputs(*client_, spec));
    AMC_ASSIGN_OR_RETURN(v1::Job job, Submit(std::move(spec)));
    AMC_ASSIGN_OR_RETURN(job, Follow(job.id()));
    AMC_RETURN_IF_ERROR(JobOutcome(
        job,
        absl::StrCat("Its history is kept; the same command tries again. Logs: ", out_, "/logs")));
    return WriteResult(job);
  }

  absl::Status StartServer(const std::string& engine, const std::string& address) {
    return tree_.Start(
        {.name = "server",
         .arguments = {engine, "serve", "--address", address, "--data-folder", state_ + "/data"},
         .environment = ChildEnvironment(1),
         .log_path = out_ + "/logs/server.log"});
  }

  absl::Status StartWorkers(const std::string& engine, const std::string& address,
                            const v1::JobSpec& spec) {
    const int threads = static_cast<int>(std::max<int64_t>(1, spec.evaluation().threads()));
    const int64_t parallel = spec.search().has_parallel_episodes()
                                 ? spec.search().parallel_episodes()
                                 : kDefaultParallelEpisodes;
    const int64_t workers = args_.workers > 0 ? args_.workers
                                              : std::clamp<int64_t>(AvailableCores() / threads, 1,
                                                                    std::max<int64_t>(1, parallel));
    for (int64_t i = 1; i <= workers; ++i) {
      AMC_RETURN_IF_ERROR(tree_.Start(
          {.name = absl::StrCat("worker ", i),
           .arguments = {engine, "worker", "--server", address, "--threads", absl::StrCat(threads),
                         "--cache", state_ + "/cache", "--artifacts", state_ + "/data/artifacts"},
           .environment = ChildEnvironment(threads),
           .log_path = absl::StrCat(out_, "/logs/worker-", i, ".log")}));
    }
    return absl::OkStatus();
  }

  absl::Status Connect(const std::string& address) {
    ClientFlags flags;
    flags.channel.address = address;
    flags.timeout = 0.25;
    const absl::Time deadline = absl::Now() + kStartPatience;
    while (true) {
      absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(flags);
      AMC_RETURN_IF_ERROR(Interrupted());
      if (client.ok()) {
        client_ = *std::move(client);
        return absl::OkStatus();
      }
      if (absl::Now() > deadline) {
        return absl::InternalError(
            absl::StrCat("the server does not answer; its log is ", out_, "/logs/server.log"));
      }
    }
  }

  // The same resolved inputs give the same request id, and so the same job.
  absl::StatusOr<v1::Job> Submit(v1::JobSpec spec) {
    v1::SubmitJobRequest request;
    request.set_request_id("run-" + Sha256Hex(spec.SerializeAsString()));
    *request.mutable_spec() = std::move(spec);
    absl::StatusOr<v1::Job> job =
        client_->Call(client_->jobs(), &v1::JobService::Stub::SubmitJob, request);
    AMC_RETURN_IF_ERROR(Interrupted());
    if (!job.ok()) return job;
    if (job->state() == v1::JOB_STATE_CANCELLED || job->state() == v1::JOB_STATE_FAILED) {
      v1::ResumeJobRequest resume;
      resume.set_id(job->id());
      return client_->Call(client_->jobs(), &v1::JobService::Stub::ResumeJob, resume);
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
        tree_.OnStop(nullptr);
      } else {
        tree_.OnStop([context] { context->TryCancel(); });
      }
      return tree_.status().ok();
    };
    absl::StatusOr<v1::Job> job = FollowJob(*client_, id, options);
    AMC_RETURN_IF_ERROR(Interrupted());
    if (absl::IsResourceExhausted(job.status())) {
      return WithHint(job.status(),
                      "Nothing is lost: the same command goes on where it stopped, once there is "
                      "space.");
    }
    return job;
  }

  absl::Status WriteResult(const v1::Job& job) {
    v1::GetBestRequest request;
    request.set_job(job.id());
    AMC_ASSIGN_OR_RETURN(const v1::GetBestResponse best,
                         client_->Call(client_->jobs(), &v1::JobService::Stub::GetBest, request));
    AMC_RETURN_IF_ERROR(client_->Download(job.result().model(), out_ + "/model.onnx"));
    AMC_RETURN_IF_ERROR(
        WriteFileAtomically(out_ + "/policy.json", PolicyFileJson(best.episode().policy())));
    AMC_RETURN_IF_ERROR(WriteHistory(job.id()));
    if (args_.json) {
      PrintJson(job.result());
      return absl::OkStatus();
    }
    std::fputs(
        absl::StrCat("\n", ResultText(job), "\nIn ", out_,
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
    AMC_RETURN_IF_ERROR(ForEachEpisode(*client_, request, 0, [&](const v1::Episode& episode) {
      absl::StrAppend(&lines, CanonicalLine(episode), "\n");
    }));
    return WriteFileAtomically(out_ + "/history.jsonl", lines);
  }

  // Why the tree stops, with what to do next; OK while it does not.
  absl::Status Interrupted() const {
    const absl::Status status = tree_.status();
    return WithHint(status, absl::IsCancelled(status)
                                ? "Nothing is lost: the same command goes on where it stopped."
                                : "What was measured is kept: the same command goes on.");
  }

  const RunArgs& args_;
  ProcessTree tree_;
  std::unique_ptr<Client> client_;
  std::string out_, state_;
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
