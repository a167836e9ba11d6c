#include "server/event_hub.h"

#include "absl/time/clock.h"

namespace amc {

void EventHub::Notify(const std::string& job) {
  MutexLock lock(&mutex_);
  topics_[job].version = ++version_;
  changed_.SignalAll();
}

void EventHub::Progress(const std::string& job, const v1::JobEvent& event) {
  MutexLock lock(&mutex_);
  Topic& topic = topics_[job];
  topic.version = ++version_;
  topic.progress_version = version_;
  topic.progress = event;
  changed_.SignalAll();
}

void EventHub::Shutdown() {
  MutexLock lock(&mutex_);
  shutdown_ = true;
  changed_.SignalAll();
}

EventHub::News EventHub::Wait(const std::string& job, uint64_t seen, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mutex_);
  while (true) {
    const auto it = topics_.find(job);
    if (it == topics_.end() && seen > 0) return {.version = 0, .shutdown = shutdown_};  // deleted
    const bool news = it != topics_.end() && it->second.version > seen;
    if (news || shutdown_) {
      News result{.version = news ? it->second.version : seen, .shutdown = shutdown_};
      if (news && it->second.progress_version > seen) result.progress = it->second.progress;
      return result;
    }
    const absl::Time now = absl::Now();
    if (now >= deadline) return {.version = seen};
    changed_.WaitFor(&mutex_, deadline - now);
  }
}

void EventHub::Forget(const std::string& job) {
  MutexLock lock(&mutex_);
  topics_.erase(job);
}

}  // namespace amc
