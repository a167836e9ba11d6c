#include "server/cli/compute_commands.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "server/rpc/channel.h"

namespace amc {
namespace {

constexpr int64_t kMany = int64_t{1} << 40;

void AddMachine(CLI::App& app, int& threads, std::string& device) {
  app.add_option("--threads", threads, "Threads; 0: every core this process may use")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--device", device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
}

void AddExecFlags(CLI::App& app, ExecFlags& flags) {
  AddMachine(app, flags.threads, flags.device);
  app.add_option("--batch", flags.batch, "Images run at once")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_flag("--bf16", flags.bf16, "Compute in bfloat16");
}

void AddSource(CLI::App& app, SourceFlags& source) {
  auto* group = app.add_option_group("images", "Where the images come from");
  group->add_option("--idx", source.idx,
                    "Folder of IDX files (train-images-idx3-ubyte[.gz] and the other three)");
  group->add_option("--cifar", source.cifar, "Folder of CIFAR binary batches");
  group->add_option("--images", source.images,
                    "Folder with train/CLASS/*.{jpg,png} and test/CLASS/*.{jpg,png}");
  group->require_option(1);
  app.add_option("--size", source.size,
                 "Edge of the square that an image folder's images are resized and cropped to; 0: "
                 "they all have one size")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_flag("--grayscale", source.grayscale, "One channel, of an image folder's images");
  app.add_option("--limit", source.limit, "Training and test images at most, each; 0: all")
      ->check(CLI::Range(int64_t{0}, kMany))
      ->capture_default_str();
  app.add_option("--mean", source.mean,
                 "Mean of each channel, of pixels scaled to [0, 1]; measured if not given")
      ->expected(1, 16);
  app.add_option("--std", source.deviation, "Deviation of each channel, likewise")->expected(1, 16);
}

// A command whose arguments live as long as its action.
template <typename Args>
Command Make(std::string name, std::string summary, std::string example,
             std::function<absl::Status(const Args&)> handler,
             void (*add_options)(CLI::App&, Args&)) {
  const auto define = [handler = std::move(handler), add_options](CLI::App& app) -> Action {
    const auto args = std::make_shared<Args>();
    add_options(app, *args);
    return [args, handler] { return handler(*args); };
  };
  return {std::move(name), std::move(summary), std::move(example), define};
}

void AddPrune(CLI::App& app, PruneArgs& args) {
  app.add_option("MODEL", args.model, "The network, ONNX")->required();
  auto* what = app.add_option_group("how much", "What every group keeps");
  what->add_option("--policy", args.policy, "Policy file: {\"keep\": {\"GROUP\": count}}");
  what->add_option("--ratio", args.ratio, "Share of its channels that every group keeps")
      ->check(CLI::Range(1e-9, 1.0));
  what->require_option(1);
  app.add_option("-o,--output", args.output, "The smaller network, ONNX")->required();
  app.add_option("--data", args.data,
                 "Data pack; without one the criterion is l1 or l2, and nothing is refitted");
  app.add_option("--criterion", args.criterion,
                 "Which channels stay: l1, l2, energy or greedy (default greedy, without data l2)")
      ->check(CLI::IsMember({"l1", "l2", "energy", "greedy"}));
  app.add_option("--reconstruction", args.reconstruction,
                 "Refit the remaining weights: none, fast or strong (default strong, without data "
                 "none)")
      ->check(CLI::IsMember({"none", "fast", "strong"}));
  app.add_option("--reconstruction-images", args.images, "Images that reconstruction reads")
      ->check(CLI::Range(int64_t{1}, kMany))
      ->capture_default_str();
  app.add_option("--samples-per-layer", args.samples, "Output positions that refit a layer")
      ->check(CLI::Range(int64_t{1}, kMany))
      ->capture_default_str();
  app.add_option("--recalibration-images", args.recalibration, "Images that recalibrate batch norm")
      ->check(CLI::Range(int64_t{0}, kMany))
      ->capture_default_str();
  app.add_option("--ridge", args.ridge, "Ridge, relative to the mean diagonal")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seed", args.seed, "Seed of the sampled positions")->capture_default_str();
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
  app.add_option("--split", args.split, "reconstruction, reward or report")
      ->check(CLI::IsMember({"reconstruction", "reward", "report"}))
      ->capture_default_str();
  app.add_option("--limit", args.images, "Images at most; 0: the whole split")
      ->check(CLI::Range(int64_t{0}, kMany))
      ->capture_default_str();
  AddExecFlags(app, args.exec);
  app.add_flag("--json", args.json, "Print an EvalInfo as JSON");
}

void AddTraining(CLI::App& app, TrainArgs& args) {
  AddSource(app, args.source);
  app.add_option("-o,--output", args.output, "The trained network, ONNX")->required();
  app.add_option("--epochs", args.epochs, "Passes over the training images")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--batch", args.batch, "Images per step")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--lr", args.learning_rate, "Peak learning rate; falls along a cosine")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--warmup-epochs", args.warmup_epochs, "Epochs in which it rises to the peak")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--momentum", args.momentum, "Momentum of SGD")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--weight-decay", args.weight_decay, "L2 penalty")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--label-smoothing", args.label_smoothing, "Share given to the other classes")
      ->check(CLI::Range(0.0, 0.99))
      ->capture_default_str();
  app.add_option("--crop-padding", args.crop_padding,
                 "Random crops of images padded by this much; -1: an eighth of the image")
      ->check(CLI::Range(-1, 1024))
      ->capture_default_str();
  app.add_flag("--flip,!--no-flip", args.flip, "Random horizontal flips (the default)");
  app.add_option("--seed", args.seed, "Seed of weights, order and augmentation")
      ->capture_default_str();
  AddMachine(app, args.threads, args.device);
  app.add_flag("--json", args.json, "Print a TrainInfo as JSON");
}

