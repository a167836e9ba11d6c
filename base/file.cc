#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/atomic_writer.h"
#include "base/status_macros.h"

namespace amc {
namespace {

// Closes on scope exit.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

}  // namespace

absl::Status ErrnoToStatus(int error, absl::string_view what, absl::string_view path) {
  absl::StatusCode code = absl::StatusCode::kUnknown;
  switch (error) {
    case ENOENT:
      code = absl::StatusCode::kNotFound;
      break;
    case EEXIST:
      code = absl::StatusCode::kAlreadyExists;
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      code = absl::StatusCode::kPermissionDenied;
      break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
      code = absl::StatusCode::kResourceExhausted;
      break;
    case EISDIR:
    case ENOTDIR:
      code = absl::StatusCode::kInvalidArgument;
      break;
    default:
      break;
  }
  return absl::Status(code, absl::StrCat(what, " ", path, ": ", std::strerror(error)));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return ErrnoToStatus(errno, "cannot open", path);
  struct stat info;
  if (::fstat(file.get(), &info) != 0) return ErrnoToStatus(errno, "cannot stat", path);
  if (S_ISDIR(info.st_mode)) return ErrnoToStatus(EISDIR, "cannot read", path);
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  size_t filled = 0;
  while (true) {
    if (filled == bytes.size()) bytes.resize(bytes.size() + 4096);  // grew, or a pipe
    const ssize_t n = ::read(file.get(), bytes.data() + filled, bytes.size() - filled);
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoToStatus(errno, "cannot read", path);
    }
    if (n == 0) break;
    filled += static_cast<size_t>(n);
  }
  bytes.resize(filled);
  return bytes;
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view bytes) {
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicWriter> writer, AtomicWriter::Open(path));
  AMC_RETURN_IF_ERROR(writer->Append(bytes));
  return writer->Commit();
}

absl::Status SyncFolder(const std::string& path) {
  Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) return ErrnoToStatus(errno, "cannot open folder", path);
  // Some file systems have nothing to sync.
  if (::fsync(folder.get()) != 0 && errno != EINVAL) {
    return ErrnoToStatus(errno, "cannot sync folder", path);
  }
  return absl::OkStatus();
}

absl::Status MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return ErrnoToStatus(error.value(), "cannot make folder", path);
  return absl::OkStatus();
}

absl::StatusOr<TempDirectory> TempDirectory::Create(absl::string_view prefix) {
  const char* root = std::getenv("TMPDIR");
  std::string path =
      absl::StrCat(root != nullptr && *root != '\0' ? root : "/tmp", "/", prefix, ".XXXXXX");
  if (::mkdtemp(path.data()) == nullptr) return ErrnoToStatus(errno, "cannot make folder", path);
  return TempDirectory(std::move(path));
}

TempDirectory::TempDirectory(TempDirectory&& other) noexcept
    : path_(std::exchange(other.path_, {})) {}

TempDirectory& TempDirectory::operator=(TempDirectory&& other) noexcept {
  std::swap(path_, other.path_);
  return *this;
}

TempDirectory::~TempDirectory() {
  std::error_code ignored;  // nothing to do about a file that does not go
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace amc
