// run --stages: deep compression in steps, half and then half again. Stage k searches the network
// that stage k - 1 has strongly reconstructed; what its result may cost is a share of the first
// original's cost, so that stages do not drift. What the search may cost (--episodes) is split
// evenly over the stages, so that a staged run costs as much as one in a single step.
//
// Each stage is a job of its own, on the model that the one before has left. The same command finds
// the finished ones in the folder and goes on with the first that is not.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "amc/v1/inspect.pb.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "google/protobuf/util/json_util.h"
#include "server/cli/client.h"
#include "server/cli/engine_call.h"
#include "server/cli/format.h"
#include "server/cli/local_jobs.h"
#include "server/cli/run.h"
#include "server/cli/stages.h"

namespace amc {
namespace {

class StagedRun {
 public:
  explicit StagedRun(const RunArgs& args) : args_(args), server_(args.output) {}

  absl::Status Execute() { return OrWhyStopped(server_, Work()); }

 private:
  absl::Status Work() {
    AMC_RETURN_IF_ERROR(CheckStages(args_.stages));
    JobFlags flags = args_.job;
    flags.budget = {RoundTrip(args_.stages.front())};
    AMC_ASSIGN_OR_RETURN(const v1::JobSpec local, MakeJobSpec(flags));
    AMC_RETURN_IF_ERROR(CheckBeforeStart(local));
    AMC_RETURN_IF_ERROR(server_.Start());
    server_.tree().OnStop([this] { client().CancelCalls(); });
    v1::JobSpec spec = local;
    AMC_RETURN_IF_ERROR(UploadInputs(client(), spec));
    AMC_RETURN_IF_ERROR(FindFinished(spec));
    while (stages_.size() < args_.stages.size()) {
      AMC_RETURN_IF_ERROR(RunNext(spec, flags, local));
    }
    for (StageResult& stage : stages_) {
      AMC_ASSIGN_OR_RETURN(stage.kl_from_original, KlFromOriginal(stage.job));
    }
    return WriteResult();
  }

  // What the next stage searches.
  v1::JobSpec NextSpec(const v1::JobSpec& spec) const {
    return SpecOfStage(spec, args_.stages, stages_.size(),
                       stages_.empty() ? nullptr : &stages_.front().job,
                       stages_.empty() ? nullptr : &stages_.back().job);
  }

  // Takes over the folder's finished stages. Whatever else it holds is overwritten only if --force
  // says so.
  absl::Status FindFinished(const v1::JobSpec& spec) {
    AMC_ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, ListAllJobs(client()));
    std::vector<std::string> ours;
    v1::JobSpec wanted;
    while (stages_.size() < args_.stages.size()) {
      wanted = NextSpec(spec);
      const v1::Job* same = FindSame(jobs, wanted);
      if (same == nullptr) break;
      ours.push_back(same->id());
      if (same->state() != v1::JOB_STATE_SUCCEEDED) break;
      stages_.push_back({.job = *same});
    }
    if (!args_.force && !jobs.empty() &&
        std::find(ours.begin(), ours.end(), jobs.front().id()) == ours.end()) {
      AMC_RETURN_IF_ERROR(CheckReplaceable(args_, jobs.front(), wanted));
    }
    return CancelOthers(client(), jobs, ours);
  }

  absl::Status RunNext(const v1::JobSpec& spec, const JobFlags& flags, const v1::JobSpec& local) {
    const size_t number = stages_.size() + 1;
    const v1::JobSpec next = NextSpec(spec);
    AMC_ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, ListAllJobs(client()));
    const v1::Job* same = FindSame(jobs, next);
    absl::StatusOr<v1::Job> job =
        same != nullptr ? TakeUp(client(), *same) : SubmitOnce(client(), jobs, "stage", next);
    if (!job.ok()) {
      return Annotate(InTermsOfFlags(job.status(), flags, local), absl::StrCat("stage ", number));
    }
    if (!workers_started_) {
      AMC_RETURN_IF_ERROR(
          StartWorkers(server_, job->spec(), WorkersFor(job->spec(), args_.workers, 1)));
      workers_started_ = true;
    }
    std::fputs(absl::StrFormat("stage %d of %d: %s of the original\n", number, args_.stages.size(),
                               Percent(args_.stages[number - 1]))
                   .c_str(),
               stderr);
    FollowOptions options;
    if (!stages_.empty()) {
      options.beginning = absl::StrCat("stage ", stages_.size(), "'s network");
      options.whole = stages_.front().job.original_cost();
    }
    AMC_ASSIGN_OR_RETURN(const v1::Job ended,
                         FollowLocally(server_, job->id(), std::move(options)));
    AMC_RETURN_IF_ERROR(Annotate(
        JobOutcome(ended, absl::StrCat("Its history is kept; the same command tries again. Logs: ",
                                       server_.log_folder())),
        absl::StrCat("stage ", number)));
    stages_.push_back({.job = ended});
    return absl::OkStatus();
  }

