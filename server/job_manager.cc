#include "server/job_manager.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "server/rpc/job_state.h"
#include "server/rpc/random_hex.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

constexpr int64_t kMaxMoreEpisodes = 100'000'000;

v1::JobEvent StateEvent(const v1::Job& job, absl::Time now) {
  v1::JobEvent event;
  event.set_kind(v1::EVENT_KIND_STATE);
  event.set_state(job.state());
  event.set_time_ms(absl::ToUnixMillis(now));
  event.set_best_reward(job.best_reward());
  event.set_best_episode(job.best_episode());
  return event;
}

}  // namespace

JobManager::JobManager(const JobContext& context, int max_running, int max_unfinished)
    : context_(context), max_unfinished_(max_unfinished) {
  for (int i = 0; i < std::max(max_running, 1); ++i) {
    threads_.emplace_back([this] { ThreadMain(); });
  }
}

JobManager::~JobManager() { Shutdown(); }

absl::Status JobManager::TakeUp() {
  AMC_ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, context_.store->UnfinishedJobs());
  // All of them at once, so that workers which kept their leases find them.
  for (const v1::Job& job : jobs) {
    AMC_RETURN_IF_ERROR(context_.board->OpenJob(job));
  }
  MutexLock lock(&mutex_);
  for (const v1::Job& job : jobs) {
    AMC_LOG(kInfo) << "taking up job " << job.id() << " (" << v1::JobState_Name(job.state()) << ", "
                   << job.episodes_done() << " episodes done)";
    Enqueue(job.id());
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Job> JobManager::Submit(v1::Job job, const std::string& request_id,
                                           const std::string& spec_hash) {
  const absl::Time now = context_.clock->Now();
  job.set_id(RandomHex(12));
  job.set_create_time_ms(absl::ToUnixMillis(now));
  MutexLock control(&control_mutex_);
  AMC_RETURN_IF_ERROR(CheckRoom());
  AMC_ASSIGN_OR_RETURN(v1::Job stored, context_.store->CreateJob(job, request_id, spec_hash,
                                                                 {StateEvent(job, now)}));
  if (stored.id() != job.id()) return stored;  // a repeat
  MutexLock lock(&mutex_);
  Enqueue(stored.id());
  return stored;
}

absl::StatusOr<v1::Job> JobManager::Cancel(const std::string& id) {
  MutexLock control(&control_mutex_);
  {
    MutexLock lock(&mutex_);
    const auto entry = entries_.find(id);
    if (entry != entries_.end() && entry->second->running) {
      entry->second->control.cancelled = true;
      context_.board->Interrupt(id);
      while (entries_.count(id) != 0) changed_.Wait(&mutex_);
    } else if (entry != entries_.end()) {
      queue_.erase(std::find(queue_.begin(), queue_.end(), id));
      entries_.erase(entry);
    }
  }
  context_.board->CloseJob(id);  // one that was queued may have been open
  AMC_ASSIGN_OR_RETURN(v1::Job job, context_.store->GetJob(id));
  if (job.state() == v1::JOB_STATE_CANCELLED) return job;
  if (HasEnded(job.state())) {
    return absl::FailedPreconditionError(
        absl::StrCat("job ", id, " has ended: ", v1::JobState_Name(job.state())));
  }
  job.set_end_time_ms(absl::ToUnixMillis(context_.clock->Now()));
  return StoreState({.job = std::move(job), .events = {}}, v1::JOB_STATE_CANCELLED);
}

absl::StatusOr<v1::Job> JobManager::Resume(const std::string& id, int64_t more_episodes) {
  if (more_episodes < 0 || more_episodes > kMaxMoreEpisodes) {
    return FieldError("more_episodes",
                      absl::StrCat(more_episodes, " is not in [0, ", kMaxMoreEpisodes, "]"));
  }
  MutexLock control(&control_mutex_);
  AMC_ASSIGN_OR_RETURN(v1::Job job, context_.store->GetJob(id));
  if (job.state() == v1::JOB_STATE_SUCCEEDED && more_episodes == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("job ", id, " has succeeded: it goes on with more episodes alone"));
  }
  if (job.spec().has_build() && more_episodes > 0) {
    return FieldError("more_episodes",
                      absl::StrCat("job ", id, " makes a latency table: it has no episodes"));
  }
  const bool ended = HasEnded(job.state());
  {
    // The end is stored a moment before the job's thread lets go of it. A job that has not ended
    // and that no thread has is one whose end could not be stored: a full disk.
    MutexLock lock(&mutex_);
    if (!ended && entries_.count(id) != 0) {
      if (more_episodes == 0) return job;
      return absl::FailedPreconditionError(
          absl::StrCat("job ", id, " is running: it takes more episodes once it has ended"));
    }
    while (entries_.count(id) != 0) changed_.Wait(&mutex_);
  }
  AMC_RETURN_IF_ERROR(CheckRoom());
  // Winners that missed their budget are measured anew.
  const bool finalists_missed = job.failure() == v1::FAILURE_REASON_LATENCY;
  job.clear_failure();
  job.clear_message();
  job.clear_end_time_ms();
  if (more_episodes > 0) {
    v1::SearchSpec& search = *job.mutable_spec()->mutable_search();
    search.set_episodes(search.episodes() + more_episodes);
    job.clear_result();
    job.clear_series();
  }
  AMC_ASSIGN_OR_RETURN(job, StoreState({.job = std::move(job),
                                        .events = {},
                                        .forgive_attempts = true,
                                        .drop_drawn = more_episodes > 0 || finalists_missed},
                                       v1::JOB_STATE_QUEUED));
  MutexLock lock(&mutex_);
  Enqueue(id);
  return job;
}

