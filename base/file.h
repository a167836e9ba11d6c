// Whole files and folders. Every error names the path and the system's reason; a full disk is
// ResourceExhausted, a missing file NotFound, a forbidden one PermissionDenied.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace amc {

// Returns the bytes of the regular file at `path`.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// Replaces `path` in one step: writes a temporary file beside it, syncs it, renames it over `path`
// and syncs the folder. After a crash the old or the new content stands there, never a part.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view bytes);

// Syncs the folder's list of names, so that files made, renamed or removed in it stay so.
absl::Status SyncFolder(const std::string& path);

// Makes the folder and its parents. OK if it is there already.
absl::Status MakeDirectories(const std::string& path);

// The status that the errno value `error` of the call `what` on `path` stands for.
absl::Status ErrnoToStatus(int error, absl::string_view what, absl::string_view path);

// A folder of its own under $TMPDIR (or /tmp), removed with all it holds on destruction.
class TempDirectory {
 public:
  static absl::StatusOr<TempDirectory> Create(absl::string_view prefix = "amc");
  TempDirectory(TempDirectory&& other) noexcept;
  TempDirectory& operator=(TempDirectory&& other) noexcept;
  ~TempDirectory();
  const std::string& path() const { return path_; }

 private:
  explicit TempDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace amc
