#include "server/worker/artifact_cache.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

constexpr size_t kChunk = size_t{1} << 20;

constexpr absl::Duration kFirstRetry = absl::Milliseconds(200);
constexpr absl::Duration kLastRetry = absl::Seconds(2);

// What was used so lately may be about to be opened by another process.
constexpr absl::Duration kSpare = absl::Minutes(10);

// Calls again while the error is one that `passes`: a restart of a few seconds must not cost an
// attempt.
absl::Status Patiently(absl::Duration patience, const std::function<bool()>& cancelled,
                       bool (*passes)(const absl::Status&),
                       const std::function<absl::Status()>& call) {
  const absl::Time deadline = absl::Now() + patience;
  absl::Duration wait = kFirstRetry;
  while (true) {
    absl::Status status = call();
    if (!passes(status) || absl::Now() >= deadline) return status;
    for (const absl::Time until = absl::Now() + wait; absl::Now() < until;) {
      if (cancelled()) return status;
      absl::SleepFor(absl::Milliseconds(50));
    }
    wait = std::min(2 * wait, kLastRetry);
  }
}

bool ServerIsAway(const absl::Status& status) { return absl::IsUnavailable(status); }
bool ServerIsAwayOrFull(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ArtifactCache>> ArtifactCache::Open(
    const Options& options, v1::ArtifactService::StubInterface* stub) {
  AMC_ASSIGN_OR_RETURN(std::unique_ptr<ArtifactStore> local, ArtifactStore::Open(options.folder));
  std::unique_ptr<ArtifactStore> shared;
  if (!options.shared_folder.empty()) {
    AMC_ASSIGN_OR_RETURN(shared, ArtifactStore::Open(options.shared_folder));
  }
  return std::unique_ptr<ArtifactCache>(
      new ArtifactCache(options, std::move(local), std::move(shared), stub));
}

absl::StatusOr<std::string> ArtifactCache::Path(const std::string& digest, const Progress& progress,
                                                const std::function<bool()>& cancelled) {
  for (const ArtifactStore* store : {shared_.get(), local_.get()}) {
    if (store == nullptr || !store->Contains(digest)) continue;
    if (store == local_.get()) local_->Touch(digest);
    AMC_ASSIGN_OR_RETURN(std::string path, store->Path(digest));
    if (verified_.count(digest) != 0 || store->Verify(digest)) {
      verified_.insert(digest);
      return path;
    }
    AMC_LOG(kWarning) << "artifact " << digest << ": " << path << " is damaged";
    if (store == local_.get()) AMC_RETURN_IF_ERROR(local_->Remove(digest));
  }
  AMC_RETURN_IF_ERROR(
      Annotate(Download(digest, progress, cancelled), absl::StrCat("artifact ", digest)));
  verified_.insert(digest);
  return local_->Path(digest);
}

absl::Status ArtifactCache::Download(const std::string& digest, const Progress& progress,
                                     const std::function<bool()>& cancelled) {
  v1::GetArtifactRequest get;
  get.set_digest(digest);
  v1::Artifact artifact;
  AMC_RETURN_IF_ERROR(Patiently(options_.patience, cancelled, ServerIsAway, [&] {
    grpc::ClientContext context;
    return FromGrpcStatus(stub_->GetArtifact(&context, get, &artifact));
  }));
  if (options_.limit_bytes > 0) {
    AMC_RETURN_IF_ERROR(
        local_->Shrink(std::max<int64_t>(options_.limit_bytes - artifact.size(), 0), kSpare));
  }
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<ArtifactStore::Writer> writer, local_->NewWriter());
  int64_t done = 0;  // a cut connection goes on where it was cut
  AMC_RETURN_IF_ERROR(Patiently(options_.patience, cancelled, ServerIsAway, [&] {
    v1::DownloadArtifactRequest request;
    request.set_digest(digest);
    request.set_offset(done);
    v1::DownloadArtifactResponse response;
    grpc::ClientContext context;
    const auto reader = stub_->DownloadArtifact(&context, request);
    while (reader->Read(&response)) {
      absl::Status written = writer->Append(response.chunk());
      if (written.ok() && cancelled()) written = absl::CancelledError("the lease is lost");
      if (!written.ok()) {
        context.TryCancel();
        reader->Finish();
        return written;
      }
      done += static_cast<int64_t>(response.chunk().size());
      progress(done, artifact.size());
    }
    return FromGrpcStatus(reader->Finish());
  }));
  return writer->Finish(digest, artifact.size());
}

absl::StatusOr<std::string> ArtifactCache::Upload(const std::string& bytes, v1::ArtifactKind kind,
                                                  const std::string& name,
                                                  const std::function<bool()>& cancelled) {
  v1::Artifact header;
  header.set_digest(Sha256Hex(bytes));
  header.set_size(static_cast<int64_t>(bytes.size()));
  header.set_kind(kind);
  header.set_name(name);
  v1::Artifact stored;
  AMC_RETURN_IF_ERROR(Patiently(options_.patience, cancelled, ServerIsAwayOrFull, [&] {
    grpc::ClientContext context;
    const auto writer = stub_->UploadArtifact(&context, &stored);
    v1::UploadArtifactRequest request;
    *request.mutable_header() = header;
    // A write fails when the server has answered already: it knows the artifact, or refuses it.
    bool open = writer->Write(request);
    for (size_t at = 0; open && at < bytes.size(); at += kChunk) {
      request.set_chunk(bytes.data() + at, std::min(kChunk, bytes.size() - at));
      open = writer->Write(request);
    }
    writer->WritesDone();
    return FromGrpcStatus(writer->Finish());
  }));
  return stored.digest();
}

}  // namespace amc
