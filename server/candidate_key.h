// What decides a candidate's measurement: two that agree in it are measured alike, bit for bit.
#pragma once

#include <string>

#include "amc/v1/job.pb.h"

namespace amc {

// "MODEL:SHA256": the model's digest and a hash over data, policy, number of reward images (0: as
// the spec says), evaluation settings, numerics id and the revision of the evaluator. The name
// under which a measurement is kept for later jobs (TaskRecord::reuse_key); empty if the job wants
// none or its numerics id is not fixed yet.
std::string CandidateKey(const v1::JobSpec& spec, const std::string& numerics_id,
                         const v1::Policy& policy, int64_t images);

}  // namespace amc
