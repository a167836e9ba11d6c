#include "server/cli/local_jobs.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/cli/checks.h"
#include "server/cli/client.h"
#include "server/cli/engine.h"
#include "server/cli/exit_status.h"
#include "server/cli/history.h"
#include "server/cli/input_check.h"
#include "server/cli/job_comparison.h"
#include "server/cli/json.h"
#include "server/rpc/job_state.h"

namespace amc {
namespace {

constexpr absl::Duration kStallPatience = absl::Seconds(15);

}  // namespace

absl::Status CheckBeforeStart(const v1::JobSpec& local) {
  AMC_RETURN_IF_ERROR(CheckInputs(local));
  const v1::Device device = local.evaluation().device();
  if (device == v1::DEVICE_UNSPECIFIED) return absl::OkStatus();
  return CheckEngineDevice(ShortEnumName(*v1::Device_descriptor()->FindValueByNumber(device)));
}

int64_t WorkersFor(const v1::JobSpec& spec, int asked, int64_t jobs) {
  if (asked > 0) return asked;
  const v1::JobSpec full = WithDefaults(spec);
  const int64_t at_once = jobs * std::max<int64_t>(1, full.search().parallel_episodes());
  const int64_t threads = std::max<int64_t>(1, full.evaluation().threads());
  return std::clamp<int64_t>(AvailableCores() / threads, 1, at_once);
}

absl::Status StartWorkers(PrivateServer& server, const v1::JobSpec& spec, int64_t workers) {
  const auto threads = static_cast<int>(std::max<int64_t>(1, spec.evaluation().threads()));
  for (int64_t i = 1; i <= workers; ++i) {
    AMC_RETURN_IF_ERROR(server.StartWorker(i, threads));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::Job>> ListAllJobs(Client& client) {
  std::vector<v1::Job> jobs;
  v1::ListJobsRequest request;
  request.set_page_size(100);
  do {
    AMC_ASSIGN_OR_RETURN(const v1::ListJobsResponse page,
                         client.Call(client.jobs(), &v1::JobService::Stub::ListJobs, request));
    jobs.insert(jobs.end(), page.jobs().begin(), page.jobs().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return jobs;
}

const v1::Job* FindSame(const std::vector<v1::Job>& jobs, const v1::JobSpec& spec) {
  const auto same = std::find_if(jobs.begin(), jobs.end(), [&](const v1::Job& job) {
    return Differences(job.spec(), spec).empty();
  });
  return same == jobs.end() ? nullptr : &*same;
}

absl::StatusOr<v1::Job> SubmitOnce(Client& client, const std::vector<v1::Job>& known,
                                   absl::string_view prefix, const v1::JobSpec& spec) {
  v1::JobSpec resolved = WithDefaults(spec);
  resolved.clear_name();
  std::string identity = resolved.SerializeAsString();
  v1::SubmitJobRequest request;
  *request.mutable_spec() = spec;
  while (true) {
    request.set_request_id(absl::StrCat(prefix, "-", Sha256Hex(identity)));
    AMC_ASSIGN_OR_RETURN(const v1::Job job,
                         client.Call(client.jobs(), &v1::JobService::Stub::SubmitJob, request));
    const bool is_new = std::none_of(known.begin(), known.end(),
                                     [&](const v1::Job& other) { return other.id() == job.id(); });
    if (is_new || Differences(job.spec(), spec).empty()) return job;
    absl::StrAppend(&identity, job.id());
  }
}

absl::StatusOr<v1::Job> TakeUp(Client& client, const v1::Job& job) {
  if (job.state() == v1::JOB_STATE_SUCCEEDED || !HasEnded(job.state())) return job;
  v1::ResumeJobRequest resume;
  resume.set_id(job.id());
  return client.Call(client.jobs(), &v1::JobService::Stub::ResumeJob, resume);
}

absl::Status CancelOthers(Client& client, const std::vector<v1::Job>& jobs,
                          const std::vector<std::string>& kept) {
  for (const v1::Job& job : jobs) {
    if (HasEnded(job.state()) || std::find(kept.begin(), kept.end(), job.id()) != kept.end()) {
      continue;
    }
    v1::CancelJobRequest cancel;
    cancel.set_id(job.id());
    AMC_RETURN_IF_ERROR(
        client.Call(client.jobs(), &v1::JobService::Stub::CancelJob, cancel).status());
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Job> FollowLocally(PrivateServer& server, const std::string& id,
                                      FollowOptions options) {
  options.patience = kStallPatience;
  options.news = [&server] { return server.tree().TakeNews(); };
  absl::StatusOr<v1::Job> job = FollowJob(server.client(), id, options);
  if (absl::IsResourceExhausted(job.status())) {
    return WithHint(job.status(),
                    "Nothing is lost: the same command goes on where it stopped, once there is "
                    "space.");
  }
  return job;
}

absl::Status OrWhyStopped(const PrivateServer& server, const absl::Status& status) {
  const absl::Status stopped = server.tree().status();
  if (status.ok() || stopped.ok()) return status;
  return WithHint(stopped, absl::IsCancelled(stopped)
                               ? "Nothing is lost: the same command goes on where it stopped."
                               : "What was measured is kept: the same command goes on.");
}

absl::Status WriteResultFiles(Client& client, const v1::Job& job, const std::string& folder) {
  AMC_RETURN_IF_ERROR(MakeDirectories(folder));
  AMC_ASSIGN_OR_RETURN(const v1::GetBestResponse best, client.GetBest(job.id()));
  AMC_RETURN_IF_ERROR(client.Download(job.result().model(), folder + "/model.onnx"));
  AMC_RETURN_IF_ERROR(
      WriteFileAtomically(folder + "/policy.json", PolicyFileJson(best.episode().policy())));
  v1::ListEpisodesRequest request;
  request.set_job(job.id());
  request.set_with_steps(true);
  std::string lines;
  AMC_RETURN_IF_ERROR(ForEachEpisode(client, request, 0, [&](const v1::Episode& episode) {
    absl::StrAppend(&lines, CanonicalLine(episode), "\n");
  }));
  return WriteFileAtomically(folder + "/history.jsonl", lines);
}

}  // namespace amc
