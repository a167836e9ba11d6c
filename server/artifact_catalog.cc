#include "server/artifact_catalog.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace amc {

absl::StatusOr<v1::Artifact> ArtifactCatalog::Use(const std::string& digest) {
  AMC_ASSIGN_OR_RETURN(v1::Artifact artifact, store_->GetArtifact(digest));
  if (!artifacts_->Verify(digest)) {
    return absl::NotFoundError(
        absl::StrCat("artifact ", digest, ": the bytes are damaged or gone"));
  }
  // NotFound if it was collected meanwhile.
  AMC_RETURN_IF_ERROR(store_->UseArtifact(digest, absl::ToUnixMillis(clock_->Now())));
  return artifact;
}

ArtifactCatalog::Reservation::~Reservation() {
  if (catalog_ == nullptr) return;
  MutexLock lock(&catalog_->mutex_);
  catalog_->reserved_ -= bytes_;
}

absl::StatusOr<ArtifactCatalog::Reservation> ArtifactCatalog::Reserve(const std::string& digest,
                                                                      int64_t bytes) {
  if (options_.quota_bytes == 0) return Reservation(nullptr, 0);
  // The use keeps a known one's row, and so its room, while its bytes come.
  const absl::Status known = store_->UseArtifact(digest, absl::ToUnixMillis(clock_->Now()));
  if (!known.ok() && !absl::IsNotFound(known)) return known;
  if (known.ok()) {
    AMC_ASSIGN_OR_RETURN(const v1::Artifact artifact, store_->GetArtifact(digest));
    bytes = std::max<int64_t>(bytes - artifact.size(), 0);  // more than it has is a lie
  }
  // An upload ends by being stored, then by giving its room back: under the lock it counts once or
  // twice, without it could count neither as stored nor as arriving.
  MutexLock lock(&mutex_);
  AMC_ASSIGN_OR_RETURN(const int64_t stored, store_->ArtifactBytes());
  if (stored + reserved_ > options_.quota_bytes - bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat(bytes, " bytes do not fit into the quota of ", options_.quota_bytes, ": ",
                     stored, " are stored, ", reserved_,
                     " are arriving. Delete jobs whose models and data nobody needs "
                     "(amc delete), or serve with a larger --disk-quota"));
  }
  reserved_ += bytes;
  return Reservation(this, bytes);
}

absl::StatusOr<v1::Artifact> ArtifactCatalog::Put(ArtifactStore::Writer& writer,
                                                  v1::Artifact header) {
  // Gigabytes may take a minute to reach the disk: nobody waits for that but the upload.
  AMC_RETURN_IF_ERROR(writer.Seal(header.digest(), header.size()));
  header.set_create_time_ms(absl::ToUnixMillis(clock_->Now()));
  MutexLock lock(&change_mutex_);
  AMC_RETURN_IF_ERROR(writer.Name());
  AMC_RETURN_IF_ERROR(store_->PutArtifact(header));
  return store_->GetArtifact(header.digest());
}

absl::Status ArtifactCatalog::Collect() {
  MutexLock lock(&change_mutex_);
  AMC_ASSIGN_OR_RETURN(
      const std::vector<std::string> digests,
      store_->CollectArtifacts(absl::ToUnixMillis(clock_->Now() - options_.unused_for)));
  for (const std::string& digest : digests) {
    const absl::Status removed = artifacts_->Remove(digest);
    AMC_LOG(kInfo) << "artifact " << digest
                   << " is needed no more: " << (removed.ok() ? "removed" : removed.ToString());
  }
  return absl::OkStatus();
}

absl::Status ArtifactCatalog::RemoveStrays() {
  MutexLock lock(&change_mutex_);
  AMC_ASSIGN_OR_RETURN(const std::vector<std::string> digests, artifacts_->Digests());
  for (const std::string& digest : digests) {
    absl::Status known = store_->GetArtifact(digest).status();
    if (known.ok()) continue;
    if (!absl::IsNotFound(known)) return known;
    AMC_LOG(kInfo) << "artifact " << digest << " was left over: removed";
    AMC_RETURN_IF_ERROR(artifacts_->Remove(digest));
  }
  return absl::OkStatus();
}

}  // namespace amc
