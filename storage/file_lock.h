// Only one process at a time, by a lock file.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace amc {

// Holds an advisory lock on a file that is made where there is none and stays when the lock goes
// (removing it would let two processes lock two files of one name). The kernel frees it however the
// process ends.
class FileLock {
 public:
  // FailedPrecondition if it is held, naming the holder's process id.
  static absl::StatusOr<FileLock> Acquire(const std::string& path);
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace amc