void AddTrain(CLI::App& app, TrainArgs& args) {
  app.add_option("--arch", args.arch,
                 "resnet20, resnet56, plain20, vgg16, vgg-small, mobilenetv1 or mobilenetv2")
      ->required();
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
  AddSource(app, args.source);
  app.add_option("-o,--output", args.output, "The pack")->required();
  app.add_option("--reconstruction", args.reconstruction,
                 "Images that refit weights, of the training images (default 5000, or all)")
      ->check(CLI::Range(int64_t{1}, kMany));
  app.add_option("--reward", args.reward,
                 "Images that rank candidates, of the test images (default half of them)")
      ->check(CLI::Range(int64_t{1}, kMany));
  app.add_option("--report", args.report,
                 "Images that measure the result, of the other test images (default the rest)")
      ->check(CLI::Range(int64_t{1}, kMany));
  app.add_option("--seed", args.seed, "Seed of the draw")->capture_default_str();
  app.add_flag("--json", args.json, "Print a PackInfo as JSON");
}

void AddServe(CLI::App& app, ServeArgs& args) {
  args.address = kDefaultAddress;
  app.add_option("--address", args.address, "HOST:PORT (port 0: any free one) or unix:/PATH")
      ->capture_default_str();
  app.add_option("--data-folder", args.data_folder, "Database and artifacts; made if not there")
      ->capture_default_str();
  app.add_option("--max-running-jobs", args.max_running_jobs, "The others wait")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--tls-cert", args.tls_certificate, "PEM; needed beyond this machine");
  app.add_option("--tls-key", args.tls_key, "PEM");
  app.add_option("--token", args.token, "What clients must send; needed beyond this machine")
      ->envname("AMC_TOKEN");
}

void AddWorker(CLI::App& app, WorkerArgs& args) {
  args.server = kDefaultAddress;
  app.add_option("--server", args.server, "The server's address")
      ->envname("AMC_SERVER")
      ->capture_default_str();
  app.add_option("--tls-ca", args.ca_file, "PEM of the authority that signed the server");
  app.add_option("--token", args.token, "The server's token")->envname("AMC_TOKEN");
  app.add_option("--cache", args.cache_folder,
                 "Folder for downloaded models and data (default ~/.cache/amc)");
  app.add_option("--artifacts", args.artifacts_folder,
                 "The server's artifacts/ folder on a shared file system, read in place");
  app.add_option("--threads", args.threads, "Threads that it computes with")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--give-up-after", args.give_up_after,
                 "Seconds without a server before it ends; 0: never")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

}  // namespace

std::vector<Command> ComputeCommands(const ComputeHandlers& handlers) {
  return {
      Make("prune", "Shrink a network by a policy",
           "amc prune resnet20.onnx --policy policy.json --data cifar.pack -o small.onnx",
           handlers.prune, AddPrune),
      Make("infer", "Run a network on a .npy of images",
           "amc infer resnet20.onnx --input x.npy --output y.npy", handlers.infer, AddInfer),
      Make("eval", "Measure a network on a split of a data pack",
           "amc eval resnet20.onnx --data cifar.pack --split report", handlers.eval, AddEval),
      Make("train", "Train a known network from scratch",
           "amc train --arch resnet20 --idx /usr/share/datasets/fashion-mnist -o resnet20.onnx",
           handlers.train, AddTrain),
      Make("finetune", "Train an ONNX network further",
           "amc finetune small.onnx --images cifar10/ --epochs 5 -o tuned.onnx", handlers.finetune,
           AddFinetune),
      Make("data pack", "Make the immutable data set that a search uses",
           "amc data pack --images cifar10/ --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225 -o "
           "cifar.pack",
           handlers.data_pack, AddDataPack),
      Make("serve", "Run the server", "amc serve --data-folder /var/lib/amc", handlers.serve,
           AddServe),
      Make("worker", "Measure candidates for a server", "amc worker --server 127.0.0.1:7070",
           handlers.worker, AddWorker),
  };
}

}  // namespace amc
