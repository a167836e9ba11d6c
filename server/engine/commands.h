// What amc-engine does for each command: thin code between the command line and env/ or server/.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "env/exec/data_source.h"
#include "env/exec/exec_options.h"
#include "server/cli/compute_commands.h"
#include "server/cli/progress.h"

namespace amc {

absl::Status RunPrune(const PruneArgs& args);
absl::Status RunPackage(const PackageArgs& args);
absl::Status RunVerify(const VerifyArgs& args);
absl::Status RunInfer(const InferArgs& args);
absl::Status RunEval(const EvalArgs& args);
absl::Status RunEvalPolicies(const EvalArgs& args);  // --policies
absl::Status RunTrain(const TrainArgs& args);
absl::Status RunFinetune(const TrainArgs& args);
absl::Status RunDataPack(const DataPackArgs& args);
absl::Status RunLutBuild(const LutBuildArgs& args);
absl::Status RunLutSimulate(const LutSimulateArgs& args);
absl::Status RunServe(const ServeArgs& args);
absl::Status RunWorkerProcess(const WorkerArgs& args);

// Flags as options; tunes the process and checks that the device is there.
absl::StatusOr<ExecOptions> PrepareExec(const ExecFlags& flags);
absl::Status PrepareMachine(int threads, const std::string& device);

// The images that the flags name, with progress on stderr. Of a data pack, the reconstruction split
// is what trains and the reward split what tests.
absl::StatusOr<TrainTest> LoadSource(const SourceFlags& source, uint64_t seed);
// Mean and deviation as given, as the data pack has them, or as measured. UsageError if only one is
// given, or if their number is not that of the channels.
absl::StatusOr<Preprocessing> PreprocessingOf(const SourceFlags& source, const ImageSet& train);

// A note on stderr if `wanted` images, unless that is the default, are more than the split has.
void NoteSurplus(int64_t wanted, int64_t otherwise, const DataPack& pack, Split split);

// Shows "WHAT done/total" with an ETA; keep it on the stack while the work lasts.
std::function<void(int64_t, int64_t)> ShowProgress(ProgressLine& line, std::string what);

}  // namespace amc
