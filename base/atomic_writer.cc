#include "base/atomic_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "base/file.h"

namespace amc {

absl::StatusOr<std::unique_ptr<AtomicWriter>> AtomicWriter::Open(const std::string& path,
                                                                 std::string temporary) {
  int fd = -1;
  if (temporary.empty()) {
    temporary = path + ".XXXXXX";
    fd = ::mkostemp(temporary.data(), O_CLOEXEC);
    if (fd >= 0) ::fchmod(fd, 0644);  // as far as the file system can
  } else {
    fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  }
  if (fd < 0) return ErrnoToStatus(errno, "cannot create a file beside", path);
  return std::unique_ptr<AtomicWriter>(new AtomicWriter(path, std::move(temporary), fd));
}

AtomicWriter::~AtomicWriter() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

absl::Status AtomicWriter::Append(absl::string_view bytes) {
  hash_.Update(bytes);
  size_ += static_cast<int64_t>(bytes.size());
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoToStatus(errno, "cannot write", path_);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status AtomicWriter::Commit() {
  if (::fsync(fd_) != 0) return ErrnoToStatus(errno, "cannot sync", path_);
  if (::close(std::exchange(fd_, -1)) != 0) return ErrnoToStatus(errno, "cannot close", path_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return ErrnoToStatus(errno, "cannot replace", path_);
  }
  temporary_.clear();
  const std::string folder = std::filesystem::path(path_).parent_path().string();
  return SyncFolder(folder.empty() ? "." : folder);
}

}  // namespace amc
