#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/graph/zoo.h"
#include "server/cli/checks.h"
#include "server/cli/compute_options.h"
#include "server/cli/exit_status.h"
#include "server/cli/sparsity_text.h"

namespace amc {
namespace {

constexpr int64_t kMany = int64_t{1} << 40;

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

}  // namespace

void AddMachine(CLI::App& app, int& threads, std::string& device) {
  app.add_option("--threads", threads, "Threads; 0: every core this process may use")
      ->check(WholeBetween(0, 1024))
      ->capture_default_str();
  app.add_option("--device", device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
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

namespace {

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

}  // namespace

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

absl::Status CheckPrune(const PruneArgs& args) { return CheckOutputFile(args.output); }

absl::Status CheckInfer(const InferArgs& args) { return CheckOutputFile(args.output); }
absl::Status CheckTrain(const TrainArgs& args) {
  AMC_RETURN_IF_ERROR(CheckSource(args.source));
  return CheckOutputFile(args.output);
}

absl::Status CheckDataPack(const DataPackArgs& args) {
  AMC_RETURN_IF_ERROR(CheckSource(args.source));
  return CheckOutputFile(args.output);
}

void AddPackage(CLI::App& app, PackageArgs& args) {
  app.add_option("MODEL", args.model, "The network, ONNX, with its zeros")->required();
  app.add_option("-o,--output", args.output, "Folder to make")->required();
  app.add_option("--format", args.formats, "Runtimes to write files for, as csr,nvidia24; all")
      ->delimiter(',')
      ->default_str("all");
  app.add_option("--data", args.data,
                 "Data pack whose reward images the self-test takes; without one it takes noise");
  app.add_option("--job", args.job, "The job that made the network, for the manifest");
  app.add_option("--original", args.original, "sha256 of what the job made it of, likewise");
  app.add_option("--policy", args.policy, "Policy file of what the job kept, likewise");
  AddExecFlags(app, args.exec);
  app.add_flag("--json", args.json, "Print the PackageManifest as JSON");
}

absl::Status CheckPackageArgs(const PackageArgs& args) { return CheckNewFolder(args.output); }

void AddVerify(CLI::App& app, VerifyArgs& args) {
  app.add_option("FOLDER", args.folder, "A package, as `amc package` and `amc export` write it")
      ->required();
  AddExecFlags(app, args.exec);
  app.add_flag("--json", args.json, "Print a PackageCheck as JSON");
}

void AddLutSimulate(CLI::App& app, LutSimulateArgs& args) {
  app.add_option("MODEL", args.model, "The network, ONNX")->required();
  app.add_option("--backend", args.backend, "The runtime: eie, cambricon_x, cnvlutin or nvidia24")
      ->required();
  app.add_option(
         "--sparsity", args.sparsity,
         "Which weights go together: element, vector, kernel, pattern, block, or N:M as 2:4")
      ->check(SparsityCheck())
      ->capture_default_str();
  app.add_flag("--linear", args.linear,
               "Only linear layers run there, as on EIE; convolutions take next to no time");
  app.add_option("--points", args.points, "Densities of every layer that are simulated")
      ->check(WholeBetween(2, 256))
      ->capture_default_str();
  app.add_option("--data", args.data,
                 "Data pack: the activations are those of its first reward image; without one, of "
                 "noise");
  app.add_option("-o,--output", args.output, "The table, CSV")->required();
  AddExecFlags(app, args.exec);
  app.add_flag("--json", args.json, "Print the LatencyTableInfo as JSON");
}

absl::Status CheckLutSimulate(const LutSimulateArgs& args) { return CheckOutputFile(args.output); }

}  // namespace amc