absl::Status JobManager::Delete(const std::string& id) {
  {
    MutexLock control(&control_mutex_);
    AMC_RETURN_IF_ERROR(context_.store->DeleteJob(id));
  }
  context_.hub->Notify(id);
  context_.hub->Forget(id);
  const absl::Status collected = context_.catalog->Collect();
  if (!collected.ok()) AMC_LOG(kWarning) << "collecting artifacts: " << collected;
  return absl::OkStatus();
}

JobManager::Load JobManager::load() {
  MutexLock lock(&mutex_);
  const auto queued = static_cast<int64_t>(queue_.size());
  return {.running = static_cast<int64_t>(entries_.size()) - queued, .queued = queued};
}

absl::Status JobManager::CheckRoom() {
  const Load now = load();
  if (now.running + now.queued < max_unfinished_) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(now.running, " jobs are running and ", now.queued, " wait, no more than ",
                   max_unfinished_, " are taken: try again later, or serve with --max-jobs"));
}

void JobManager::Shutdown() {
  {
    MutexLock lock(&mutex_);
    shutdown_ = true;
    for (auto& [id, entry] : entries_) entry->control.stopping = true;
    changed_.SignalAll();
  }
  context_.board->Shutdown();  // wakes job threads
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void JobManager::ThreadMain() {
  mutex_.Lock();
  while (true) {
    while (queue_.empty() && !shutdown_) changed_.Wait(&mutex_);
    if (shutdown_) break;
    const std::string id = std::move(queue_.front());
    queue_.pop_front();
    Entry& entry = *entries_.at(id);
    entry.running = true;
    mutex_.Unlock();
    JobRunner(context_, &entry.control).Run(id);
    mutex_.Lock();
    entries_.erase(id);
    changed_.SignalAll();
  }
  mutex_.Unlock();
}

void JobManager::Enqueue(const std::string& id) {
  if (shutdown_) return;  // the store has it
  entries_[id] = std::make_unique<Entry>();
  queue_.push_back(id);
  changed_.SignalAll();
}

absl::StatusOr<v1::Job> JobManager::StoreState(JobUpdate update, v1::JobState state) {
  update.job.set_state(state);
  update.events = {StateEvent(update.job, context_.clock->Now())};
  AMC_RETURN_IF_ERROR(context_.store->UpdateJob(update));
  context_.hub->Notify(update.job.id());
  return context_.store->GetJob(update.job.id());
}

}  // namespace amc
