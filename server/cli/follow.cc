#include "server/cli/follow.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"
#include "server/cli/json.h"
#include "server/cli/progress.h"
#include "server/cli/report.h"
#include "server/rpc/job_state.h"
#include "server/rpc/waiting.h"

namespace amc {
namespace {

// How long to leave a server alone that ended a watch before its time: it is shutting down.
constexpr absl::Duration kPause = absl::Milliseconds(300);

// Whether an event says that the server waits for something outside: progress without a total.
bool IsWaiting(const v1::JobEvent& event) {
  return event.kind() == v1::EVENT_KIND_PROGRESS && event.total() == 0;
}

// Whether it, or the worker with the result, waits for space on its disk.
bool IsStalled(const v1::JobEvent& event) {
  return IsWaiting(event) && absl::StartsWith(event.message(), kWaitingToStore);
}

// Every event as a line of JSON.
class EventPrinter : public JobListener {
 public:
  void Tell(const v1::JobEvent& event) override {
    std::fputs((ToJson(event, false) + "\n").c_str(), stdout);
    std::fflush(stdout);
  }
  void Say(const std::string& text) override { std::fputs((text + "\n").c_str(), stderr); }
};

// Turns a job's events into progress lines. What had happened before it was made is replayed in
// silence, but for the original's accuracy and the last episode.
class Narrator : public JobListener {
 public:
  Narrator(const v1::Job& job, const FollowOptions& options)
      : job_(job), options_(options), replayed_(job.last_sequence()), done_(job.episodes_done()) {
    TellState(job.state());
  }

  void Tell(const v1::JobEvent& event) override {
    const bool replay = event.sequence() > 0 && event.sequence() <= replayed_;
    switch (event.kind()) {
      case v1::EVENT_KIND_STATE:
        finishing_ = event.state() == v1::JOB_STATE_FINISHING;
        if (!replay) TellState(event.state());
        break;
      case v1::EVENT_KIND_BASELINE:
        line_.Say(absl::StrFormat("%s: top-1 %s on %d images",
                                  absl::StripPrefix(options_.beginning, "the "),
                                  Percent(event.baseline().top1(), 2), event.baseline().images()));
        break;
      case v1::EVENT_KIND_EPISODE:
        TellEpisode(event, replay);
        break;
      case v1::EVENT_KIND_PROGRESS:
        if (IsWaiting(event)) {
          line_.Show(event.message(), event.message() != waiting_for_);
          waiting_for_ = event.message();
        } else if (latest_.empty() || finishing_) {  // in between the episodes' own line stays
          line_.Show(ProgressText(event));
        }
        break;
      default:
        break;
    }
    if (!IsWaiting(event)) waiting_for_.clear();
  }

  void Say(const std::string& text) override { line_.Say(text); }

 private:
  // "measuring layers 120/512", of a table job with an ETA: its tasks count on where others ended.
  std::string ProgressText(const v1::JobEvent& event) {
    std::string text = absl::StrFormat("%s %d/%d", event.message(), event.done(), event.total());
    if (!job_.spec().has_build()) return text;
    if (event.message() != stage_) meter_ = EtaMeter();
    stage_ = event.message();
    return absl::StrCat(
        text, "  ",
        meter_.Eta(static_cast<double>(event.done()), static_cast<double>(event.total()),
                   absl::FromUnixMillis(event.time_ms())));
  }

  void TellState(v1::JobState state) {
    if (state == v1::JOB_STATE_BASELINE) line_.Show("measuring " + options_.beginning, true);
    if (state == v1::JOB_STATE_FINISHING) {
      if (!latest_.empty()) line_.Show(latest_, true);  // how the search ended
      line_.Show("rebuilding the winner and measuring it", true);
    }
  }

  // "MACs 49.9%": what the budget is on.
  std::string ShareOfOriginal() const {
    const bool params = job_.spec().budget().resource() == v1::RESOURCE_PARAMS;
    const auto of = [&](const v1::Cost& cost) {
      return static_cast<double>(params ? cost.params() : cost.macs());
    };
    const double whole = of(options_.whole ? *options_.whole : job_.original_cost());
    return absl::StrCat(params ? "params " : "MACs ",
                        Percent(whole > 0 ? of(best_->cost()) / whole : 1));
  }

