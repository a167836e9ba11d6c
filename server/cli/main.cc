// amc: what people type. Starts in milliseconds because it is torch-free: commands that compute
// execute amc-engine (`worker` supervises it), the others talk gRPC or do arithmetic on the graph.
//
//   amc run resnet20.onnx --data cifar.pack --budget 0.5 -o out
//   amc inspect resnet20.onnx
#include <iterator>
#include <vector>

#include "base/log.h"
#include "server/cli/commands.h"
#include "server/cli/compute_commands.h"
#include "server/cli/engine.h"
#include "server/cli/remote_lut_build.h"
#include "server/cli/supervised_worker.h"

int main(int argc, char** argv) {
  amc::SetMinLogSeverity(amc::LogSeverity::kWarning);
  amc::ComputeHandlers handlers = amc::ExecHandlers(argc, argv);
  handlers.lut_build = [here = handlers.lut_build](const amc::LutBuildArgs& args) {
    return args.server.empty() ? here(args) : amc::BuildLutOnServer(args);
  };
  handlers.worker = [argc, argv](const amc::WorkerArgs& args) {
    return amc::SuperviseWorker(args, argc, argv);
  };
  std::vector<amc::Command> commands;
  for (auto family : {amc::RunCommands(), amc::CompareCommands(), amc::InspectCommands(),
                      amc::ComputeCommands(handlers), amc::SubmitCommands(), amc::JobCommands(),
                      amc::HistoryCommands(), amc::WorkerCommands(), amc::LutCommands(),
                      amc::TopCommands(), amc::BackupCommands()}) {
    commands.insert(commands.end(), std::make_move_iterator(family.begin()),
                    std::make_move_iterator(family.end()));
  }
  return amc::RunCommandLine(
      "amc", "Compresses trained CNNs (ONNX) to a hard budget by reinforcement learning.", commands,
      argc, argv);
}
