#include "storage/artifact_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/status_macros.h"

namespace amc {
namespace {

std::string FolderPath(const std::string& root, const std::string& digest) {
  return absl::StrCat(root, "/", digest.substr(0, 2));
}

std::string FilePath(const std::string& root, const std::string& digest) {
  return absl::StrCat(FolderPath(root, digest), "/", digest);
}

// A digest becomes part of a path, so nothing else may pass.
absl::Status CheckDigest(const std::string& digest) {
  if (IsSha256Hex(digest)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("artifact \"", digest, "\": a name is 64 lower-case hexadecimal digits"));
}

// Removes uploads that a killed process left. Several processes may share the folder, so what grew
// within the last day is let live.
absl::Status RemoveAbandoned(const std::string& folder) {
  const auto oldest = std::filesystem::file_time_type::clock::now() - std::chrono::hours(24);
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code gone;  // another process may remove it first
    const auto changed = entry->last_write_time(gone);
    if (!gone && changed < oldest) std::filesystem::remove(entry->path(), gone);
  }
  return error ? ErrnoToStatus(error.value(), "cannot list", folder) : absl::OkStatus();
}

bool IsFile(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ArtifactStore>> ArtifactStore::Open(const std::string& root) {
  AMC_RETURN_IF_ERROR(MakeDirectories(root + "/tmp"));
  AMC_RETURN_IF_ERROR(RemoveAbandoned(root + "/tmp"));
  return std::unique_ptr<ArtifactStore>(new ArtifactStore(root));
}

ArtifactStore::Writer::Writer(std::string root, std::string path, int fd)
    : root_(std::move(root)), path_(std::move(path)), fd_(fd) {}

ArtifactStore::Writer::~Writer() {
  if (fd_ >= 0) close(fd_);
  if (!path_.empty()) unlink(path_.c_str());
}

absl::Status ArtifactStore::Writer::Append(absl::string_view bytes) {
  if (fd_ < 0) return absl::FailedPreconditionError("artifact: appended to after Finish");
  hash_.Update(bytes);
  size_ += static_cast<int64_t>(bytes.size());
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoToStatus(errno, "cannot write", path_);
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status ArtifactStore::Writer::Seal(const std::string& expected_digest,
                                         int64_t expected_size) {
  if (fd_ < 0) return absl::FailedPreconditionError("artifact: finished twice");
  AMC_RETURN_IF_ERROR(CheckDigest(expected_digest));
  if (size_ != expected_size) {
    return absl::InvalidArgumentError(absl::StrCat("artifact ", expected_digest, ": ", size_,
                                                   " bytes arrived, ", expected_size,
                                                   " were announced"));
  }
  const std::string digest = hash_.HexDigest();
  if (digest != expected_digest) {
    return absl::InvalidArgumentError(absl::StrCat(
        "artifact ", expected_digest, ": the bytes that arrived have sha256 ", digest));
  }
  // The bytes reach the disk before the name does, and the name before anybody is told.
  const int error = fsync(fd_) == 0 ? 0 : errno;
  close(std::exchange(fd_, -1));
  if (error != 0) return ErrnoToStatus(error, "cannot sync", path_);
  digest_ = digest;
  return absl::OkStatus();
}

absl::Status ArtifactStore::Writer::Name() {
  if (digest_.empty()) return absl::FailedPreconditionError("artifact: named before it was sealed");
  if (path_.empty()) return absl::FailedPreconditionError("artifact: named twice");
  AMC_RETURN_IF_ERROR(MakeDirectories(FolderPath(root_, digest_)));
  if (rename(path_.c_str(), FilePath(root_, digest_).c_str()) != 0) {
    return ErrnoToStatus(errno, "cannot rename", path_);
  }
  path_.clear();
  AMC_RETURN_IF_ERROR(SyncFolder(FolderPath(root_, digest_)));
  return SyncFolder(root_);
}

absl::Status ArtifactStore::Writer::Finish(const std::string& expected_digest,
                                           int64_t expected_size) {
  AMC_RETURN_IF_ERROR(Seal(expected_digest, expected_size));
  return Name();
}

absl::StatusOr<std::unique_ptr<ArtifactStore::Writer>> ArtifactStore::NewWriter() {
  std::string path = root_ + "/tmp/upload-XXXXXX";
  const int fd = mkostemp(path.data(), O_CLOEXEC);
  if (fd < 0) return ErrnoToStatus(errno, "cannot make", path);
  fchmod(fd, 0644);  // readers on the same file system may run as other users
  return std::unique_ptr<Writer>(new Writer(root_, std::move(path), fd));
}

absl::StatusOr<std::string> ArtifactStore::Put(absl::string_view bytes) {
  const std::string digest = Sha256Hex(bytes);
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Writer> writer, NewWriter());
  AMC_RETURN_IF_ERROR(writer->Append(bytes));
  AMC_RETURN_IF_ERROR(writer->Finish(digest, static_cast<int64_t>(bytes.size())));
  return digest;
}

bool ArtifactStore::Contains(const std::string& digest) const {
  return IsSha256Hex(digest) && IsFile(FilePath(root_, digest));
}

absl::StatusOr<std::string> ArtifactStore::Path(const std::string& digest) const {
  AMC_RETURN_IF_ERROR(CheckDigest(digest));
  const std::string path = FilePath(root_, digest);
  if (!IsFile(path)) return absl::NotFoundError(absl::StrCat("there is no artifact ", digest));
  return path;
}

absl::StatusOr<std::string> ArtifactStore::Get(const std::string& digest) const {
  AMC_ASSIGN_OR_RETURN(const std::string path, Path(digest));
  AMC_ASSIGN_OR_RETURN(std::string bytes, ReadFile(path));
  const std::string stored = Sha256Hex(bytes);
  if (stored != digest) {
    return absl::DataLossError(
        absl::StrCat("artifact ", digest, ": the bytes in ", path, " have sha256 ", stored));
  }
  return bytes;
}

bool ArtifactStore::Verify(const std::string& digest) const {
  constexpr size_t kChunk = size_t{1} << 20;
  if (!Contains(digest)) return false;
  std::ifstream file(FilePath(root_, digest), std::ios::binary);
  Sha256 hash;
  std::string buffer(kChunk, '\0');
  while (file) {
    if (!CheckInterrupt().ok()) return false;
    file.read(buffer.data(), static_cast<std::streamsize>(kChunk));
    hash.Update(absl::string_view(buffer.data(), static_cast<size_t>(file.gcount())));
  }
  return file.eof() && hash.HexDigest() == digest;
}

absl::Status ArtifactStore::Remove(const std::string& digest) {
  AMC_ASSIGN_OR_RETURN(const std::string path, Path(digest));
  if (unlink(path.c_str()) != 0) return ErrnoToStatus(errno, "cannot remove", path);
  return SyncFolder(FolderPath(root_, digest));
}

void ArtifactStore::Touch(const std::string& digest) const {
  if (!IsSha256Hex(digest)) return;
  utimensat(AT_FDCWD, FilePath(root_, digest).c_str(), nullptr, 0);
}

absl::StatusOr<std::vector<ArtifactStore::File>> ArtifactStore::Files() const {
  std::vector<File> files;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator entry(root_, error), end;
       !error && entry != end; entry.increment(error)) {
    File file{.digest = entry->path().filename().string()};
    if (!IsSha256Hex(file.digest)) continue;  // a folder, an upload that grows
    std::error_code gone;                     // another process may remove it meanwhile
    file.size = static_cast<int64_t>(entry->file_size(gone));
    if (!gone) file.used = entry->last_write_time(gone);
    if (!gone) files.push_back(std::move(file));
  }
  if (error) return ErrnoToStatus(error.value(), "cannot list", root_);
  return files;
}

absl::StatusOr<std::vector<std::string>> ArtifactStore::Digests() const {
  AMC_ASSIGN_OR_RETURN(std::vector<File> files, Files());
  std::vector<std::string> digests;
  digests.reserve(files.size());
  for (File& file : files) digests.push_back(std::move(file.digest));
  return digests;
}

absl::Status ArtifactStore::Shrink(int64_t bytes, absl::Duration spare) {
  AMC_ASSIGN_OR_RETURN(std::vector<File> files, Files());
  int64_t total = 0;
  for (const File& file : files) total += file.size;
  std::sort(files.begin(), files.end(),
            [](const File& a, const File& b) { return a.used < b.used; });
  const auto newest = std::filesystem::file_time_type::clock::now() -
                      std::chrono::milliseconds(absl::ToInt64Milliseconds(spare));
  for (const File& file : files) {
    if (total <= bytes || file.used > newest) break;
    absl::Status removed = Remove(file.digest);
    if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
    total -= file.size;
  }
  return absl::OkStatus();
}

}  // namespace amc
