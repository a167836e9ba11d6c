#include "base/clock.h"

#include "absl/time/clock.h"

namespace amc {
namespace {

class SystemClock : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
};

}  // namespace

Clock* Clock::System() {
  static Clock* const clock = new SystemClock;
  return clock;
}

absl::Time FakeClock::Now() const {
  MutexLock lock(&mutex_);
  return now_;
}

void FakeClock::Advance(absl::Duration duration) {
  MutexLock lock(&mutex_);
  now_ += duration;
}

}  // namespace amc
