// ArtifactService: bytes in and out, by digest. See artifact.proto for what each call promises.
#pragma once

#include "amc/v1/artifact.grpc.pb.h"
#include "server/artifact_catalog.h"
#include "server/stream_guard.h"
#include "storage/store.h"

namespace amc {

// Thread-safe.
class ArtifactServiceImpl : public v1::ArtifactService::Service {
 public:
  // All must outlive the service.
  ArtifactServiceImpl(ArtifactCatalog* catalog, Store* store, StreamGuard* streams)
      : catalog_(catalog), store_(store), streams_(streams) {}

  grpc::Status UploadArtifact(grpc::ServerContext* context,
                              grpc::ServerReader<v1::UploadArtifactRequest>* reader,
                              v1::Artifact* response) override;
  grpc::Status DownloadArtifact(grpc::ServerContext* context,
                                const v1::DownloadArtifactRequest* request,
                                grpc::ServerWriter<v1::DownloadArtifactResponse>* writer) override;
  grpc::Status GetArtifact(grpc::ServerContext* context, const v1::GetArtifactRequest* request,
                           v1::Artifact* response) override;
  grpc::Status ListArtifacts(grpc::ServerContext* context, const v1::ListArtifactsRequest* request,
                             v1::ListArtifactsResponse* response) override;

 private:
  absl::Status Receive(grpc::ServerContext& context,
                       grpc::ServerReader<v1::UploadArtifactRequest>& reader,
                       v1::Artifact& response);
  absl::Status Send(grpc::ServerContext& context, const v1::DownloadArtifactRequest& request,
                    grpc::ServerWriter<v1::DownloadArtifactResponse>& writer);

  ArtifactCatalog* const catalog_;
  Store* const store_;
  StreamGuard* const streams_;
};

}  // namespace amc
