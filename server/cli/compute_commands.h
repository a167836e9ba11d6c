// The commands that need torch: their options are defined once, here, and parsed twice. `amc`
// parses them to refuse a wrong command line (or print help) in milliseconds, sets the environment
// that makes computing fast and executes `amc-engine`, which parses them again and runs them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "env/cost/latency_table.h"
#include "server/cli/command.h"

namespace amc {

// How networks run.
struct ExecFlags {
  int threads = 0;  // 0: every core this process may use
  int64_t batch = 64;
  std::string device = "cpu";
  bool bf16 = false;
};

struct PruneArgs {
  ExecFlags exec;
  std::string model, output, policy, data;
  double ratio = 0;                       // of every group; 0: by policy
  std::string residual_path = "prune";    // with a ratio: may residual paths be cut?
  std::string criterion, reconstruction;  // empty: the default, see --help
  int64_t images = 4000, samples = 40000, recalibration = 128;
  double ridge = 1e-4;
  uint64_t seed = 0;
  bool json = false;
};

struct PackageArgs {
  ExecFlags exec;
  std::string model, output, data;
  std::vector<std::string> formats;   // empty: all
  std::string job, original, policy;  // for the manifest
  bool json = false;
};

struct VerifyArgs {
  ExecFlags exec;
  std::string folder;
  bool json = false;
};

struct InferArgs {
  ExecFlags exec;
  std::string model, input, output;
};

struct EvalArgs {
  ExecFlags exec;
  std::string model, data, split = "report";
  std::string policies;   // candidates to measure instead of the network
  std::string reference;  // a network whose outputs the KL divergence is measured against
  int64_t images = 0;     // 0: all of the split
  bool json = false;
};

// Where images come from: exactly one of the folders, or a data pack.
struct SourceFlags {
  std::string idx, cifar, images, pack;
  int64_t size = 0;                    // of an image folder's: resized and cropped; 0: as they are
  bool grayscale = false;              // likewise
  int64_t limit = 0;                   // training images and test images at most; 0: all
  std::vector<float> mean, deviation;  // empty: measured on the training images
};

struct LutBuildArgs {
  std::string model, output;
  std::string runtime = "libtorch";
  int64_t threads = 1, batch = 1;
  double tolerance = 0.02;
  int64_t channel_multiple = kLatencyChannelMultiple;
  int64_t points = 14;                // of an axis of a layer's grid, at most
  int64_t networks = 12, unseen = 8;  // whole networks to fit to and to judge by
  uint64_t seed = 0;
  bool json = false;
  // Empty: measured by this process. Otherwise by the workers of the server there.
  std::string server;
  std::string token, ca_file, device, extend;
  double connect_timeout = 5;  // seconds
};

struct LutSimulateArgs {
  ExecFlags exec;
  std::string model, output, data, backend;
  std::string sparsity = "element";
  int64_t points = 16;
  bool linear = false;  // linear layers alone
  bool json = false;
};

struct TrainArgs {
  int threads = 0;  // 0: every core this process may use
  std::string device = "cpu";
  SourceFlags source;
  std::string arch;   // train: a network that BuildNetwork knows
  std::string model;  // finetune: an ONNX file
  std::string output;
  int64_t epochs = 15, batch = 128;
  double learning_rate = 0.1, warmup_epochs = 1, momentum = 0.9, weight_decay = 5e-4;
  double label_smoothing = 0;
  int64_t crop_padding = -1;  // -1: an eighth of the image
  bool flip = true;
  uint64_t seed = 0;
  bool json = false;
};

struct DataPackArgs {
  SourceFlags source;
  std::string output;
  int64_t reconstruction = -1, reward = -1, report = -1;  // -1: the default, see --help
  uint64_t seed = 0;
  bool json = false;
};

struct ServeArgs {
  std::string address, data_folder = "amc-data", tls_certificate, tls_key, token;
  int max_running_jobs = 2;
  int max_unfinished_jobs = 1000;
  int64_t disk_quota_bytes = 0;  // of all artifacts; 0: none
  absl::Duration lease_term = absl::Seconds(15), heartbeat = absl::Seconds(1),
                 backoff = absl::Seconds(1);
};

struct WorkerArgs {
  std::string server, ca_file, token, cache_folder, artifacts_folder;
  int threads = 1;
  int64_t memory_bytes = 0;                    // what its tasks may use; 0: what there is
  int64_t cache_limit_bytes = 20'000'000'000;  // of cache_folder; 0: none
  double give_up_after = 0;                    // seconds without a server; 0: never
  // Pipes that processes of ours give each other, below 0 where there is none: the worker process
  // says its sessions to its supervisor, the supervisor its crashes to `amc run`.
  int session_fd = -1, news_fd = -1;
};

// What runs each command. In `amc` all of them execute the engine, or supervise it (worker).
struct ComputeHandlers {
  std::function<absl::Status(const PruneArgs&)> prune;
  std::function<absl::Status(const PackageArgs&)> package;
  std::function<absl::Status(const VerifyArgs&)> verify;
  std::function<absl::Status(const InferArgs&)> infer;
  std::function<absl::Status(const EvalArgs&)> eval;
  std::function<absl::Status(const TrainArgs&)> train;
  std::function<absl::Status(const TrainArgs&)> finetune;
  std::function<absl::Status(const DataPackArgs&)> data_pack;
  std::function<absl::Status(const LutBuildArgs&)> lut_build;
  std::function<absl::Status(const LutSimulateArgs&)> lut_simulate;
  std::function<absl::Status(const ServeArgs&)> serve;
  std::function<absl::Status(const WorkerArgs&)> worker;
};

std::vector<Command> ComputeCommands(const ComputeHandlers& handlers);

}  // namespace amc
