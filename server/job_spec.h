// A job's specification: validated, every default written out, turned into the core's settings.
//
// This is the only place where settings come from the wire. Defaults are those of the core's own
// option structs; the store keeps specs resolved, so that new defaults never change old jobs.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agent/search.h"
#include "amc/v1/job.pb.h"
#include "env/amc_env.h"
#include "env/local_evaluator.h"

namespace amc {

// Fills in every default. InvalidArgument with a violation per bad field, paths from the request
// ("spec.budget.ratio"). Does not look at artifacts: `name`, `space.residual_path` and, of a job on
// latency, `space.channel_multiple` stay as they are (ModelCache::DecideSpace).
absl::StatusOr<v1::JobSpec> ResolveJobSpec(const v1::JobSpec& spec);

// The same for what CreateEnvironment takes; `budget` may be absent (null).
struct EnvironmentSettings {
  v1::Budget budget;  // resolved; without a target: no budget
  v1::SpaceSpec space;
  v1::LatencySpec latency;
};
absl::StatusOr<EnvironmentSettings> ResolveEnvironment(const v1::Budget* budget,
                                                       const v1::SpaceSpec& space,
                                                       const v1::LatencySpec& latency);

// sha256 of a spec.
std::string SpecHash(const v1::JobSpec& spec);

// Below: of resolved specs.
EnvironmentSettings SettingsOf(const v1::JobSpec& spec);
// But for the latency table itself.
EnvOptions ToEnvOptions(const EnvironmentSettings& settings);
// `reward_images` is how many a full evaluation measures; 0 where that is not known.
SearchOptions ToSearchOptions(const v1::JobSpec& spec, int64_t reward_images);
ExecOptions ToExecOptions(const v1::EvaluationSpec& evaluation);
LocalEvaluatorOptions ToEvaluatorOptions(const v1::JobSpec& spec);

// What fixes every bit of an evaluation beside the spec's own numbers: device, the worker's
// platform (instruction set, library versions), threads, batch and precision:
// "cpu:avx512:torch1.13.1:threads1:batch64:fp32".
std::string JobNumericsId(absl::string_view platform_id, absl::string_view gpu_id,
                          const v1::EvaluationSpec& evaluation);

}  // namespace amc
