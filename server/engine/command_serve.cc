// serve and worker: the two long-lived processes.
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "server/cli/exit_status.h"
#include "server/engine/commands.h"
#include "server/rpc/channel.h"
#include "server/server.h"
#include "server/worker/worker.h"

namespace amc {
namespace {

std::string DefaultCache() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    return absl::StrCat(cache, "/amc");
  }
  const char* home = std::getenv("HOME");
  return absl::StrCat(home != nullptr ? home : "/tmp", "/.cache/amc");
}

}  // namespace

absl::Status RunServe(const ServeArgs& args) {
  const bool guarded =
      !args.tls_certificate.empty() && !args.tls_key.empty() && !args.token.empty();
  if (!IsLocalAddress(args.address) && !guarded) {
    return WithHint(absl::InvalidArgumentError(
                        absl::StrCat("address ", args.address,
                                     " can be reached from other machines: that needs TLS and a "
                                     "token, --tls-cert, --tls-key and --token")),
                    "Clients then give --tls-ca and --token; 127.0.0.1 needs neither.");
  }
  SetMinLogSeverity(LogSeverity::kInfo);
  TuneProcess(1);
  ServerOptions options;
  options.address = args.address;
  options.data_folder = args.data_folder;
  options.max_running_jobs = args.max_running_jobs;
  options.max_unfinished_jobs = args.max_unfinished_jobs;
  options.disk_quota_bytes = args.disk_quota_bytes;
  options.lease_term = args.lease_term;
  options.heartbeat = args.heartbeat;
  options.backoff = args.backoff;
  options.tls_certificate_file = args.tls_certificate;
  options.tls_key_file = args.tls_key;
  options.token = args.token;
  return RunServer(options, [](const std::string& address) {
    std::puts(absl::StrCat("listening on ", address).c_str());
    std::fflush(stdout);
  });
}

absl::Status RunWorkerProcess(const WorkerArgs& args) {
  SetMinLogSeverity(LogSeverity::kInfo);
  TuneProcess(args.threads);
  WorkerOptions options;
  options.server.address = args.server;
  options.server.ca_file = args.ca_file;
  options.server.token = args.token;
  options.cache_folder = args.cache_folder.empty() ? DefaultCache() : args.cache_folder;
  options.artifacts_folder = args.artifacts_folder;
  options.cache_limit_bytes = args.cache_limit_bytes;
  options.memory_bytes = args.memory_bytes;
  options.threads = args.threads;
  options.session_fd = args.session_fd;
  if (args.give_up_after > 0) options.give_up_after = absl::Seconds(args.give_up_after);
  return RunWorker(options);
}

}  // namespace amc
