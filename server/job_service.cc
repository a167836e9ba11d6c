#include "server/job_service.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/job_spec.h"
#include "server/pareto.h"
#include "server/rpc/job_state.h"
#include "server/rpc/status_convert.h"
#include "server/submission.h"

namespace amc {
namespace {

constexpr int64_t kEventBatch = 256;
// How often a watcher looks whether its client is still there.
constexpr absl::Duration kLook = absl::Milliseconds(500);

template <typename T>
grpc::Status Answer(absl::StatusOr<T> result, T* response) {
  if (!result.ok()) return ToGrpcStatus(result.status());
  *response = *std::move(result);
  return grpc::Status::OK;
}

}  // namespace

grpc::Status JobServiceImpl::SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest* request,
                                       v1::Job* response) {
  return Answer(Submit(*request), response);
}

absl::StatusOr<v1::Job> JobServiceImpl::Submit(const v1::SubmitJobRequest& request) {
  if (request.request_id().empty() || request.request_id().size() > 128) {
    return FieldError("request_id", absl::StrCat("has ", request.request_id().size(),
                                                 " characters, not 1 to 128"));
  }
  // A repeat is one of the spec as it was sent: what defaults make of it may change with a version.
  const std::string hash = SpecHash(request.spec());
  absl::StatusOr<v1::Job> known = context_.store->FindRequest(request.request_id(), hash);
  if (!absl::IsNotFound(known.status())) return known;
  AMC_ASSIGN_OR_RETURN(v1::Job job, PrepareJob(request.spec(), *context_.store, *context_.artifacts,
                                               *context_.models));
  return jobs_->Submit(std::move(job), request.request_id(), hash);
}

grpc::Status JobServiceImpl::GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                                    v1::Job* response) {
  return Answer(context_.store->GetJob(request->id()), response);
}

grpc::Status JobServiceImpl::ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                                      v1::ListJobsResponse* response) {
  grpc::Status status = Answer(context_.store->ListJobs(*request), response);
  for (v1::Job& job : *response->mutable_jobs()) job.clear_series();  // GetJob has it: it is long
  return status;
}

grpc::Status JobServiceImpl::CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request,
                                       v1::Job* response) {
  return Answer(jobs_->Cancel(request->id()), response);
}

grpc::Status JobServiceImpl::ResumeJob(grpc::ServerContext*, const v1::ResumeJobRequest* request,
                                       v1::Job* response) {
  return Answer(jobs_->Resume(request->id(), request->more_episodes()), response);
}

grpc::Status JobServiceImpl::DeleteJob(grpc::ServerContext*, const v1::DeleteJobRequest* request,
                                       v1::DeleteJobResponse*) {
  return ToGrpcStatus(jobs_->Delete(request->id()));
}

grpc::Status JobServiceImpl::WatchJob(grpc::ServerContext* context,
                                      const v1::WatchJobRequest* request,
                                      grpc::ServerWriter<v1::JobEvent>* writer) {
  return ToGrpcStatus(Watch(*context, *request, *writer));
}

absl::Status JobServiceImpl::Watch(grpc::ServerContext& context, const v1::WatchJobRequest& request,
                                   grpc::ServerWriter<v1::JobEvent>& writer) {
  AMC_ASSIGN_OR_RETURN(StreamGuard::Stream stream, streams_->Enter(context, "WatchJob"));
  int64_t sequence = request.after_sequence();
  EventHub::News news;
  while (true) {
    // The job before its events: an end that is seen here has its events in the store.
    AMC_ASSIGN_OR_RETURN(const v1::Job job, context_.store->GetJob(request.id()));
    while (true) {
      AMC_ASSIGN_OR_RETURN(const std::vector<v1::JobEvent> events,
                           context_.store->Events(request.id(), sequence, kEventBatch));
      for (const v1::JobEvent& event : events) {
        if (!writer.Write(event)) return absl::CancelledError("the client went away");
        sequence = event.sequence();
        stream.Moved();
      }
      if (events.empty()) break;
    }
    if (HasEnded(job.state())) return absl::OkStatus();
    if (news.progress.has_value() && !writer.Write(*news.progress)) {
      return absl::CancelledError("the client went away");
    }
    const uint64_t seen = news.version;
    do {
      news = context_.hub->Wait(request.id(), seen, kLook);
      if (context.IsCancelled()) return absl::CancelledError("the client went away");
      if (news.shutdown) return absl::UnavailableError("the server is shutting down");
      stream.Moved();  // it is we who wait
    } while (news.version == seen);
  }
}

grpc::Status JobServiceImpl::ListEpisodes(grpc::ServerContext*,
                                          const v1::ListEpisodesRequest* request,
                                          v1::ListEpisodesResponse* response) {
  return Answer(context_.store->ListEpisodes(*request), response);
}

grpc::Status JobServiceImpl::GetBest(grpc::ServerContext*, const v1::GetBestRequest* request,
                                     v1::GetBestResponse* response) {
  return Answer(Best(request->job()), response);
}

grpc::Status JobServiceImpl::GetPareto(grpc::ServerContext*, const v1::GetParetoRequest* request,
                                       v1::GetParetoResponse* response) {
  return Answer(amc::GetPareto(*request, *context_.store, *context_.models), response);
}

absl::StatusOr<v1::GetBestResponse> JobServiceImpl::Best(const std::string& id) {
  AMC_ASSIGN_OR_RETURN(v1::Job job, context_.store->GetJob(id));
  v1::GetBestResponse response;
  // A winner that was measured need not be the best by reward.
  const bool has_winner = job.state() == v1::JOB_STATE_SUCCEEDED && !job.spec().has_build();
  AMC_ASSIGN_OR_RETURN(*response.mutable_episode(),
                       has_winner ? context_.store->GetEpisode(id, job.result().episode())
                                  : context_.store->BestEpisode(id));
  if (job.has_result()) *response.mutable_result() = std::move(*job.mutable_result());
  return response;
}

}  // namespace amc
