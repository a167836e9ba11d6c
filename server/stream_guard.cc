#include "server/stream_guard.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace amc {

StreamGuard::Stream::~Stream() {
  if (guard_ == nullptr) return;
  MutexLock lock(&guard_->mutex_);
  guard_->streams_.erase(number_);
}

void StreamGuard::Stream::Moved() {
  const absl::Time now = guard_->clock_->Now();
  MutexLock lock(&guard_->mutex_);
  guard_->streams_.at(number_).moved = now;
}

StreamGuard::Stream::Work::Work(Stream* stream) : stream_(stream) {
  stream_->guard_->SetWorking(stream_->number_, true);
}

StreamGuard::Stream::Work::~Work() { stream_->guard_->SetWorking(stream_->number_, false); }

void StreamGuard::SetWorking(int64_t number, bool working) {
  const absl::Time now = clock_->Now();
  MutexLock lock(&mutex_);
  Entry& entry = streams_.at(number);
  entry.working = working;
  entry.moved = now;
}

absl::StatusOr<StreamGuard::Stream> StreamGuard::Enter(grpc::ServerContext& context,
                                                       absl::string_view what) {
  MutexLock lock(&mutex_);
  if (streams_.size() >= static_cast<size_t>(most_)) {
    return absl::UnavailableError(absl::StrCat(
        streams_.size(), " streams are open, no more are allowed at once: try again later"));
  }
  const int64_t number = ++last_;
  streams_[number] = {.context = &context, .what = std::string(what), .moved = clock_->Now()};
  return Stream(this, number);
}

void StreamGuard::CancelIdle() {
  const absl::Time oldest = clock_->Now() - patience_;
  MutexLock lock(&mutex_);
  for (auto& [number, entry] : streams_) {
    if (entry.cancelled || entry.working || entry.moved > oldest) continue;
    AMC_LOG(kWarning) << entry.what << " by " << entry.context->peer() << " has not moved for "
                      << absl::FormatDuration(patience_) << ": cancelled";
    entry.cancelled = true;
    entry.context->TryCancel();
  }
}

}  // namespace amc
