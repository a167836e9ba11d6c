// Artifacts' bytes: files named by their sha256 in one folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/sha256.h"

namespace amc {

// Layout: ROOT/ab/abcdef... ; uploads grow in ROOT/tmp and are renamed when whole and verified, so
// a file under its digest is always complete. Thread-safe; several processes may share a folder.
class ArtifactStore {
 public:
  static absl::StatusOr<std::unique_ptr<ArtifactStore>> Open(const std::string& root);

  // An artifact that arrives in pieces; dropped without a name, nothing stays. One thread.
  class Writer {
   public:
    ~Writer();
    // ResourceExhausted when the disk is full.
    absl::Status Append(absl::string_view bytes);
    // Verifies and syncs the bytes, which may take long. InvalidArgument if digest or size differ
    // from what was announced (the message gives both).
    absl::Status Seal(const std::string& expected_digest, int64_t expected_size);
    // Names the file, once it is sealed.
    absl::Status Name();
    // Both in one call.
    absl::Status Finish(const std::string& expected_digest, int64_t expected_size);

   private:
    friend class ArtifactStore;
    Writer(std::string root, std::string path, int fd);
    std::string root_, path_;
    int fd_ = -1;  // -1 once sealed
    int64_t size_ = 0;
    std::string digest_;  // once sealed with success
    Sha256 hash_;
  };
  absl::StatusOr<std::unique_ptr<Writer>> NewWriter();

  // Writer in one call; returns the digest.
  absl::StatusOr<std::string> Put(absl::string_view bytes);

  bool Contains(const std::string& digest) const;
  // Where the bytes lie, for readers on the same file system. NotFound; InvalidArgument for a
  // malformed digest.
  absl::StatusOr<std::string> Path(const std::string& digest) const;
  // The bytes, verified against the digest (DataLoss if they differ).
  absl::StatusOr<std::string> Get(const std::string& digest) const;
  // Whether the bytes are there and are those that their name promises; false, too, once an
  // InterruptScope (base/interrupt.h) wants an end.
  bool Verify(const std::string& digest) const;
  absl::Status Remove(const std::string& digest);
  // Of all that are there, in no order.
  absl::StatusOr<std::vector<std::string>> Digests() const;

  // For a cache. Touch marks an artifact as used now, as best it can. Shrink removes the ones that
  // were used longest ago until the others have at most `bytes`, but none that was used within
  // `spare`: another process may be about to open it. Whoever has one open keeps it.
  void Touch(const std::string& digest) const;
  absl::Status Shrink(int64_t bytes, absl::Duration spare);

 private:
  explicit ArtifactStore(std::string root) : root_(std::move(root)) {}
  struct File {
    std::string digest;
    int64_t size = 0;
    std::filesystem::file_time_type used;
  };
  absl::StatusOr<std::vector<File>> Files() const;
  std::string root_;
};

}  // namespace amc
