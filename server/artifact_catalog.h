// Artifacts as the server keeps them: bytes in the artifact store, their names in the store, and
// both in step; how much there may be, and what goes when nobody needs it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "storage/artifact_store.h"
#include "storage/store.h"

namespace amc {

struct ArtifactCatalogOptions {
  int64_t quota_bytes = 0;                      // of all artifacts; 0: no limit but the disk's
  absl::Duration unused_for = absl::Hours(24);  // how long one that no job names is kept
};

// Thread-safe.
class ArtifactCatalog {
 public:
  // All three must outlive the catalog.
  ArtifactCatalog(ArtifactStore* artifacts, Store* store, const Clock* clock,
                  const ArtifactCatalogOptions& options)
      : artifacts_(artifacts), store_(store), clock_(clock), options_(options) {}

  // An artifact whose bytes are there and right, noted as used. NotFound otherwise: it has to be
  // written (anew).
  absl::StatusOr<v1::Artifact> Use(const std::string& digest);

  // Room for an upload that is under way.
  class Reservation {
   public:
    Reservation(Reservation&& other) noexcept
        : catalog_(std::exchange(other.catalog_, nullptr)), bytes_(other.bytes_) {}
    Reservation& operator=(Reservation&&) = delete;
    ~Reservation();

   private:
    friend class ArtifactCatalog;
    Reservation(ArtifactCatalog* catalog, int64_t bytes) : catalog_(catalog), bytes_(bytes) {}
    ArtifactCatalog* catalog_;
    int64_t bytes_;
  };
  // Room for so many bytes of an artifact; one that is listed, as it comes to repair it, has its
  // room already. ResourceExhausted where the quota leaves none.
  absl::StatusOr<Reservation> Reserve(const std::string& digest, int64_t bytes);

  // Verifies, syncs, names and lists an artifact that has arrived. Errors as
  // ArtifactStore::Writer::Finish and the store's.
  absl::StatusOr<v1::Artifact> Put(ArtifactStore::Writer& writer, v1::Artifact header);

  // Removes what no job names and nobody has used for a while. Call now and then.
  absl::Status Collect();

  // Removes bytes that have no name: a server that was killed in the middle of Put or Collect
  // leaves such. Call before the first Put.
  absl::Status RemoveStrays();

  absl::StatusOr<int64_t> Bytes() { return store_->ArtifactBytes(); }
  int64_t quota_bytes() const { return options_.quota_bytes; }
  ArtifactStore& files() { return *artifacts_; }

 private:
  ArtifactStore* const artifacts_;
  Store* const store_;
  const Clock* const clock_;
  const ArtifactCatalogOptions options_;
  Mutex change_mutex_;  // one change of names, in the folder and in the store, at a time
  Mutex mutex_;
  int64_t reserved_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace amc
