// A job's specification: validated, every default written out. job_settings.h turns it into the
// core's settings.
//
// This is the only place where settings come from the wire. Defaults are those of the core's own
// option structs; the store keeps specs resolved, so that new defaults never change old jobs.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "amc/v1/job.pb.h"

namespace amc {

inline constexpr size_t kMaxJobName = 200;  // characters

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

}  // namespace amc
