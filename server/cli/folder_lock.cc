#include "server/cli/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/file.h"

namespace amc {

absl::StatusOr<std::unique_ptr<FolderLock>> FolderLock::Take(const std::string& path,
                                                             absl::string_view held) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoToStatus(errno, "cannot open", path);
  auto lock = std::unique_ptr<FolderLock>(new FolderLock(fd));
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) return ErrnoToStatus(errno, "cannot lock", path);
  return absl::FailedPreconditionError(absl::StrCat(path, ": ", held));
}

FolderLock::~FolderLock() { ::close(fd_); }

}  // namespace amc
