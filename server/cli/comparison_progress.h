// How far the jobs of a comparison are, as one progress line.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "amc/v1/job.pb.h"
#include "server/cli/follow.h"
#include "server/cli/progress.h"

namespace amc {

// How much of the evaluations that the jobs may cost is spent. Searches that end early take what
// they leave out of the sum.
struct ComparisonProgress {
  size_t ended = 0, jobs = 0;
  double spent = 0, limit = 0;
};
ComparisonProgress ProgressOf(const std::vector<v1::Job>& jobs);

// "3 of 21 jobs  123.4/4200 evaluations  hybrid seed 2: 34.0/200  ETA 12 min 05 s"
std::string ProgressText(const ComparisonProgress& progress, const v1::Job& followed,
                         const std::string& name, const std::string& eta);

// Listens to the job that is followed and asks for all of them now and then. One thread.
class ComparisonNarrator : public JobListener {
 public:
  // `look` gives the comparison's jobs as they are now.
  explicit ComparisonNarrator(std::function<absl::StatusOr<std::vector<v1::Job>>()> look)
      : look_(std::move(look)) {}

  // What comes next is of this job; `name` is what people call it.
  void Follow(const std::string& job, const std::string& name);

  void Tell(const v1::JobEvent& event) override;
  void Say(const std::string& text) override { line_.Say(text); }

 private:
  std::function<absl::StatusOr<std::vector<v1::Job>>()> look_;
  std::string job_, name_;
  bool shown_ = false;  // something of this job
  absl::Time last_look_ = absl::InfinitePast();
  ProgressLine line_;
  EtaMeter meter_;
};

}  // namespace amc
