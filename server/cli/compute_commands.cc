#include "server/cli/compute_commands.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "base/status_macros.h"
#include "server/cli/compute_options.h"

namespace amc {
namespace {

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

}  // namespace

std::vector<Command> ComputeCommands(const ComputeHandlers& handlers) {
  return {
      Make("prune", "Shrink a network by a policy",
           "amc prune resnet20.onnx --policy policy.json --data cifar.pack -o small.onnx",
           handlers.prune, AddPrune, CheckPrune),
      Make("package", "Write what sparse runtimes read of a network, with a manifest",
           "amc package small.onnx --format csr,nvidia24 -o small.package", handlers.package,
           AddPackage, CheckPackageArgs),
      Make("verify", "Check a package: digests, every layer's files, the self-test",
           "amc verify small.package", handlers.verify, AddVerify),
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
      Make("lut simulate", "Make a table of what a simulated sparse runtime takes",
           "amc lut simulate vgg16.onnx --backend eie --sparsity element -o eie.csv",
           handlers.lut_simulate, AddLutSimulate, CheckLutSimulate),
      Make("serve", "Run the server", "amc serve --data-folder /var/lib/amc --disk-quota 200G",
           handlers.serve, AddServe, CheckServe),
      Make("worker", "Measure candidates for a server; starts again after a crash",
           "amc worker --server 127.0.0.1:7070 --memory 16G", handlers.worker, AddWorker,
           CheckWorker),
  };
}

}  // namespace amc
