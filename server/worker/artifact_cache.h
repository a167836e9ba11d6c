// Models and data packs on the worker's disk, by digest: read in place where the server's folder is
// on a shared file system, downloaded otherwise.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "amc/v1/artifact.grpc.pb.h"
#include "storage/artifact_store.h"

namespace amc {

// One thread. Every file's bytes are verified once per process before it is handed out.
class ArtifactCache {
 public:
  using Progress = std::function<void(int64_t done, int64_t total)>;
  // Asked within every call, from any thread; once it has said so, the call ends within a second.
  using Cancelled = std::function<bool()>;
  // Told why the server has no room for an upload.
  using NoRoom = std::function<void(const std::string& why)>;

  struct Options {
    std::string folder;
    std::string shared_folder;  // empty: none
    int64_t limit_bytes = 0;    // what was used longest ago goes first; 0: no limit
    // How long a transfer sits out a server that is away.
    absl::Duration patience = absl::InfiniteDuration();
  };
  // The stub must outlive the cache.
  static absl::StatusOr<std::unique_ptr<ArtifactCache>> Open(
      const Options& options, v1::ArtifactService::StubInterface* stub);

  // Where the artifact's bytes lie. NotFound if the server does not have it, DataLoss if its copy
  // is damaged, ResourceExhausted if the disk is full. While the server cannot be reached it tries
  // again, and goes on where it was cut, until its patience ends (Unavailable) or `cancelled`
  // (Cancelled). May remove others to make room; whoever has those open keeps them.
  absl::StatusOr<std::string> Path(const std::string& digest, const Progress& progress,
                                   const Cancelled& cancelled);

  // Hands an artifact to the server and returns its digest. Idempotent; patient as Path, and while
  // the server has no room: `no_room` hears of every try that failed for that.
  absl::StatusOr<std::string> Upload(const std::string& bytes, v1::ArtifactKind kind,
                                     const std::string& name, const NoRoom& no_room,
                                     const Cancelled& cancelled);

 private:
  ArtifactCache(Options options, std::unique_ptr<ArtifactStore> local,
                std::unique_ptr<ArtifactStore> shared, v1::ArtifactService::StubInterface* stub)
      : options_(std::move(options)),
        local_(std::move(local)),
        shared_(std::move(shared)),
        stub_(stub) {}

  absl::Status Download(const std::string& digest, const Progress& progress,
                        const Cancelled& cancelled);

  const Options options_;
  const std::unique_ptr<ArtifactStore> local_;
  const std::unique_ptr<ArtifactStore> shared_;  // may be null
  v1::ArtifactService::StubInterface* const stub_;
  std::set<std::string> verified_;
};

}  // namespace amc
