// The core's settings, from a resolved job's specification (job_spec.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "agent/search.h"
#include "amc/v1/job.pb.h"
#include "env/amc_env.h"
#include "env/local_evaluator.h"
#include "env/sparse_space.h"
#include "server/job_spec.h"

namespace amc {

// Null for a space of channels.
std::optional<SparseSpace> ToSparseSpace(const v1::SpaceSpec& space);
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
