#include "server/cli/compute_commands.h"

#include <CLI/CLI.hpp>
#include <limits>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/graph/zoo.h"
#include "server/cli/checks.h"
#include "server/cli/exit_status.h"
#include "server/rpc/channel.h"

namespace amc {
namespace {

constexpr int64_t kMany = int64_t{1} << 40;

void AddMachine(CLI::App& app, int& threads, std::string& device) {
  app.add_option("--threads", threads, "Threads; 0: every core this process may use")
      ->check(WholeBetween(0, 1024))
      ->capture_default_str();
  app.add_option("--device", device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
}

void AddExecFlags(CLI::App& app, ExecFlags& flags) {
  AddMachine(app, flags.threads, flags.device);
  app.add_option("--batch", flags.batch, "Images run at once")
      ->check(WholeBetween(1, 65536))
      ->capture_default_str();
  app.add_flag("--bf16", flags.bf16, "Compute in bfloat16");
}

// With `pack`, a data pack is a source too.
void AddSource(CLI::App& app, SourceFlags& source, bool pack) {
  auto* group = app.add_option_group("images", "Where the images come from");
  group->add_option("--idx", source.idx,
                    "Folder of IDX files (train-images-idx3-ubyte[.gz] and the other three)");
  group->add_option("--cifar", source.cifar, "Folder of CIFAR binary batches");
  group->add_option("--images", source.images,
                    "Folder of images: train/CLASS/*.{jpg,png} with test/CLASS/* or val/CLASS/*, "
                    "or CLASS/* without test images");
  if (pack) {
    group->add_option("--data", source.pack,
                      "Data pack: trains on its reconstruction split, tests on its reward split, "
                      "with its mean and deviation");
  }
  group->require_option(1);
  app.add_option("--size", source.size,
                 "Edge of the square that an image folder's images are resized and cropped to; 0: "
                 "they all have one size")
      ->check(WholeBetween(0, 4096))
      ->capture_default_str();
  app.add_flag("--grayscale", source.grayscale, "One channel, of an image folder's images");
  app.add_option("--limit", source.limit, "Training and test images at most, each; 0: all")
      ->check(WholeBetween(0, kMany))
      ->capture_default_str();
  app.add_option("--mean", source.mean,
                 "Mean of each channel, of pixels scaled to [0, 1]; measured if not given")
      ->expected(1, 16);
  app.add_option("--std", source.deviation, "Deviation of each channel, likewise")->expected(1, 16);
}

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

// A command whose arguments live as long as its action; `check` sees them before anything starts.
template <typename Args>
Command Make(
    std::string name, std::string summary, std::string example,
    std::function<absl::Status(const Args&)> handler, void (*add_options)(CLI::App&, Args&),
    absl::Status (*check)(const Args&) = [](const Args&) { return absl::OkStatus(); }) {
  const auto define = [handler = std::move(handler), add_options, check](CLI::App& app) -> Action {
    const auto args = std::make_shared<Args>();
    add_options(app, *args);
    return [args, handler, check] {
      AMC_RETURN_IF_ERROR(check(*args));
      return handler(*args);
    };
  };
  return {std::move(name), std::move(summary), std::move(example), define};
}

void AddPrune(CLI::App& app, PruneArgs& args) {
  app.add_option("MODEL", args.model, "The network, ONNX")->required();
  auto* what = app.add_option_group("how much", "What every group keeps");
  what->add_option("--policy", args.policy, "Policy file: {\"keep\": {\"GROUP\": count}}");
  what->add_option("--ratio", args.ratio, "Share of its channels that every group keeps")
      ->check(Share());
  what->require_option(1);
  app.add_option("--residual-path", args.residual_path,
                 "With --ratio: keep residual paths whole, or prune them too")
      ->check(CLI::IsMember({"keep", "prune"}))
      ->capture_default_str();
  app.add_option("-o,--output", args.output, "The smaller network, ONNX")->required();
  app.add_option("--data", args.data,
                 "Data pack; without one the criterion is l1 or l2, and nothing is refitted");
  app.add_option("--criterion", args.criterion,
                 "Which channels stay: l1, l2, energy or greedy (default greedy, without data l2)")
      ->check(CLI::IsMember({"l1", "l2", "energy", "greedy"}));
  app.add_option(
         "--reconstruction", args.reconstruction,
         "Refit the remaining weights: none, fast, sampled or strong (default strong, without "
         "data none)")
      ->check(CLI::IsMember({"none", "fast", "sampled", "strong"}));
  app.add_option("--reconstruction-images", args.images, "Images that reconstruction reads")
      ->check(WholeBetween(1, kMany))
      ->capture_default_str();
  app.add_option("--samples-per-layer", args.samples, "Output positions that refit a layer")
      ->check(WholeBetween(1, kMany))
      ->capture_default_str();
  app.add_option("--recalibration-images", args.recalibration, "Images that recalibrate batch norm")
      ->check(WholeBetween(0, kMany))
      ->capture_default_str();
  app.add_option("--ridge", args.ridge, "Ridge, relative to the mean diagonal")
      ->check(Above(0))
      ->capture_default_str();
  app.add_option("--seed", args.seed, "Seed of the sampled positions")
      ->check(Seed())
      ->capture_default_str();
  AddExecFlags(app, args.exec);
  app.add_flag("--json", args.json, "Print a PruneInfo as JSON");
}

void AddInfer(CLI::App& app, InferArgs& args) {
  app.add_option("MODEL", args.model, "The network, ONNX")->required();
  app.add_option("--input", args.input, "float32 .npy, N x C x H x W, preprocessed")->required();
  app.add_option("--output", args.output, "float32 .npy to write, N x outputs")->required();
  AddExecFlags(app, args.exec);
}

void AddEval(CLI::App& app, EvalArgs& args) {
  app.add_option("MODEL", args.model, "The network, ONNX")->required();
  app.add_option("--data", args.data, "Data pack (amc data pack)")->required();
  app.add_option(
         "--split", args.split,
         "reconstruction, reward, or report: a search touches those images once, at its end")
      ->check(CLI::IsMember({"reconstruction", "reward", "report"}))
      ->capture_default_str();
  app.add_option("--limit", args.images, "Images at most; 0: the whole split")
      ->check(WholeBetween(0, kMany))
      ->capture_default_str();
  app.add_option("--policies", args.policies,
                 "Measure these candidates of the network instead, on the reward split and with a "
                 "job's default settings: lines as `amc history --canonical` prints them");
  app.add_option("--reference", args.reference,
                 "Also measure the KL divergence from this network's outputs (ONNX), as a job does "
                 "from its original's")
      ->excludes("--policies");
  AddExecFlags(app, args.exec);
  app.add_flag("--json", args.json, "Print an EvalInfo as JSON, with --policies a line each");
}

void AddTraining(CLI::App& app, TrainArgs& args) {
  AddSource(app, args.source, true);
  app.add_option("-o,--output", args.output, "The trained network, ONNX")->required();
  app.add_option("--epochs", args.epochs, "Passes over the training images")
      ->check(WholeBetween(1, 100000))
      ->capture_default_str();
  app.add_option("--batch", args.batch, "Images per step")
      ->check(WholeBetween(1, 65536))
      ->capture_default_str();
  app.add_option("--lr", args.learning_rate, "Peak learning rate; falls along a cosine")
      ->check(Above(0))
      ->capture_default_str();
  app.add_option("--warmup-epochs", args.warmup_epochs, "Epochs in which it rises to the peak")
      ->check(Between(0, std::numeric_limits<double>::infinity()))
      ->capture_default_str();
  app.add_option("--momentum", args.momentum, "Momentum of SGD")
      ->check(Between(0, 1))
      ->capture_default_str();
  app.add_option("--weight-decay", args.weight_decay, "L2 penalty")
      ->check(Between(0, std::numeric_limits<double>::infinity()))
      ->capture_default_str();
  app.add_option("--label-smoothing", args.label_smoothing, "Share given to the other classes")
      ->check(Between(0, 0.99))
      ->capture_default_str();
  app.add_option("--crop-padding", args.crop_padding,
                 "Random crops of images padded by this much; -1: an eighth of the image")
      ->check(WholeBetween(-1, 1024))
      ->capture_default_str();
  app.add_flag("--flip,!--no-flip", args.flip, "Random horizontal flips (the default)");
  app.add_option("--seed", args.seed, "Seed of weights, order and augmentation")
      ->check(Seed())
      ->capture_default_str();
  AddMachine(app, args.threads, args.device);
  app.add_flag("--json", args.json, "Print a TrainInfo as JSON");
}

void AddTrain(CLI::App& app, TrainArgs& args) {
  app.add_option("--arch", args.arch, "The network")->check(CLI::IsMember(ZooNames()))->required();
  AddTraining(app, args);
}

void AddFinetune(CLI::App& app, TrainArgs& args) {
  args.epochs = 5;
  args.learning_rate = 0.01;
  args.warmup_epochs = 0;
  app.add_option("MODEL", args.model, "The network to go on with, ONNX")->required();
  AddTraining(app, args);
}

void AddDataPack(CLI::App& app, DataPackArgs& args) {
  AddSource(app, args.source, false);
  app.add_option("-o,--output", args.output, "The pack")->required();
  app.add_option("--reconstruction", args.reconstruction,
                 "Images that refit weights, of the training images (default 5000, or all)")
      ->check(WholeBetween(1, kMany));
  app.add_option("--reward", args.reward,
                 "Images that rank candidates, of the test images (default half of them)")
      ->check(WholeBetween(1, kMany));
  app.add_option("--report", args.report,
                 "Images that measure the result, of the other test images (default the rest)")
      ->check(WholeBetween(1, kMany));
  app.add_option("--seed", args.seed, "Seed of the draw")->check(Seed())->capture_default_str();
  app.add_flag("--json", args.json, "Print a PackInfo as JSON");
}

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

absl::Status CheckPrune(const PruneArgs& args) { return CheckOutputFile(args.output); }

absl::Status CheckInfer(const InferArgs& args) { return CheckOutputFile(args.output); }

absl::Status CheckSource(const SourceFlags& source) {
  if (source.mean.empty() != source.deviation.empty()) {
    return UsageError(source.mean.empty() ? "--std without --mean: give both, or neither"
                                          : "--mean without --std: give both, or neither");
  }
  if (!source.pack.empty() && !source.mean.empty()) {
    return UsageError("--mean and --std: the data pack has its own");
  }
  return absl::OkStatus();
}

absl::Status CheckTrain(const TrainArgs& args) {
  AMC_RETURN_IF_ERROR(CheckSource(args.source));
  return CheckOutputFile(args.output);
}

absl::Status CheckDataPack(const DataPackArgs& args) {
  AMC_RETURN_IF_ERROR(CheckSource(args.source));
  return CheckOutputFile(args.output);
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

}  // namespace

std::vector<Command> ComputeCommands(const ComputeHandlers& handlers) {
  return {
      Make("prune", "Shrink a network by a policy",
           "amc prune resnet20.onnx --policy policy.json --data cifar.pack -o small.onnx",
           handlers.prune, AddPrune, CheckPrune),
      Make("infer", "Run a network on a .npy of images",
           "amc infer resnet20.onnx --input x.npy --output y.npy", handlers.infer, AddInfer,
           CheckInfer),
      Make("eval", "Measure a network on a split of a data pack",
           "amc eval resnet20.onnx --data cifar.pack --split reward", handlers.eval, AddEval),
      Make("train", "Train a known network from scratch",
           "amc train --arch resnet20 --idx /usr/share/datasets/fashion-mnist -o resnet20.onnx",
           handlers.train, AddTrain, CheckTrain),
      Make("finetune", "Train an ONNX network further",
           "amc finetune small.onnx --images cifar10/ --mean 0.485 0.456 0.406 --std 0.229 0.224 "
           "0.225 -o tuned.onnx",
           handlers.finetune, AddFinetune, CheckTrain),
      Make("data pack", "Make the immutable data set that a search uses",
           "amc data pack --images cifar10/ --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225 -o "
           "cifar.pack",
           handlers.data_pack, AddDataPack, CheckDataPack),
      Make("lut build", "Measure a network's layers on a runtime, of this machine or of workers",
           "amc lut build resnet56.onnx --runtime onnxruntime -o table.csv", handlers.lut_build,
           AddLutBuild, CheckLutBuild),
      Make("serve", "Run the server", "amc serve --data-folder /var/lib/amc --disk-quota 200G",
           handlers.serve, AddServe, CheckServe),
      Make("worker", "Measure candidates for a server; starts again after a crash",
           "amc worker --server 127.0.0.1:7070 --memory 16G", handlers.worker, AddWorker,
           CheckWorker),
  };
}

}  // namespace amc
