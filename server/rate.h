// How often something happens: in all, and over the last minute.
#pragma once

#include <array>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace amc {

// Thread-safe.
class Rate {
 public:
  explicit Rate(absl::Time start) : start_(start) {}

  void Count(absl::Time now);
  int64_t total() const;
  // Over the last minute, or since the start if that is less.
  double PerMinute(absl::Time now) const;

 private:
  static constexpr int64_t kSeconds = 60;
  struct Bucket {
    int64_t second = -1;  // Unix time
    int64_t count = 0;
  };
  const absl::Time start_;
  mutable Mutex mutex_;
  int64_t total_ ABSL_GUARDED_BY(mutex_) = 0;
  std::array<Bucket, kSeconds> buckets_ ABSL_GUARDED_BY(mutex_);  // by second modulo their number
};

}  // namespace amc
