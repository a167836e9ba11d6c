#include "server/cli/comparison_progress.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "server/cli/format.h"
#include "server/rpc/job_state.h"

namespace amc {
namespace {

constexpr absl::Duration kInterval = absl::Seconds(1);

}  // namespace

ComparisonProgress ProgressOf(const std::vector<v1::Job>& jobs) {
  ComparisonProgress progress;
  progress.jobs = jobs.size();
  for (const v1::Job& job : jobs) {
    const bool ended = HasEnded(job.state());
    progress.ended += ended ? 1 : 0;
    progress.spent += job.evaluations_spent();
    progress.limit +=
        ended ? job.evaluations_spent() : static_cast<double>(job.spec().search().episodes());
  }
  return progress;
}

std::string ProgressText(const ComparisonProgress& progress, const v1::Job& followed,
                         const std::string& name, const std::string& eta) {
  return absl::StrFormat("%d of %d jobs  %.1f/%.0f evaluations  %s: %s  %s", progress.ended,
                         progress.jobs, progress.spent, progress.limit, name,
                         SpentOf(followed.evaluations_spent(), followed.spec().search().episodes()),
                         eta);
}

void ComparisonNarrator::Follow(const std::string& job, const std::string& name) {
  job_ = job;
  name_ = name;
  last_look_ = absl::InfinitePast();
  shown_ = false;
}

void ComparisonNarrator::Tell(const v1::JobEvent& event) {
  if (event.kind() == v1::EVENT_KIND_PROGRESS && event.total() == 0) {
    line_.Show(event.message());  // it waits: for a worker, for space on a disk
    return;
  }
  if (absl::Now() - last_look_ < kInterval) return;
  last_look_ = absl::Now();
  const absl::StatusOr<std::vector<v1::Job>> jobs = look_();
  if (!jobs.ok()) return;  // the watch itself says what is wrong
  const auto followed = std::find_if(jobs->begin(), jobs->end(),
                                     [&](const v1::Job& job) { return job.id() == job_; });
  if (followed == jobs->end()) return;
  const ComparisonProgress progress = ProgressOf(*jobs);
  line_.Show(ProgressText(progress, *followed, name_,
                          meter_.Eta(progress.spent, progress.limit, absl::Now())),
             !shown_);
  shown_ = true;
}

}  // namespace amc