  void TellEpisode(const v1::JobEvent& event, bool replay) {
    const v1::Episode& episode = event.episode();
    const bool infeasible = episode.state() == v1::EPISODE_STATE_INFEASIBLE;
    const bool candidate = !infeasible && episode.kind() != v1::EPISODE_KIND_SCREENING &&
                           episode.kind() != v1::EPISODE_KIND_PROBE;
    if (candidate && (!best_ || event.best_episode() == episode.number())) best_ = episode;
    if (infeasible && !replay && ++infeasible_ == 1) {
      line_.Say(absl::StrCat("episode ", episode.number(), " is ", EpisodeNote(episode),
                             "; `amc history ", job_.id(), "` lists those that follow"));
    }
    if (replay && episode.number() + 1 < done_) return;
    done_ = std::max(done_, episode.number() + 1);
    const int64_t limit = job_.spec().search().episodes();
    std::string text = absl::StrCat(SpentOf(event.evaluations_spent(), limit), " evaluations");
    if (best_) {
      absl::StrAppendFormat(&text, "  best %.4f  accuracy %s  %s", event.best_reward(),
                            Percent(best_->measurement().top1()), ShareOfOriginal());
    } else if (infeasible) {
      absl::StrAppend(&text, "  none could be measured yet");
    } else {
      absl::StrAppendFormat(&text, "  %d measured, no candidate yet", done_);
    }
    if (!replay) {  // fits into 80 columns
      absl::StrAppend(&text, "  ",
                      meter_.Eta(event.evaluations_spent(), static_cast<double>(limit),
                                 absl::FromUnixMillis(event.time_ms())));
    }
    line_.Show(text, latest_.empty());
    latest_ = text;
  }

  const v1::Job& job_;
  const FollowOptions& options_;
  const int64_t replayed_;  // sequence number of the last event before this was made
  ProgressLine line_;
  EtaMeter meter_;
  int64_t done_, infeasible_ = 0;
  std::optional<v1::Episode> best_;
  std::string waiting_for_;
  std::string latest_;  // of what was told of episodes
  std::string stage_;   // of a table job: what its progress was of
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

void SayNews(const FollowOptions& options, JobListener& listener) {
  if (!options.news) return;
  for (const std::string& line : options.news()) listener.Say(line);
}

}  // namespace

std::string JobStateName(v1::JobState state) {
  const std::string name = v1::JobState_Name(state);
  const std::string prefix = "JOB_STATE_";
  return absl::AsciiStrToLower(name.size() > prefix.size() ? name.substr(prefix.size()) : name);
}

std::string ResumeHint(const v1::Job& job) {
  return absl::StrCat(job.spec().has_build() ? "What it has measured" : "Its history",
                      " is kept; `amc resume ", job.id(), "` goes on with it.");
}

std::string FailureHint(const v1::Job& job, absl::string_view hint) {
  switch (job.failure()) {
    case v1::FAILURE_REASON_WEAK_BASELINE:
      return "--allow-weak-baseline searches all the same.";
    case v1::FAILURE_REASON_QUARANTINED:
      return absl::StrCat("What the workers said before they crashed stands in their logs. ", hint);
    case v1::FAILURE_REASON_LOST_WORKERS:
      return absl::StrCat(
          "Are the workers frozen, or cut off from the server? `amc workers --all` "
          "says when each was last seen. ",
          hint);
    case v1::FAILURE_REASON_LATENCY:
      return absl::StrCat("A new table (`amc lut build`) may predict better, and `amc resume ",
                          job.id(), " --episodes +20` searches on. ", hint);
    case v1::FAILURE_REASON_INFEASIBLE:
      return absl::StrCat("`amc history ", job.id(), "` says why, candidate by candidate.");
    default:
      return std::string(hint);
  }
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
          FailureHint(job, hint));
    default:
      return absl::InternalError(
          absl::StrCat("job ", job.id(), " is still ", JobStateName(job.state())));
  }
}

absl::StatusOr<v1::Job> FollowJob(Client& client, const std::string& id,
                                  const FollowOptions& options) {
  AMC_ASSIGN_OR_RETURN(v1::Job job, client.GetJob(id));
  std::unique_ptr<JobListener> own;
  if (options.listener == nullptr && options.json) own = std::make_unique<EventPrinter>();
  if (options.listener == nullptr && !options.json) own = std::make_unique<Narrator>(job, options);
  JobListener& listener = own != nullptr ? *own : *options.listener;
  StallTimer stall(options.patience);
  v1::WatchJobRequest request;
  request.set_id(id);
  request.set_after_sequence(options.after_sequence);
  int refusals = 0;  // in a row
  while (true) {
    grpc::ClientContext context;
    const Client::CallScope scope(client, context);
    if (!scope.may_begin()) return absl::CancelledError("interrupted");
    const auto reader = client.jobs().WatchJob(&context, request);
    v1::JobEvent event;
    while (reader->Read(&event)) {
      refusals = 0;
      if (event.sequence() > 0) request.set_after_sequence(event.sequence());
      SayNews(options, listener);
      listener.Tell(event);
      AMC_RETURN_IF_ERROR(stall.Check(event));
    }
    const absl::Status status = client.Check(reader->Finish());
    if (status.ok()) {
      AMC_ASSIGN_OR_RETURN(job, client.GetJob(id));
      SayNews(options, listener);
      if (HasEnded(job.state())) return job;
    } else if (!absl::IsUnavailable(status)) {
      return status;
    } else if (++refusals == 2) {  // one may be a server that starts again
      listener.Say(absl::StrCat(std::string(status.message()), " (waiting)"));
    }
    absl::SleepFor(kPause);
    AMC_RETURN_IF_ERROR(client.Reconnect());
  }
}

}  // namespace amc
