// Whether two jobs are the same search: what `amc run` asks of the jobs in its folder.
#pragma once

#include <string>
#include <vector>

#include "amc/v1/job.pb.h"

namespace amc {

// `spec` with every default written out, as the server resolves it; only space.residual_path and,
// of jobs on latency, space.channel_multiple stay open where the spec says nothing, since what they
// become depends on the network.
v1::JobSpec WithDefaults(const v1::JobSpec& spec);

// Where a resolved spec differs from what is wanted, a text for each field: "budget.ratio 0.5, this
// command says 0.4". Names do not count, nor how a job shares the workers (priority, max_workers,
// requirements, reuse), which changes nothing that it finds, nor what becomes of residual paths and
// multiples of channels that `wanted` leaves open.
std::vector<std::string> Differences(const v1::JobSpec& resolved, const v1::JobSpec& wanted);

}  // namespace amc
