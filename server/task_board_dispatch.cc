// TaskBoard's long polls: which wait, which get a task, which are over.
#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "server/task_board.h"

namespace amc {
namespace {

// How often the injected clock is looked at while a task waits for its backoff.
constexpr absl::Duration kLook = absl::Milliseconds(200);

}  // namespace

void TaskBoard::Lease(const WorkerView& worker, const std::string& request_id, absl::Time deadline,
                      LeaseReply reply) {
  Replies replies;
  {
    MutexLock lock(&mutex_);
    // A worker has one poll: the newest.
    if (LeaseReply older = TakePoll(worker.uuid, nullptr)) {
      replies.emplace_back(std::move(older), std::nullopt);
    }
    Peer& peer = peers_[worker.uuid];
    const Task* held = !request_id.empty() && request_id == peer.request_id
                           ? FindHeld(worker.uuid, peer.lease)
                           : nullptr;
    if (held == nullptr) {
      if (Task* const orphan = FindOrphan(worker.uuid)) {
        orphan->orphaned = false;
        orphan->record.expire_ms = NowMs() + absl::ToInt64Milliseconds(options_.lease_term);
        peer.request_id = request_id;
        peer.lease = RefOf(orphan->record);
        held = orphan;
      }
    }
    if (shutdown_) {
      replies.emplace_back(std::move(reply), absl::UnavailableError("the server is shutting down"));
    } else if (held != nullptr) {
      replies.emplace_back(std::move(reply), MakeLease(jobs_.at(held->record.job), held->record));
    } else {
      const int64_t number = ++last_poll_;
      polls_.emplace(number, Poll{.worker = worker,
                                  .request_id = request_id,
                                  .deadline = deadline,
                                  .reply = std::move(reply)});
      poll_of_worker_[worker.uuid] = number;
      changed_.SignalAll();
    }
  }
  for (auto& [answer, lease] : replies) answer(std::move(lease));
}

void TaskBoard::GiveUp(const std::string& worker, const std::string& request_id) {
  LeaseReply reply;
  {
    MutexLock lock(&mutex_);
    reply = TakePoll(worker, &request_id);
  }
  if (reply) reply(std::nullopt);
}

void TaskBoard::EndPoll(const std::string& worker) {
  LeaseReply reply;
  {
    MutexLock lock(&mutex_);
    reply = TakePoll(worker, nullptr);
  }
  if (reply) reply(std::nullopt);
}

TaskBoard::LeaseReply TaskBoard::TakePoll(const std::string& worker,
                                          const std::string* request_id) {
  const auto number = poll_of_worker_.find(worker);
  if (number == poll_of_worker_.end()) return nullptr;
  const auto poll = polls_.find(number->second);
  if (request_id != nullptr && poll->second.request_id != *request_id) return nullptr;
  LeaseReply reply = std::move(poll->second.reply);
  polls_.erase(poll);
  poll_of_worker_.erase(number);
  return reply;
}

void TaskBoard::Dispatch() {
  mutex_.Lock();
  while (true) {
    Replies replies;
    if (shutdown_) {
      for (auto& [number, poll] : polls_) {
        replies.emplace_back(std::move(poll.reply),
                             absl::UnavailableError("the server is shutting down"));
      }
      polls_.clear();
      poll_of_worker_.clear();
      mutex_.Unlock();
      for (auto& [reply, lease] : replies) reply(std::move(lease));
      return;
    }
    std::vector<Match> matches = MatchPolls();
    EndPolls(absl::Now(), replies);  // after matching: a poll that does not wait gets what is there
    if (replies.empty() && matches.empty()) {
      if (const absl::Duration quiet = QuietTime(); quiet == absl::InfiniteDuration()) {
        changed_.Wait(&mutex_);
      } else {
        changed_.WaitFor(&mutex_, quiet);
      }
      continue;
    }
    if (!matches.empty()) {
      std::vector<LeaseGrant> grants;
      grants.reserve(matches.size());
      for (const Match& match : matches) grants.push_back(match.grant);
      const int64_t now_ms = NowMs();
      const int64_t expire_ms = now_ms + absl::ToInt64Milliseconds(options_.lease_term);
      mutex_.Unlock();
      std::vector<absl::StatusOr<TaskRecord>> records =
          store_->LeaseTasks(grants, now_ms, expire_ms);
      mutex_.Lock();
      FinishGrants(std::move(matches), std::move(records), expire_ms, replies);
    }
    mutex_.Unlock();
    for (auto& [reply, lease] : replies) reply(std::move(lease));
    mutex_.Lock();
  }
}

void TaskBoard::EndPolls(absl::Time now, Replies& replies) {
  for (auto poll = polls_.begin(); poll != polls_.end();) {
    if (poll->second.deadline > now) {
      ++poll;
      continue;
    }
    replies.emplace_back(std::move(poll->second.reply), std::nullopt);
    poll_of_worker_.erase(poll->second.worker.uuid);
    poll = polls_.erase(poll);
  }
}

std::vector<TaskBoard::Match> TaskBoard::MatchPolls() {
  std::vector<Match> matches;
  if (polls_.empty()) return matches;
  std::vector<JobView> views = Views();
  const int64_t now_ms = NowMs();
  for (auto poll = polls_.begin(); poll != polls_.end() && !views.empty();) {
    const std::optional<Assignment> assignment = PickTask(views, poll->second.worker, now_ms);
    if (!assignment.has_value()) {
      ++poll;
      continue;
    }
    JobView& view = views[assignment->job];
    Job& job = jobs_.at(view.id);
    job.tasks.at(assignment->task).busy = true;
    job.last_grant = view.last_grant = ++grants_;
    ++view.leased;
    const bool fixes_numerics = view.numerics_id.empty() && !assignment->numerics_id.empty();
    if (fixes_numerics) {
      view.numerics_id = assignment->numerics_id;
      job.job.set_numerics_id(assignment->numerics_id);
    }
    matches.push_back({.poll = Poll(),
                       .grant = {.job = view.id,
                                 .task = assignment->task,
                                 .worker = poll->second.worker.uuid,
                                 .numerics_id = assignment->numerics_id},
                       .fixes_numerics = fixes_numerics});
    matches.back().poll = std::move(poll->second);
    poll_of_worker_.erase(matches.back().grant.worker);
    poll = polls_.erase(poll);
    const auto taken = std::find_if(
        view.pending.begin(), view.pending.end(),
        [&](const JobView::PendingTask& pending) { return pending.task == assignment->task; });
    view.pending.erase(taken);
    if (view.pending.empty()) views.erase(views.begin() + static_cast<int64_t>(assignment->job));
  }
  return matches;
}

void TaskBoard::FinishGrants(std::vector<Match> matches,
                             std::vector<absl::StatusOr<TaskRecord>> records, int64_t expire_ms,
                             Replies& replies) {
  // All grants of a transaction fix the same numerics id, or none does.
  for (size_t i = 0; i < matches.size(); ++i) {
    auto& [poll, grant, fixes_numerics] = matches[i];
    Job& job = jobs_.at(grant.job);  // CloseJob waits for busy tasks: neither job nor task can go
    Task& task = job.tasks.at(grant.task);
    task.busy = false;
    if (!records[i].ok()) {
      if (fixes_numerics) job.job.clear_numerics_id();
      replies.emplace_back(std::move(poll.reply), records[i].status());
      continue;
    }
    if (!grant.numerics_id.empty()) job.job.set_numerics_id(grant.numerics_id);
    task.record = *std::move(records[i]);
    task.stored_expire_ms = expire_ms;
    Peer& peer = peers_[grant.worker];
    peer.request_id = poll.request_id;
    peer.lease = RefOf(task.record);
    replies.emplace_back(std::move(poll.reply), MakeLease(job, task.record));
    // The worker may have lost its connection and asked again while the store was at work.
    const auto again = poll_of_worker_.find(grant.worker);
    if (again == poll_of_worker_.end()) continue;
    const auto repeat = polls_.find(again->second);
    if (repeat->second.request_id != poll.request_id) continue;
    replies.emplace_back(std::move(repeat->second.reply), MakeLease(job, task.record));
    polls_.erase(repeat);
    poll_of_worker_.erase(again);
  }
  changed_.SignalAll();
}

absl::Duration TaskBoard::QuietTime() const {
  if (polls_.empty()) return absl::InfiniteDuration();
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [number, poll] : polls_) next = std::min(next, poll.deadline);
  absl::Duration quiet = next - absl::Now();
  if (NextDue(Views(), NowMs()).has_value()) quiet = std::min(quiet, kLook);
  return std::max(quiet, absl::Milliseconds(1));
}

}  // namespace amc
