#include "server/artifact_service.h"

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

constexpr size_t kChunk = size_t{1} << 20;

absl::Status CheckHeader(const v1::Artifact& header) {
  if (!IsSha256Hex(header.digest())) {
    return FieldError("header.digest", absl::StrCat("\"", header.digest(), "\" is not a sha256"));
  }
  if (header.size() < 0) return FieldError("header.size", absl::StrCat(header.size(), " bytes"));
  if (header.kind() == v1::ARTIFACT_KIND_UNSPECIFIED || !v1::ArtifactKind_IsValid(header.kind())) {
    return FieldError("header.kind",
                      absl::StrCat("unknown value ", static_cast<int>(header.kind())));
  }
  return absl::OkStatus();
}

}  // namespace

grpc::Status ArtifactServiceImpl::UploadArtifact(
    grpc::ServerContext* context, grpc::ServerReader<v1::UploadArtifactRequest>* reader,
    v1::Artifact* response) {
  return ToGrpcStatus(Receive(*context, *reader, *response));
}

absl::Status ArtifactServiceImpl::Receive(grpc::ServerContext& context,
                                          grpc::ServerReader<v1::UploadArtifactRequest>& reader,
                                          v1::Artifact& response) {
  AMC_ASSIGN_OR_RETURN(StreamGuard::Stream stream, streams_->Enter(context, "UploadArtifact"));
  v1::UploadArtifactRequest message;
  if (!reader.Read(&message) || !message.has_header()) {
    return absl::InvalidArgumentError("the first message of an upload carries the header");
  }
  const v1::Artifact header = message.header();
  AMC_RETURN_IF_ERROR(CheckHeader(header));
  {
    const StreamGuard::Stream::Work work = stream.Working();  // reads all of a known artifact
    if (absl::StatusOr<v1::Artifact> known = catalog_->Use(header.digest()); known.ok()) {
      response = *std::move(known);
      return absl::OkStatus();
    }
  }
  AMC_ASSIGN_OR_RETURN(const ArtifactCatalog::Reservation room,
                       catalog_->Reserve(header.digest(), header.size()));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<ArtifactStore::Writer> writer,
                       catalog_->files().NewWriter());
  int64_t size = 0;
  while (reader.Read(&message)) {
    stream.Moved();
    if (!message.has_chunk() || message.chunk().size() > kChunk) {
      return absl::InvalidArgumentError(absl::StrCat(
          "after the header come chunks of at most ", kChunk, " bytes, not ",
          message.has_chunk() ? absl::StrCat(message.chunk().size(), " bytes") : "a header"));
    }
    size += static_cast<int64_t>(message.chunk().size());
    if (size > header.size()) {
      return FieldError("header.size",
                        absl::StrCat("says ", header.size(), " bytes, ", size, " have arrived"));
    }
    AMC_RETURN_IF_ERROR(writer->Append(message.chunk()));
  }
  if (context.IsCancelled()) {
    return absl::CancelledError(
        absl::StrCat("the upload ended after ", size, " of ", header.size(), " bytes"));
  }
  const StreamGuard::Stream::Work work = stream.Working();  // waits for the disk
  AMC_ASSIGN_OR_RETURN(response, catalog_->Put(*writer, header));
  return absl::OkStatus();
}

grpc::Status ArtifactServiceImpl::DownloadArtifact(
    grpc::ServerContext* context, const v1::DownloadArtifactRequest* request,
    grpc::ServerWriter<v1::DownloadArtifactResponse>* writer) {
  return ToGrpcStatus(Send(*context, *request, *writer));
}

// The digest can only be known at the end: bytes before `offset` are read too, but not sent.
absl::Status ArtifactServiceImpl::Send(grpc::ServerContext& context,
                                       const v1::DownloadArtifactRequest& request,
                                       grpc::ServerWriter<v1::DownloadArtifactResponse>& writer) {
  AMC_ASSIGN_OR_RETURN(StreamGuard::Stream stream, streams_->Enter(context, "DownloadArtifact"));
  AMC_ASSIGN_OR_RETURN(const v1::Artifact artifact, store_->GetArtifact(request.digest()));
  if (request.offset() < 0 || request.offset() > artifact.size()) {
    return absl::OutOfRangeError(absl::StrCat("offset ", request.offset(), " of artifact ",
                                              request.digest(), ", which has ", artifact.size(),
                                              " bytes"));
  }
  AMC_ASSIGN_OR_RETURN(const std::string path, catalog_->files().Path(request.digest()));
  std::ifstream file(path, std::ios::binary);
  Sha256 hash;
  int64_t at = 0;
  std::string buffer(kChunk, '\0');
  v1::DownloadArtifactResponse response;
  while (file) {
    file.read(buffer.data(), static_cast<std::streamsize>(kChunk));
    const auto count = static_cast<int64_t>(file.gcount());
    if (count == 0) break;
    hash.Update(absl::string_view(buffer.data(), static_cast<size_t>(count)));
    const int64_t skip = std::clamp<int64_t>(request.offset() - at, 0, count);
    at += count;
    if (skip == count) {
      stream.Moved();
      continue;
    }
    response.set_chunk(buffer.data() + skip, static_cast<size_t>(count - skip));
    if (!writer.Write(response)) return absl::CancelledError("the client went away");
    stream.Moved();
  }
  if (hash.HexDigest() != request.digest()) {
    return absl::DataLossError(absl::StrCat("artifact ", request.digest(),
                                            ": the stored bytes no longer match their digest"));
  }
  return absl::OkStatus();
}

grpc::Status ArtifactServiceImpl::GetArtifact(grpc::ServerContext*,
                                              const v1::GetArtifactRequest* request,
                                              v1::Artifact* response) {
  absl::StatusOr<v1::Artifact> artifact = store_->GetArtifact(request->digest());
  if (!artifact.ok()) return ToGrpcStatus(artifact.status());
  *response = *std::move(artifact);
  return grpc::Status::OK;
}

grpc::Status ArtifactServiceImpl::ListArtifacts(grpc::ServerContext*,
                                                const v1::ListArtifactsRequest* request,
                                                v1::ListArtifactsResponse* response) {
  absl::StatusOr<v1::ListArtifactsResponse> artifacts = store_->ListArtifacts(*request);
  if (!artifacts.ok()) return ToGrpcStatus(artifacts.status());
  *response = *std::move(artifacts);
  return grpc::Status::OK;
}

}  // namespace amc