  // A stage knows the KL divergence from the network it began with, which is the first original for
  // the first stage alone: measured anew for the others.
  absl::StatusOr<double> KlFromOriginal(const v1::Job& job) {
    const v1::JobSpec& first = stages_.front().job.spec();
    if (job.spec().model() == first.model()) return job.result().compressed().kl();
    const v1::EvaluationSpec& evaluation = first.evaluation();
    std::vector<std::string> arguments = {
        "eval",        server_.ArtifactPath(job.result().model()),
        "--data",      server_.ArtifactPath(first.data()),
        "--reference", server_.ArtifactPath(first.model()),
        "--split",     "report",
        "--limit",     absl::StrCat(evaluation.report_images()),
        "--batch",     absl::StrCat(evaluation.batch_size()),
        "--threads",   absl::StrCat(evaluation.threads()),
        "--device",    evaluation.device() == v1::DEVICE_CUDA ? "cuda" : "cpu",
        "--json"};
    if (evaluation.precision() == v1::PRECISION_BF16) arguments.emplace_back("--bf16");
    AMC_ASSIGN_OR_RETURN(const std::string said,
                         CallEngine(arguments, static_cast<int>(evaluation.threads()),
                                    [this] { return server_.tree().status(); }));
    v1::EvalInfo info;
    if (!google::protobuf::util::JsonStringToMessage(said, &info).ok()) {
      return absl::InternalError(absl::StrCat("amc eval printed no EvalInfo: ", said));
    }
    return info.measurement().kl();
  }

  // The folders stage-k/ of an earlier run that had more stages.
  absl::Status RemoveOtherStages() {
    std::error_code error;
    std::vector<std::filesystem::path> others;
    for (std::filesystem::directory_iterator at(server_.folder(), error), end; !error && at != end;
         at.increment(error)) {
      const std::string name = at->path().filename().string();
      int64_t number = 0;
      if (absl::StartsWith(name, "stage-") && absl::SimpleAtoi(name.substr(6), &number) &&
          number > static_cast<int64_t>(stages_.size())) {
        others.push_back(at->path());
      }
    }
    if (error) return ErrnoToStatus(error.value(), "list", server_.folder());
    for (const std::filesystem::path& path : others) {
      std::filesystem::remove_all(path, error);
      if (error) return ErrnoToStatus(error.value(), "remove", path.string());
    }
    return absl::OkStatus();
  }

  absl::Status WriteResult() {
    for (size_t i = 0; i < stages_.size(); ++i) {
      AMC_RETURN_IF_ERROR(WriteResultFiles(client(), stages_[i].job,
                                           absl::StrCat(server_.folder(), "/stage-", i + 1)));
    }
    AMC_RETURN_IF_ERROR(WriteResultFiles(client(), stages_.back().job, server_.folder()));
    AMC_RETURN_IF_ERROR(RemoveOtherStages());
    const std::string json = StagesJson(args_.stages, stages_);
    AMC_RETURN_IF_ERROR(WriteFileAtomically(server_.folder() + "/stages.json", json));
    std::fputs(args_.json
                   ? json.c_str()
                   : absl::StrCat("\n", StagesTable(args_.stages, stages_),
                                  WhatIsThere(args_, server_.folder(),
                                              "  stage-1/ ...   the same of each stage\n"
                                              "  stages.json    what each stage has come to\n"))
                         .c_str(),
               stdout);
    return absl::OkStatus();
  }

  Client& client() { return server_.client(); }

  const RunArgs& args_;
  PrivateServer server_;
  std::vector<StageResult> stages_;  // finished
  bool workers_started_ = false;
};

}  // namespace

absl::Status RunStages(const RunArgs& args) { return StagedRun(args).Execute(); }

}  // namespace amc
