#include "server/rate.h"

#include <algorithm>

namespace amc {

void Rate::Count(absl::Time now) {
  const int64_t second = std::max<int64_t>(absl::ToUnixSeconds(now), 0);
  MutexLock lock(&mutex_);
  ++total_;
  Bucket& bucket = buckets_[static_cast<size_t>(second % kSeconds)];
  if (bucket.second != second) bucket = {.second = second, .count = 0};
  ++bucket.count;
}

int64_t Rate::total() const {
  MutexLock lock(&mutex_);
  return total_;
}

double Rate::PerMinute(absl::Time now) const {
  const int64_t oldest = absl::ToUnixSeconds(now) - kSeconds;
  int64_t count = 0;
  {
    MutexLock lock(&mutex_);
    for (const Bucket& bucket : buckets_) {
      if (bucket.second > oldest) count += bucket.count;
    }
  }
  const double seconds = std::clamp(absl::ToDoubleSeconds(now - start_), 1.0, 60.0);
  return static_cast<double>(count) * 60 / seconds;
}

}  // namespace amc
