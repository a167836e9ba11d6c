// The options of the commands that compute, and what can be said of their values before anything
// starts. Declared for compute_commands.cc alone.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "server/cli/compute_commands.h"

namespace CLI {
class App;
}

namespace amc {

// --threads and --device.
void AddMachine(CLI::App& app, int& threads, std::string& device);

void AddPrune(CLI::App& app, PruneArgs& args);
void AddPackage(CLI::App& app, PackageArgs& args);
void AddVerify(CLI::App& app, VerifyArgs& args);
void AddInfer(CLI::App& app, InferArgs& args);
void AddEval(CLI::App& app, EvalArgs& args);
void AddTrain(CLI::App& app, TrainArgs& args);
void AddFinetune(CLI::App& app, TrainArgs& args);
void AddDataPack(CLI::App& app, DataPackArgs& args);
void AddLutBuild(CLI::App& app, LutBuildArgs& args);
void AddLutSimulate(CLI::App& app, LutSimulateArgs& args);
void AddServe(CLI::App& app, ServeArgs& args);
void AddWorker(CLI::App& app, WorkerArgs& args);

absl::Status CheckPrune(const PruneArgs& args);
absl::Status CheckPackageArgs(const PackageArgs& args);
absl::Status CheckInfer(const InferArgs& args);
absl::Status CheckTrain(const TrainArgs& args);
absl::Status CheckDataPack(const DataPackArgs& args);
absl::Status CheckLutBuild(const LutBuildArgs& args);
absl::Status CheckLutSimulate(const LutSimulateArgs& args);
absl::Status CheckServe(const ServeArgs& args);
absl::Status CheckWorker(const WorkerArgs& args);

}  // namespace amc
