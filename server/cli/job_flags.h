// A JobSpec from a job file and flags: shared by `amc submit` and `amc run`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "amc/v1/job.pb.h"
#include "server/cli/client.h"

namespace CLI {
class App;
}  // namespace CLI

namespace amc {

// What flags say; what they leave out stays as the job file has it, or the server's default.
struct JobFlags {
  std::string file;  // a job file; may be empty
  std::string model, data, name;
  std::vector<std::string> budget;  // as ParseBudget reads them: all of them hold
  std::optional<int64_t> budget_absolute;
  std::optional<std::string> resource, agent, metric, reward, criterion, reconstruction, device;
  std::optional<uint64_t> seed;
  std::optional<int64_t> episodes, parallel_episodes, channel_multiple, reward_images,
      report_images, batch, threads, priority, max_workers, memory_bytes;
  std::optional<int64_t> probe_images, probe_ratios, screening_images, finetune_steps;
  std::optional<double> min_preserve_ratio;
  std::vector<std::string> frozen, learn_from;
  std::optional<std::string> sparsity;
  std::optional<std::string> residual_path, runtime, start;
  std::string start_policy;           // a policy file
  std::string latency_table;          // a file, or a digest
  std::vector<std::string> settings;  // FIELD=VALUE
  std::optional<int64_t> finalists;   // candidates measured before one wins
  bool must_measure = false;
  bool no_land = false, bf16 = false, allow_weak_baseline = false, no_reuse = false;
};

// All but the model, which is a positional argument of its commands.
void AddJobFlags(CLI::App& app, JobFlags& flags);

// The job file, if any, with the flags over it. Model and data still are paths or digests.
// InvalidArgument names the flag or the field.
absl::StatusOr<v1::JobSpec> MakeJobSpec(const JobFlags& flags);

// Names that --agent takes, in the order that --help shows them, the default first.
std::vector<std::string> KnownAgents();

// An error of the server about fields of a spec, in the words of who typed the command: flags, the
// job file, the names of the files in `local`, the spec before UploadInputs. Others stay.
absl::Status InTermsOfFlags(const absl::Status& status, const JobFlags& flags,
                            const v1::JobSpec& local);

// Uploads model, data and latency table where the spec names files, and puts their digests in their
// place; names the job after the model's file if it has no name.
absl::Status UploadInputs(Client& client, v1::JobSpec& spec);

}  // namespace amc
