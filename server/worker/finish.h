// The end of a job: the winner reconstructed with all care, measured once on the report split,
// timed, exported, and the export checked against the network that it came from.
#pragma once

#include <functional>

#include "absl/status/statusor.h"
#include "amc/v1/job.pb.h"
#include "env/cost/policy.h"
#include "server/worker/artifact_cache.h"
#include "server/worker/task_executor.h"

namespace amc {

// Uploads the smaller ONNX and what both networks did with each report image (docs/formats.md), and
// returns what was measured, without episode number and steps. The ONNX's metadata say where it
// comes from: amc.spec (the resolved spec's sha256), amc.policy (a policy file), amc.top1 and
// amc.original_top1 (report split). The same job gives the same bytes. JobError(EXPORT) when the
// export's outputs or cost are not the network's.
absl::StatusOr<v1::JobResult> FinishJob(const v1::JobSpec& spec, const Policy& policy,
                                        Workspace& work, ArtifactCache& cache,
                                        const TaskProgressFn& progress,
                                        const std::function<bool()>& cancelled);

// The policy as people write it, decisions in order: {"keep": {"conv1": 8, ...}}.
std::string PolicyJson(const Policy& policy);

}  // namespace amc
