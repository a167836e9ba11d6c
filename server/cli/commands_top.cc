// top: a server's jobs and workers, live in the terminal.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "server/cli/client.h"
#include "server/cli/commands.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"
#include "server/cli/process_tree.h"
#include "server/cli/terminal.h"
#include "server/cli/top.h"

namespace amc {
namespace {

constexpr absl::Duration kInterval = absl::Seconds(1);
constexpr absl::Duration kPatience = absl::Seconds(5);  // with one call
constexpr int64_t kRecent = 32;                         // episodes that tell a job's speed

struct TopArgs {
  ClientFlags client;
  bool once = false, json = false;
};

absl::StatusOr<std::vector<v1::Job>> UnfinishedJobs(Client& client) {
  v1::ListJobsRequest request;
  request.set_page_size(100);
  for (const v1::JobState state :
       {v1::JOB_STATE_QUEUED, v1::JOB_STATE_BASELINE, v1::JOB_STATE_SEARCHING,
        v1::JOB_STATE_MEASURING, v1::JOB_STATE_FINISHING}) {
    request.add_states(state);
  }
  std::vector<v1::Job> all;
  do {
    AMC_ASSIGN_OR_RETURN(const v1::ListJobsResponse page,
                         client.Call(client.jobs(), &v1::JobService::Stub::ListJobs, request));
    all.insert(all.end(), page.jobs().begin(), page.jobs().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return all;
}

absl::StatusOr<TopSnapshot> TakeSnapshot(Client& client, const std::string& address) {
  TopSnapshot snapshot;
  snapshot.address = address;
  AMC_ASSIGN_OR_RETURN(snapshot.status,
                       client.Call(client.admin(), &v1::AdminService::Stub::GetServerStatus,
                                   v1::GetServerStatusRequest()));
  AMC_ASSIGN_OR_RETURN(snapshot.jobs, UnfinishedJobs(client));
  AMC_ASSIGN_OR_RETURN(snapshot.workers, client.ListWorkers(true));
  for (const v1::Job& job : snapshot.jobs) {
    if (job.state() != v1::JOB_STATE_SEARCHING) continue;
    v1::ListEpisodesRequest request;
    request.set_job(job.id());
    request.set_page_size(static_cast<int32_t>(kRecent));
    request.mutable_filter()->set_min_number(std::max<int64_t>(0, job.episodes_done() - kRecent));
    const absl::StatusOr<v1::ListEpisodesResponse> page =
        client.Call(client.jobs(), &v1::JobService::Stub::ListEpisodes, request);
    if (absl::IsNotFound(page.status())) continue;  // it was deleted just now
    AMC_RETURN_IF_ERROR(page.status());
    snapshot.recent[job.id()].assign(page->episodes().begin(), page->episodes().end());
  }
  return snapshot;
}

// The terminal on stdout, drawn from its top without a cursor that flickers.
class Screen {
 public:
  Screen() { Put("\x1b[?25l\x1b[2J"); }
  ~Screen() { Put("\x1b[?25h\n"); }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  void Draw(const std::vector<std::string>& lines) {
    Put(absl::StrCat("\x1b[H", absl::StrJoin(lines, "\x1b[K\r\n"), "\x1b[K\x1b[J"));
  }

 private:
  static void Put(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }
};

absl::Status PrintOnce(Client& client, const TopArgs& args) {
  AMC_ASSIGN_OR_RETURN(const TopSnapshot snapshot,
                       TakeSnapshot(client, args.client.channel.address));
  TerminalSize size;
  size.rows = std::numeric_limits<size_t>::max();  // all of it: it may be piped on
  size.columns = ::isatty(STDOUT_FILENO) == 1 ? SizeOfTerminal(STDOUT_FILENO).columns : size.rows;
  std::fputs(args.json ? TopJson(snapshot).c_str()
                       : absl::StrCat(absl::StrJoin(TopLines(snapshot, size), "\n"), "\n").c_str(),
             stdout);
  return absl::OkStatus();
}

// Until the user has seen enough. A server that goes away is waited for.
absl::Status ShowLive(Client& client, ProcessTree& signals, const std::string& address) {
  absl::Notification enough;
  signals.OnStop([&] {
    client.CancelCalls();
    enough.Notify();
  });
  Screen screen;
  TopSnapshot shown;
  shown.address = address;
  absl::Status failure;
  std::optional<absl::Time> away_since;
  do {
    absl::StatusOr<TopSnapshot> snapshot = TakeSnapshot(client, address);
    const absl::Status& status = snapshot.status();
    if (status.ok()) {
      shown = *std::move(snapshot);
      away_since.reset();
    } else if (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) {
      if (!away_since) away_since = absl::Now();
      shown.trouble = absl::StrCat("the server does not answer since ",
                                   LocalTime(absl::ToUnixMillis(*away_since)), "; trying again");
    } else if (!absl::IsCancelled(status)) {
      failure = status;
      break;
    }
    screen.Draw(TopLines(shown, SizeOfTerminal(STDOUT_FILENO)));
  } while (!enough.WaitForNotificationWithTimeout(kInterval));
  signals.OnStop(nullptr);
  return failure.ok() ? AlreadyReported(kExitInterrupted) : failure;
}

absl::Status Top(const TopArgs& args) {
  ProcessTree signals;  // without processes; before any other thread
  ClientFlags flags = args.client;
  flags.call_timeout = kPatience;
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(flags));
  if (args.once || args.json || ::isatty(STDOUT_FILENO) != 1) return PrintOnce(*client, args);
  return ShowLive(*client, signals, flags.channel.address);
}

Action DefineTop(CLI::App& app) {
  const auto args = std::make_shared<TopArgs>();
  app.add_flag("--once", args->once, "Print once and end; so does output that is no terminal");
  app.add_flag("--json", args->json, "Print status, jobs and workers once, as JSON");
  AddClientFlags(app, args->client);
  return [args] { return Top(*args); };
}

}  // namespace

std::vector<Command> TopCommands() {
  return {{"top", "Show a server's jobs and workers, live", "amc top --server 127.0.0.1:7070",
           DefineTop}};
}

}  // namespace amc
