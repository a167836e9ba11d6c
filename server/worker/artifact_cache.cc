#include "server/worker/artifact_cache.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/rpc/status_convert.h"
#include "server/worker/cancel_watcher.h"

namespace amc {
namespace {

constexpr size_t kChunk = size_t{1} << 20;

constexpr absl::Duration kFirstRetry = absl::Milliseconds(200);
constexpr absl::Duration kLastRetry = absl::Seconds(2);
constexpr absl::Duration kQuestion = absl::Seconds(20);  // for an answer without bytes

constexpr char kUnwanted[] = "the task is no longer wanted";

// What was used so lately may be about to be opened by another process.
constexpr absl::Duration kSpare = absl::Minutes(10);

// Calls again while the error is one that `passes`: a restart of a few seconds must not cost an
// attempt. Cancelled soon after `cancelled` says so.
absl::Status Patiently(absl::Duration patience, const ArtifactCache::Cancelled& cancelled,
                       bool (*passes)(const absl::Status&),
                       const std::function<absl::Status(grpc::ClientContext&)>& call) {
  const absl::Time deadline = absl::Now() + patience;
  absl::Duration wait = kFirstRetry;
  while (true) {
    absl::Status status;
    {
      grpc::ClientContext context;
      const CancelWatcher watcher(context, cancelled);
      status = call(context);
    }
    if (!passes(status) || absl::Now() >= deadline) return status;
    for (const absl::Time until = absl::Now() + wait; absl::Now() < until;) {
      if (cancelled()) return absl::CancelledError(kUnwanted);
      absl::SleepFor(absl::Milliseconds(50));
    }
    wait = std::min(2 * wait, kLastRetry);
  }
}

bool ServerIsAway(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}
bool ServerIsAwayOrFull(const absl::Status& status) {
  return ServerIsAway(status) || absl::IsResourceExhausted(status);
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
                                                const Cancelled& cancelled) {
  const InterruptScope interrupt(cancelled);  // a pack of gigabytes takes its time to verify
  for (const ArtifactStore* store : {shared_.get(), local_.get()}) {
    if (store == nullptr || !store->Contains(digest)) continue;
    if (store == local_.get()) local_->Touch(digest);
    AMC_ASSIGN_OR_RETURN(std::string path, store->Path(digest));
    if (verified_.count(digest) != 0 || store->Verify(digest)) {
      verified_.insert(digest);
      return path;
    }
    AMC_RETURN_IF_ERROR(CheckInterrupt());  // which left it unverified, not damaged
    AMC_LOG(kWarning) << "artifact " << digest << ": " << path << " is damaged";
    if (store == local_.get()) AMC_RETURN_IF_ERROR(local_->Remove(digest));
  }
  AMC_RETURN_IF_ERROR(
      Annotate(Download(digest, progress, cancelled), absl::StrCat("artifact ", digest)));
  verified_.insert(digest);
  return local_->Path(digest);
}

absl::Status ArtifactCache::Download(const std::string& digest, const Progress& progress,
                                     const Cancelled& cancelled) {
  v1::GetArtifactRequest get;
  get.set_digest(digest);
  v1::Artifact artifact;
  AMC_RETURN_IF_ERROR(Patiently(options_.patience, cancelled, ServerIsAway, [&](auto& context) {
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(kQuestion));
    return FromGrpcStatus(stub_->GetArtifact(&context, get, &artifact));
  }));
  if (options_.limit_bytes > 0) {
    AMC_RETURN_IF_ERROR(
        local_->Shrink(std::max<int64_t>(options_.limit_bytes - artifact.size(), 0), kSpare));
  }
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<ArtifactStore::Writer> writer, local_->NewWriter());
  int64_t done = 0;  // a cut connection goes on where it was cut
  AMC_RETURN_IF_ERROR(Patiently(options_.patience, cancelled, ServerIsAway, [&](auto& context) {
    v1::DownloadArtifactRequest request;
    request.set_digest(digest);
    request.set_offset(done);
    v1::DownloadArtifactResponse response;
    const auto reader = stub_->DownloadArtifact(&context, request);
    while (reader->Read(&response)) {
      absl::Status written = writer->Append(response.chunk());
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
                                                  const std::string& name, const NoRoom& no_room,
                                                  const Cancelled& cancelled) {
  v1::Artifact header;
  header.set_digest(Sha256Hex(bytes));
  header.set_size(static_cast<int64_t>(bytes.size()));
  header.set_kind(kind);
  header.set_name(name);
  v1::Artifact stored;
  bool told = false;
  AMC_RETURN_IF_ERROR(
      Patiently(options_.patience, cancelled, ServerIsAwayOrFull, [&](auto& context) {
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
        absl::Status status = FromGrpcStatus(writer->Finish());
        if (absl::IsResourceExhausted(status)) {
          no_room(std::string(status.message()));
          if (!std::exchange(told, true)) {
            AMC_LOG(kWarning) << "the server has no room for " << name << ", waiting: " << status;
          }
        }
        return status;
      }));
  return stored.digest();
}

}  // namespace amc
