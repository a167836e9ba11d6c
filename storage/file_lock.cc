#include "storage/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"

namespace amc {

absl::StatusOr<FileLock> FileLock::Acquire(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoToStatus(errno, "cannot open", path);
  FileLock lock(fd);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoToStatus(errno, "cannot lock", path);
    char text[32];
    const ssize_t size = pread(fd, text, sizeof(text), 0);
    const std::string holder(text, size > 0 ? static_cast<size_t>(size) : 0);
    return absl::FailedPreconditionError(
        absl::StrCat("locked by process ", absl::StripAsciiWhitespace(holder), " (", path, ")"));
  }
  // The number is for people's messages alone: that it could not be written (a full disk) is no
  // reason to stop.
  const std::string own = absl::StrCat(getpid(), "\n");
  if (ftruncate(fd, 0) == 0 && pwrite(fd, own.data(), own.size(), 0) < 0) errno = 0;
  return lock;
}

FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

FileLock::~FileLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace amc
