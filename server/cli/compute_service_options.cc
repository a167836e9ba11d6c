#include <CLI/CLI.hpp>
#include <limits>

#include "absl/strings/str_cat.h"
#include "server/cli/checks.h"
#include "server/cli/compute_options.h"
#include "server/cli/exit_status.h"
#include "server/rpc/channel.h"

namespace amc {
namespace {

constexpr int64_t kMany = int64_t{1} << 40;

void AddBytes(CLI::App& app, const std::string& name, int64_t& bytes, const std::string& shown,
              const std::string& what) {
  app.add_option(name, bytes, what)->transform(Bytes())->default_str(shown);
}

void AddDuration(CLI::App& app, const std::string& name, absl::Duration& duration,
                 const std::string& what) {
  const auto set = [&duration](const std::string& text) {
    return static_cast<void>(absl::ParseDuration(text, &duration));  // checked before
  };
  app.add_option_function<std::string>(name, set, what)
      ->check(Duration())
      ->default_str(absl::FormatDuration(duration));
}

}  // namespace

void AddServe(CLI::App& app, ServeArgs& args) {
  args.address = kDefaultAddress;
  app.add_option("--address", args.address, "HOST:PORT (port 0: any free one) or unix:/PATH")
      ->check(Address())
      ->capture_default_str();
  app.add_option("--data-folder", args.data_folder, "Database and artifacts; made if not there")
      ->capture_default_str();
  app.add_option("--max-running-jobs", args.max_running_jobs, "The others wait")
      ->check(WholeBetween(1, 1000))
      ->capture_default_str();
  app.add_option("--max-jobs", args.max_unfinished_jobs,
                 "Unfinished jobs at once, queued ones with them; more are refused")
      ->check(WholeBetween(1, 1'000'000))
      ->capture_default_str();
  AddBytes(
      app, "--disk-quota", args.disk_quota_bytes, "0",
      "What all artifacts may take on disk, as in 200G; more are refused; 0: what the disk has");
  AddDuration(app, "--lease-term", args.lease_term,
              "A worker that is silent for so long loses its task to another");
  AddDuration(app, "--heartbeat", args.heartbeat, "How often workers say that they live");
  AddDuration(app, "--backoff", args.backoff,
              "Before a candidate's second attempt; twice as long before each further one");
  app.add_option("--tls-cert", args.tls_certificate, "PEM; needed beyond this machine");
  app.add_option("--tls-key", args.tls_key, "PEM");
  app.add_option("--token", args.token, "What clients must send; needed beyond this machine")
      ->envname("AMC_TOKEN");
}

void AddWorker(CLI::App& app, WorkerArgs& args) {
  args.server = kDefaultAddress;
  app.add_option("--server", args.server, "The server's address")
      ->check(Address())
      ->envname("AMC_SERVER")
      ->capture_default_str();
  app.add_option("--tls-ca", args.ca_file, "PEM of the authority that signed the server");
  app.add_option("--token", args.token, "The server's token")->envname("AMC_TOKEN");
  app.add_option("--cache", args.cache_folder,
                 "Folder for downloaded models and data (default ~/.cache/amc)");
  app.add_option("--artifacts", args.artifacts_folder,
                 "The server's artifacts/ folder on a shared file system, read in place");
  AddBytes(
      app, "--cache-limit", args.cache_limit_bytes, "20G",
      "What the cache may take on disk, as in 50G; what was used longest ago goes; 0: no limit");
  AddBytes(app, "--memory", args.memory_bytes, "0",
           "Memory that its tasks may use, as in 16G: jobs that need more go elsewhere; 0: this "
           "machine's, or the cgroup's limit");
  app.add_option("--threads", args.threads, "Threads that it computes with")
      ->check(WholeBetween(1, 1024))
      ->capture_default_str();
  app.add_option("--give-up-after", args.give_up_after,
                 "Seconds without a server before it ends; 0: never")
      ->check(Between(0, std::numeric_limits<double>::infinity()))
      ->capture_default_str();
  // Between processes of ours: in no help.
  app.add_option("--session-fd", args.session_fd)->group("");
  app.add_option("--news-fd", args.news_fd)->group("");
}

void AddLutBuild(CLI::App& app, LutBuildArgs& args) {
  app.add_option("MODEL", args.model, "An ONNX network")->required();
  app.add_option("-o,--output", args.output,
                 "The table, as CSV; one of the same setting that is there already is extended");
  app.add_option("--runtime", args.runtime, "libtorch, onnxruntime or opencv")
      ->check(CLI::IsMember({"libtorch", "onnxruntime", "opencv"}))
      ->capture_default_str();
  app.add_option("--threads", args.threads, "Threads of the runtime")
      ->check(WholeBetween(1, 1024))
      ->capture_default_str();
  app.add_option("--batch", args.batch, "Images run at once")
      ->check(WholeBetween(1, 65536))
      ->capture_default_str();
  app.add_option("--tolerance", args.tolerance,
                 "To which times are measured: the standard error of a median, relative to it")
      ->check(Between(0.001, 0.5))
      ->capture_default_str();
  app.add_option("--channel-multiple", args.channel_multiple,
                 "Measure multiples of it, as searches on latency keep by default; a table of all "
                 "counts takes longer, and predicts less well")
      ->check(WholeBetween(1, 1024))
      ->capture_default_str();
  app.add_option("--points", args.points, "Channel counts that a layer is measured at, at most")
      ->check(WholeBetween(2, 64))
      ->capture_default_str();
  app.add_option("--networks", args.networks, "Whole pruned networks that the table is fitted to")
      ->check(WholeBetween(3, 1000))
      ->capture_default_str();
  app.add_option("--unseen", args.unseen, "Further ones that say how far off it is")
      ->check(WholeBetween(1, 1000))
      ->capture_default_str();
  app.add_option("--seed", args.seed, "Seed of the networks and of the order of measuring")
      ->check(Seed())
      ->capture_default_str();
  app.add_flag("--json", args.json, "Print what the table is as JSON");
  // $AMC_SERVER does not count: whoever exports it still may measure the machine before them.
  auto* server = app.add_option("--server", args.server,
                                "Have the workers of this server measure, which keeps the table; "
                                "without it, this machine is measured")
                     ->check(Address());
  app.add_option("--device", args.device,
                 "With --server: only workers with this processor, as `amc lut list` shows it; any "
                 "if not given")
      ->needs(server);
  app.add_option("--extend", args.extend,
                 "With --server: the digest of a table there, or its first digits, that the new "
                 "one begins with")
      ->needs(server);
  app.add_option("--token", args.token, "The server's token")->envname("AMC_TOKEN");
  app.add_option("--tls-ca", args.ca_file,
                 "PEM of the authority that signed the server; without it no TLS");
  app.add_option("--connect-timeout", args.connect_timeout, "Seconds to wait for the server")
      ->check(Above(0))
      ->capture_default_str();
}

absl::Status CheckLutBuild(const LutBuildArgs& args) {
  if (!args.output.empty()) return CheckOutputFile(args.output);
  if (!args.server.empty()) return absl::OkStatus();
  return UsageError("--output is required; with --server the table stays there");
}

absl::Status CheckServe(const ServeArgs& args) {
  if (3 * args.heartbeat <= args.lease_term) return absl::OkStatus();
  return UsageError(absl::StrCat("--heartbeat ", absl::FormatDuration(args.heartbeat),
                                 " is more than a third of --lease-term ",
                                 absl::FormatDuration(args.lease_term),
                                 ": a lease must outlast one that gets lost"));
}

absl::Status CheckWorker(const WorkerArgs& args) {
  if (args.token.empty() || !args.ca_file.empty()) return absl::OkStatus();
  return UsageError("--token needs --tls-ca, or the token would travel in clear");
}

}  // namespace amc
