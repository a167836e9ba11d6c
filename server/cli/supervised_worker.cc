#include "server/cli/supervised_worker.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "amc/v1/worker.grpc.pb.h"
#include "base/cgroup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "grpcpp/client_context.h"
#include "server/cli/child_process.h"
#include "server/cli/engine.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"
#include "server/cli/line_pipe.h"
#include "server/cli/supervisor.h"
#include "server/rpc/channel.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

constexpr absl::Duration kLook = absl::Seconds(1);            // at the sessions' pipe
constexpr absl::Duration kReportPatience = absl::Seconds(4);  // with a server that is away

class Supervisor {
 public:
  Supervisor(const WorkerArgs& args, std::vector<std::string> arguments, OomKillsFn oom_kills)
      : args_(args),
        arguments_(std::move(arguments)),
        oom_kills_(std::move(oom_kills)),
        signals_(StopSignals()) {
    sigaddset(&signals_, SIGCHLD);
    ::signal(SIGCHLD, SIG_DFL);  // ignored, children would vanish without a status
    ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    // Only for this process.
    if (args_.news_fd >= 0) ::fcntl(args_.news_fd, F_SETFD, FD_CLOEXEC);
  }

  absl::Status Run() {
    RestartPolicy policy;
    while (true) {
      AMC_ASSIGN_OR_RETURN(const Life life, RunOnce());
      const Ending& ending = life.ending;
      if (ending.kind == EndKind::kDone) return absl::OkStatus();
      if (ending.kind == EndKind::kRefused) return AlreadyReported(ending.exit_code);
      if (stops_ > 0 && ending.kind == EndKind::kKilled && life.session.empty()) {
        return absl::OkStatus();  // asked to leave before it could hear of it
      }
      Report(life);
      if (stops_ > 0) {
        return absl::InternalError(
            absl::StrCat("the worker was to finish its task and leave: ", ending.message));
      }
      const std::optional<absl::Duration> wait =
          policy.Next(ending.kind, life.length, !life.session.empty());
      if (!wait) {
        return WithHint(absl::InternalError(
                            absl::StrCat("the worker reached the server in none of ",
                                         RestartPolicy::kFalseStarts, " starts: ", ending.message)),
                        "What it said before it ended stands above.");
      }
      Tell(absl::StrCat(ending.message, "; it starts again in ",
                        HumanDuration(absl::ToDoubleSeconds(*wait))));
      if (StoppedWithin(*wait)) return absl::OkStatus();
    }
  }

 private:
  // One worker process.
  struct Life {
    Ending ending;
    absl::Duration length;
    std::string session;  // empty if it never had one
  };

  absl::StatusOr<Life> RunOnce() {
    // A line each time that the worker has registered.
    AMC_ASSIGN_OR_RETURN(const std::unique_ptr<LinePipe> sessions, LinePipe::Open());
    std::vector<std::string> arguments = arguments_;
    arguments.push_back(absl::StrCat("--session-fd=", sessions->writing_end()));
    OomWitness witness;
    const absl::Time start = absl::Now();
    witness.Look(start, oom_kills_());
    AMC_ASSIGN_OR_RETURN(const pid_t pid, Spawn({.arguments = std::move(arguments),
                                                 .environment = EngineEnvironment(args_.threads),
                                                 .inherited = sessions->writing_end()}));
    sessions->CloseWritingEnd();
    Life life;
    int status = 0;
    bool ended = false;
    while (!ended) {
      if (StopAsked(kLook)) ::kill(pid, SIGTERM);
      ended = ::waitpid(pid, &status, WNOHANG) == pid;
      for (std::string& session : sessions->Read()) life.session = std::move(session);
      if (!ended) witness.Look(absl::Now(), oom_kills_());
    }
    life.ending = ClassifyEnding(status, witness.Saw(oom_kills_()));
    life.length = absl::Now() - start;
    return life;
  }

  // Waits for a signal; true if it asks to stop.
  bool StopAsked(absl::Duration wait) {
    const timespec timeout = absl::ToTimespec(wait);
    const int signal = ::sigtimedwait(&signals_, nullptr, &timeout);
    if (signal < 0 || signal == SIGCHLD) return false;
    // A terminal that closes may say so twice, by its shell and by the kernel: one wish all the
    // same.
    if (signal == SIGHUP && std::exchange(hung_up_, true)) return false;
    ++stops_;
    return true;
  }

  bool StoppedWithin(absl::Duration wait) {
    const absl::Time end = absl::Now() + wait;
    for (absl::Duration left = wait; left > absl::ZeroDuration(); left = end - absl::Now()) {
      if (StopAsked(left)) return true;
    }
    return false;
  }

  // Tells the server, once and with little patience: if it does not hear of this, the leases run
  // out by themselves.
  void Report(const Life& life) const {
    if (life.session.empty()) return;
    const auto channel =
        MakeChannel({.address = args_.server, .ca_file = args_.ca_file, .token = args_.token});
    if (!channel.ok()) return;
    const auto stub = v1::WorkerService::NewStub(*channel);
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() +
                         absl::ToChronoMilliseconds(kReportPatience));
    v1::ReportCrashRequest request;
    request.set_session(life.session);
    request.set_message(life.ending.message);
    request.set_from_outside(life.ending.kind == EndKind::kKilled);
    v1::ReportCrashResponse response;
    const absl::Status status = FromGrpcStatus(stub->ReportCrash(&context, request, &response));
    // A session that the server has forgotten has nothing to lose.
    if (status.ok() || absl::IsUnauthenticated(status)) return;
    AMC_LOG(kWarning) << "cannot tell server " << args_.server << " of it: " << status;
  }

  // For people, and for the `amc run` that started this.
  void Tell(const std::string& line) const {
    AMC_LOG(kWarning) << "worker process: " << line;
    if (args_.news_fd < 0) return;
    const std::string news = line + "\n";
    // One that no longer listens is gone, and this process soon too.
    if (::write(args_.news_fd, news.data(), news.size()) < 0) errno = 0;
  }

  const WorkerArgs& args_;
  const std::vector<std::string> arguments_;
  const OomKillsFn oom_kills_;
  sigset_t signals_;
  int stops_ = 0;
  bool hung_up_ = false;
};

}  // namespace

OomKills ReadOomKills() {
  OomKills kills;
  if (const auto text = ReadFile("/proc/vmstat"); text.ok()) {
    kills.machine = CounterIn(*text, "oom_kill");
  }
  const auto self = ReadFile("/proc/self/cgroup");
  const std::string path = self.ok() ? OomKillsFile(*self) : "";
  if (const auto text = ReadFile(path); text.ok()) kills.group = CounterIn(*text, "oom_kill");
  return kills;
}

absl::Status SuperviseWorker(const WorkerArgs& args, std::vector<std::string> arguments,
                             OomKillsFn oom_kills) {
  return Supervisor(args, std::move(arguments), std::move(oom_kills)).Run();
}

absl::Status SuperviseWorker(const WorkerArgs& args, int argc, char** argv) {
  std::vector<std::string> arguments(argv, argv + argc);
  AMC_ASSIGN_OR_RETURN(arguments[0], FindEngine());
  return SuperviseWorker(args, std::move(arguments));
}

}  // namespace amc
