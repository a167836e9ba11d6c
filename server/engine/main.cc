// amc-engine: everything that needs torch. People type `amc COMMAND`, which executes this program
// with the same arguments and the environment in which it is fast (server/cli/engine.h).
//
//   OMP_NUM_THREADS=1 amc-engine eval resnet20.onnx --data cifar.pack
#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "server/cli/compute_commands.h"
#include "server/engine/commands.h"

namespace {

// check-device: what `amc run --device cuda` asks before it starts anything.
amc::Action DefineCheckDevice(CLI::App& app) {
  const auto device = std::make_shared<std::string>();
  app.add_option("DEVICE", *device, "cpu or cuda")->required();
  return [device] { return amc::PrepareMachine(1, *device); };
}

}  // namespace

int main(int argc, char** argv) {
  amc::SetMinLogSeverity(amc::LogSeverity::kWarning);
  std::vector<amc::Command> commands = amc::ComputeCommands({.prune = amc::RunPrune,
                                                             .package = amc::RunPackage,
                                                             .verify = amc::RunVerify,
                                                             .infer = amc::RunInfer,
                                                             .eval = amc::RunEval,
                                                             .train = amc::RunTrain,
                                                             .finetune = amc::RunFinetune,
                                                             .data_pack = amc::RunDataPack,
                                                             .lut_build = amc::RunLutBuild,
                                                             .lut_simulate = amc::RunLutSimulate,
                                                             .serve = amc::RunServe,
                                                             .worker = amc::RunWorkerProcess});
  commands.push_back({"check-device", "Say whether there is such a device here",
                      "amc-engine check-device cuda", DefineCheckDevice});
  // Errors name what people typed.
  return amc::RunCommandLine("amc", "The computing half of amc; run `amc` instead.", commands, argc,
                             argv);
}
