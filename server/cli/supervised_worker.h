// `amc worker`: the supervisor of the process that computes (amc-engine worker), which it starts,
// watches, and starts again after a crash. Torch-free, so that nothing here crashes with it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/cli/compute_commands.h"
#include "server/cli/supervisor.h"

namespace amc {

// What the kernel counts now.
OomKills ReadOomKills();
using OomKillsFn = std::function<OomKills()>;

// Runs workers with the given arguments, the program first and "--session-fd=N" last, until one has
// drained (OK), has refused to work (its exit code, which it explained itself: AlreadyReported), or
// crashes again and again without ever reaching the server (Internal). Every crash is logged, and
// reported to the server under the session that the worker had: it writes it to descriptor N, with
// a newline, each time that it has registered. SIGTERM, SIGINT or SIGHUP (its terminal is closed)
// lets the worker finish its task and leave; again, give its lease back and end at once. The worker
// dies with this thread, however that ends.
//
// Call from main, before any thread is started: it blocks signals for the process.
absl::Status SuperviseWorker(const WorkerArgs& args, std::vector<std::string> arguments,
                             OomKillsFn oom_kills = ReadOomKills);

// The same with amc-engine and the arguments of this process.
absl::Status SuperviseWorker(const WorkerArgs& args, int argc, char** argv);

}  // namespace amc
