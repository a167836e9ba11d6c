// What came out of a job, for people.
#pragma once

#include <string>

#include "amc/v1/job.pb.h"

namespace amc {

// Table of before and after, and a bar per group. The job must have a result.
std::string ResultText(const v1::Job& job);

// What is to be said of an episode beside its figures: "warm-up, reused", "infeasible: WHY".
std::string EpisodeNote(const v1::Episode& episode);

// The bars alone: what each step kept of its group.
std::string PreserveRatioBars(const google::protobuf::RepeatedPtrField<v1::Step>& steps);

}  // namespace amc
