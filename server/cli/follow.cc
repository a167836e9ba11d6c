#include "server/cli/follow.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"
#include "server/cli/json.h"
#include "server/cli/progress.h"
#include "server/rpc/job_state.h"

namespace amc {
namespace {

// Whether an event says that the server waits for something outside: progress without a total.
bool IsStalled(const v1::JobEvent& event) {
  return event.kind() == v1::EVENT_KIND_PROGRESS && event.total() == 0;
}

// Turns a job's events into progress lines.
class Narrator {
 public:
  explicit Narrator(const v1::Job& job)
      : job_(job), meter_(job.episodes_done()), done_(job.episodes_done()) {}

  void Tell(const v1::JobEvent& event) {
    switch (event.kind()) {
      case v1::EVENT_KIND_STATE:
        if (event.state() == v1::JOB_STATE_FINISHING) {
          finishing_ = true;
          line_.Show("rebuilding the winner and measuring it", true);
        } else if (event.state() == v1::JOB_STATE_BASELINE) {
          line_.Show("measuring the original", true);
        }
        break;
      case v1::EVENT_KIND_BASELINE:
        line_.Say(absl::StrFormat("original: top-1 %s on %d images",
                                  Percent(event.baseline().top1(), 2), event.baseline().images()));
        break;
      case v1::EVENT_KIND_EPISODE:
        TellEpisode(event);
        break;
      case v1::EVENT_KIND_PROGRESS:
        if (IsStalled(event)) {
          line_.Show(event.message(), true);
        } else if (!best_ || finishing_) {  // in between the episodes' own line stays
          line_.Show(absl::StrFormat("%s %d/%d", event.message(), event.done(), event.total()));
        }
        break;
      default:
        break;
    }
  }

 private:
  void TellEpisode(const v1::JobEvent& event) {
    const v1::Episode& episode = event.episode();
    const bool first = !best_;
    if (first || event.best_episode() == episode.number()) best_ = episode;
    done_ = std::max(done_, episode.number() + 1);
    const double macs = job_.original_cost().macs() > 0
                            ? static_cast<double>(best_->cost().macs()) /
                                  static_cast<double>(job_.original_cost().macs())
                            : 1;
    // Fits into 80 columns.
    line_.Show(absl::StrFormat("episode %d/%d  best reward %.3f  accuracy %s  MACs %s  %s",
                               episode.number() + 1, job_.episodes_total(), event.best_reward(),
                               Percent(best_->measurement().top1()), Percent(macs),
                               meter_.Eta(done_, job_.episodes_total())),
               first || episode.number() + 1 == job_.episodes_total());
  }

  const v1::Job& job_;
  ProgressLine line_;
  EtaMeter meter_;
  int64_t done_;
  std::optional<v1::Episode> best_;
  bool finishing_ = false;
};

// How long stalled events have followed each other.
class StallTimer {
 public:
  explicit StallTimer(absl::Duration patience) : patience_(patience) {}

  absl::Status Check(const v1::JobEvent& event) {
    if (!IsStalled(event)) {
      since_ = absl::InfiniteFuture();
      return absl::OkStatus();
    }
    since_ = std::min(since_, absl::Now());
    if (absl::Now() - since_ < patience_) return absl::OkStatus();
    return absl::ResourceExhaustedError(event.message());
  }

 private:
  const absl::Duration patience_;
  absl::Time since_ = absl::InfiniteFuture();
};

}  // namespace

std::string JobStateName(v1::JobState state) {
  const std::string name = v1::JobState_Name(state);
  const std::string prefix = "JOB_STATE_";
  return absl::AsciiStrToLower(name.size() > prefix.size() ? name.substr(prefix.size()) : name);
}

absl::Status JobOutcome(const v1::Job& job, absl::string_view hint) {
  switch (job.state()) {
    case v1::JOB_STATE_SUCCEEDED:
      return absl::OkStatus();
    case v1::JOB_STATE_CANCELLED:
      return WithHint(absl::CancelledError(absl::StrCat("job ", job.id(), " was cancelled")), hint);
    case v1::JOB_STATE_FAILED:
      return WithHint(
          absl::FailedPreconditionError(absl::StrCat("job ", job.id(), " failed: ", job.message())),
          job.failure() == v1::FAILURE_REASON_WEAK_BASELINE
              ? "--allow-weak-baseline searches all the same."
              : hint);
    default:
      return absl::InternalError(
          absl::StrCat("job ", job.id(), " is still ", JobStateName(job.state())));
  }
}

absl::StatusOr<v1::Job> FollowJob(Client& client, const std::string& id,
                                  const FollowOptions& options) {
  AMC_ASSIGN_OR_RETURN(v1::Job job, client.GetJob(id));
  std::optional<Narrator> narrator;
  if (!options.json) narrator.emplace(job);
  StallTimer stall(options.patience);
  v1::WatchJobRequest request;
  request.set_id(id);
  request.set_after_sequence(options.after_sequence);
  while (true) {
    grpc::ClientContext context;
    if (options.on_call && !options.on_call(&context)) return absl::CancelledError("interrupted");
    const absl::Cleanup over = [&] {
      if (options.on_call) options.on_call(nullptr);
    };
    const auto reader = client.jobs().WatchJob(&context, request);
    v1::JobEvent event;
    while (reader->Read(&event)) {
      if (event.sequence() > 0) request.set_after_sequence(event.sequence());
      // The server resolves the number of episodes and the cost when a job starts.
      if (job.episodes_total() == 0 && event.kind() != v1::EVENT_KIND_PROGRESS) {
        AMC_ASSIGN_OR_RETURN(job, client.GetJob(id));
      }
      if (narrator) {
        narrator->Tell(event);
      } else {
        std::fputs((ToJson(event, false) + "\n").c_str(), stdout);
        std::fflush(stdout);
      }
      AMC_RETURN_IF_ERROR(stall.Check(event));
    }
    const absl::Status status = client.Check(reader->Finish());
    if (status.ok()) {
      AMC_ASSIGN_OR_RETURN(job, client.GetJob(id));
      if (HasEnded(job.state())) return job;
    } else if (!absl::IsUnavailable(status)) {
      return status;
    }
    AMC_RETURN_IF_ERROR(client.Reconnect());
  }
}

}  // namespace amc
