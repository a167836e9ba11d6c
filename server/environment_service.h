// EnvironmentService: environments in this process, driven by agents outside of it. See
// environment.proto for what each call promises.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "amc/v1/environment.grpc.pb.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "env/env.h"
#include "server/model_cache.h"
#include "server/stream_guard.h"

namespace amc {

// Thread-safe; calls on one environment take turns.
class EnvironmentServiceImpl : public v1::EnvironmentService::Service {
 public:
  // All three must outlive the service; `streams` guards StepStream.
  EnvironmentServiceImpl(ModelCache* models, StreamGuard* streams, const Clock* clock, int max_open,
                         absl::Duration idle_limit)
      : models_(models),
        streams_(streams),
        clock_(clock),
        max_open_(max_open),
        idle_limit_(idle_limit) {}

  grpc::Status CreateEnvironment(grpc::ServerContext* context,
                                 const v1::CreateEnvironmentRequest* request,
                                 v1::CreateEnvironmentResponse* response) override;
  grpc::Status Reset(grpc::ServerContext* context, const v1::ResetRequest* request,
                     v1::ResetResponse* response) override;
  grpc::Status Step(grpc::ServerContext* context, const v1::StepRequest* request,
                    v1::StepResponse* response) override;
  grpc::Status StepStream(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::StepResponse, v1::StepRequest>* stream) override;
  grpc::Status CloseEnvironment(grpc::ServerContext* context,
                                const v1::CloseEnvironmentRequest* request,
                                v1::CloseEnvironmentResponse* response) override;

  // Closes environments that were not used for the idle limit. Call now and then.
  void CloseIdle();

 private:
  struct Open {
    Mutex mutex;
    std::unique_ptr<Environment> env ABSL_GUARDED_BY(mutex);
    absl::Time used ABSL_GUARDED_BY(mutex);
  };

  absl::StatusOr<v1::CreateEnvironmentResponse> Create(const v1::CreateEnvironmentRequest& request);
  absl::Status TakeSteps(const v1::StepRequest& request, v1::StepResponse& response);
  absl::StatusOr<std::shared_ptr<Open>> Find(const std::string& id);

  ModelCache* const models_;
  StreamGuard* const streams_;
  const Clock* const clock_;
  const int max_open_;
  const absl::Duration idle_limit_;
  Mutex mutex_;
  // Shared with the calls under way, which a close does not disturb.
  std::map<std::string, std::shared_ptr<Open>> open_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace amc
