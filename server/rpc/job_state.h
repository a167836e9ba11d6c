// What the states of a job mean to servers and clients alike.
#pragma once

#include "amc/v1/job.pb.h"

namespace amc {

// Whether nothing more happens to the job unless somebody resumes it.
inline bool HasEnded(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED ||
         state == v1::JOB_STATE_CANCELLED;
}

}  // namespace amc
