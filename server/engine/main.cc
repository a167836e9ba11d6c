// amc-engine: everything that needs torch. People type `amc COMMAND`, which executes this program
// with the same arguments and the environment in which it is fast (server/cli/engine.h).
//
//   OMP_NUM_THREADS=1 amc-engine eval resnet20.onnx --data cifar.pack
#include "base/log.h"
#include "server/cli/compute_commands.h"
#include "server/engine/commands.h"

int main(int argc, char** argv) {
  amc::SetMinLogSeverity(amc::LogSeverity::kWarning);
  // Errors name what people typed.
  return amc::RunCommandLine("amc", "The computing half of amc; run `amc` instead.",
                             amc::ComputeCommands({.prune = amc::RunPrune,
                                                   .infer = amc::RunInfer,
                                                   .eval = amc::RunEval,
                                                   .train = amc::RunTrain,
                                                   .finetune = amc::RunFinetune,
                                                   .data_pack = amc::RunDataPack,
                                                   .serve = amc::RunServe,
                                                   .worker = amc::RunWorkerProcess}),
                             argc, argv);
}
