// Only one process at a time in a folder, by a lock file that stays.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace amc {

// Held as long as it lives; the kernel frees it however the process ends.
class FolderLock {
 public:
  // Makes the file if it is not there. FailedPrecondition "PATH: HELD" if another process has it.
  static absl::StatusOr<std::unique_ptr<FolderLock>> Take(const std::string& path,
                                                          absl::string_view held);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  const int fd_;
};

}  // namespace amc
