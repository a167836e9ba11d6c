// A file that arrives in pieces and replaces another in one step: what WriteFileAtomically
// (base/file.h) does for bytes that are there already.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/sha256.h"

namespace amc {

// Thread-compatible. Errors name the file; a full disk is ResourceExhausted.
class AtomicWriter {
 public:
  // Writes to `temporary` on the file system of `path`, which is overwritten, or, if empty, to a
  // new name beside it. Dropped without Commit, it is removed and `path` stays as it was.
  static absl::StatusOr<std::unique_ptr<AtomicWriter>> Open(const std::string& path,
                                                            std::string temporary = "");
  ~AtomicWriter();
  AtomicWriter(const AtomicWriter&) = delete;
  AtomicWriter& operator=(const AtomicWriter&) = delete;

  absl::Status Append(absl::string_view bytes);
  int64_t size() const { return size_; }
  // The sha256 of all that was appended; the last thing before Commit.
  std::string Digest() { return hash_.HexDigest(); }
  // Syncs, renames to `path`, syncs its folder.
  absl::Status Commit();

 private:
  AtomicWriter(std::string path, std::string temporary, int fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}

  const std::string path_;
  std::string temporary_;  // empty once it is `path`
  int fd_;
  int64_t size_ = 0;
  Sha256 hash_;
};

}  // namespace amc
