// JobService on the job manager and the store. See job.proto for what each call promises.
#pragma once

#include "amc/v1/job.grpc.pb.h"
#include "server/job_manager.h"
#include "server/stream_guard.h"

namespace amc {

// Thread-safe.
class JobServiceImpl : public v1::JobService::Service {
 public:
  // What `context` points to, the manager and the guard must outlive the service.
  JobServiceImpl(const JobContext& context, JobManager* jobs, StreamGuard* streams)
      : context_(context), jobs_(jobs), streams_(streams) {}

  grpc::Status SubmitJob(grpc::ServerContext* context, const v1::SubmitJobRequest* request,
                         v1::Job* response) override;
  grpc::Status GetJob(grpc::ServerContext* context, const v1::GetJobRequest* request,
                      v1::Job* response) override;
  grpc::Status ListJobs(grpc::ServerContext* context, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override;
  grpc::Status CancelJob(grpc::ServerContext* context, const v1::CancelJobRequest* request,
                         v1::Job* response) override;
  grpc::Status ResumeJob(grpc::ServerContext* context, const v1::ResumeJobRequest* request,
                         v1::Job* response) override;
  grpc::Status DeleteJob(grpc::ServerContext* context, const v1::DeleteJobRequest* request,
                         v1::DeleteJobResponse* response) override;
  grpc::Status WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::JobEvent>* writer) override;
  grpc::Status ListEpisodes(grpc::ServerContext* context, const v1::ListEpisodesRequest* request,
                            v1::ListEpisodesResponse* response) override;
  grpc::Status GetBest(grpc::ServerContext* context, const v1::GetBestRequest* request,
                       v1::GetBestResponse* response) override;
  grpc::Status GetPareto(grpc::ServerContext* context, const v1::GetParetoRequest* request,
                         v1::GetParetoResponse* response) override;

 private:
  absl::StatusOr<v1::Job> Submit(const v1::SubmitJobRequest& request);
  absl::Status Watch(grpc::ServerContext& context, const v1::WatchJobRequest& request,
                     grpc::ServerWriter<v1::JobEvent>& writer);
  absl::StatusOr<v1::GetBestResponse> Best(const std::string& job);

  const JobContext context_;
  JobManager* const jobs_;
  StreamGuard* const streams_;
};

}  // namespace amc
