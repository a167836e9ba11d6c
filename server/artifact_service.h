// ArtifactService: bytes in and out, by digest. See artifact.proto for what each call promises.
#pragma once

#include "amc/v1/artifact.grpc.pb.h"
#include "base/clock.h"
#include "storage/artifact_store.h"
#include "storage/store.h"

namespace amc {

// Thread-safe.
class ArtifactServiceImpl : public v1::ArtifactService::Service {
 public:
  // All must outlive the service.
  ArtifactServiceImpl(ArtifactStore* artifacts, Store* store, const Clock* clock)
      : artifacts_(artifacts), store_(store), clock_(clock) {}

  grpc::Status UploadArtifact(grpc::ServerContext* context,
                              grpc::ServerReader<v1::UploadArtifactRequest>* reader,
                              v1::Artifact* response) override;
  grpc::Status DownloadArtifact(grpc::ServerContext* context,
                                const v1::DownloadArtifactRequest* request,
                                grpc::ServerWriter<v1::DownloadArtifactResponse>* writer) override;
  grpc::Status GetArtifact(grpc::ServerContext* context, const v1::GetArtifactRequest* request,
                           v1::Artifact* response) override;

 private:
  absl::Status Receive(grpc::ServerReader<v1::UploadArtifactRequest>& reader,
                       v1::Artifact& response);
  absl::Status Send(const v1::DownloadArtifactRequest& request,
                    grpc::ServerWriter<v1::DownloadArtifactResponse>& writer);

  ArtifactStore* const artifacts_;
  Store* const store_;
  const Clock* const clock_;
};

}  // namespace amc
