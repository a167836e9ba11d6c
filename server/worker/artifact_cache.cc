#include "server/worker/artifact_cache.h"

#include <algorithm>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

constexpr size_t kChunk = size_t{1} << 20;

// Whether the file's bytes are those that its name promises.
bool Verify(const std::string& path, const std::string& digest) {
  std::ifstream file(path, std::ios::binary);
  Sha256 hash;
  std::string buffer(kChunk, '\0');
  while (file) {
    file.read(buffer.data(), static_cast<std::streamsize>(kChunk));
    hash.Update(absl::string_view(buffer.data(), static_cast<size_t>(file.gcount())));
  }
  return file.eof() && hash.HexDigest() == digest;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ArtifactCache>> ArtifactCache::Open(
    const std::string& cache_folder, const std::string& shared_folder,
    v1::ArtifactService::StubInterface* stub) {
  AMC_ASSIGN_OR_RETURN(std::unique_ptr<ArtifactStore> local, ArtifactStore::Open(cache_folder));
  std::unique_ptr<ArtifactStore> shared;
  if (!shared_folder.empty()) {
    AMC_ASSIGN_OR_RETURN(shared, ArtifactStore::Open(shared_folder));
  }
  return std::unique_ptr<ArtifactCache>(
      new ArtifactCache(std::move(local), std::move(shared), stub));
}

absl::StatusOr<std::string> ArtifactCache::Path(const std::string& digest,
                                                const Progress& progress) {
  for (const ArtifactStore* store : {shared_.get(), local_.get()}) {
    if (store == nullptr || !store->Contains(digest)) continue;
    AMC_ASSIGN_OR_RETURN(std::string path, store->Path(digest));
    if (verified_.count(digest) != 0 || Verify(path, digest)) {
      verified_.insert(digest);
      return path;
    }
    AMC_LOG(kWarning) << "artifact " << digest << ": " << path << " is damaged";
    if (store == local_.get()) AMC_RETURN_IF_ERROR(local_->Remove(digest));
  }
  AMC_RETURN_IF_ERROR(Annotate(Download(digest, progress), absl::StrCat("artifact ", digest)));
  verified_.insert(digest);
  return local_->Path(digest);
}

absl::Status ArtifactCache::Download(const std::string& digest, const Progress& progress) {
  v1::GetArtifactRequest get;
  get.set_digest(digest);
  v1::Artifact artifact;
  {
    grpc::ClientContext context;
    AMC_RETURN_IF_ERROR(FromGrpcStatus(stub_->GetArtifact(&context, get, &artifact)));
  }
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<ArtifactStore::Writer> writer, local_->NewWriter());
  v1::DownloadArtifactRequest request;
  request.set_digest(digest);
  v1::DownloadArtifactResponse response;
  grpc::ClientContext context;
  const auto reader = stub_->DownloadArtifact(&context, request);
  int64_t done = 0;
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
  AMC_RETURN_IF_ERROR(FromGrpcStatus(reader->Finish()));
  return writer->Finish(digest, artifact.size());
}

absl::StatusOr<std::string> ArtifactCache::Upload(const std::string& bytes, v1::ArtifactKind kind,
                                                  const std::string& name) {
  grpc::ClientContext context;
  v1::Artifact stored;
  const auto writer = stub_->UploadArtifact(&context, &stored);
  v1::UploadArtifactRequest request;
  request.mutable_header()->set_digest(Sha256Hex(bytes));
  request.mutable_header()->set_size(static_cast<int64_t>(bytes.size()));
  request.mutable_header()->set_kind(kind);
  request.mutable_header()->set_name(name);
  // A write fails when the server has answered already: it knows the artifact, or refuses it.
  bool open = writer->Write(request);
  for (size_t at = 0; open && at < bytes.size(); at += kChunk) {
    request.set_chunk(bytes.data() + at, std::min(kChunk, bytes.size() - at));
    open = writer->Write(request);
  }
  writer->WritesDone();
  AMC_RETURN_IF_ERROR(FromGrpcStatus(writer->Finish()));
  return stored.digest();
}

}  // namespace amc
