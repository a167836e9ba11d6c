#include "server/worker/task_executor.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "env/exec/exec_options.h"
#include "env/graph/onnx_import.h"
#include "server/convert.h"
#include "server/job_error.h"
#include "server/job_settings.h"
#include "server/worker/finish.h"

namespace amc {
namespace {

// Jobs take turns on a worker; more than a few at once would only fill its memory.
constexpr size_t kWorkspaces = 3;

absl::Status CheckCancelled(const std::function<bool()>& cancelled) {
  return cancelled() ? absl::CancelledError("the lease is lost") : absl::OkStatus();
}

}  // namespace

std::string TaskExecutor::PlatformId() {
  const std::string id = NumericsId(ExecOptions());  // "cpu:PLATFORM:threadsN:..."
  const size_t begin = id.find(':') + 1;
  return id.substr(begin, id.find(":threads") - begin);
}

std::vector<std::string> TaskExecutor::Runtimes() {
  std::vector<std::string> runtimes;
  for (absl::string_view part : absl::StrSplit(PlatformId(), ':')) {
    if (absl::ConsumePrefix(&part, "torch")) runtimes.push_back(absl::StrCat("libtorch ", part));
  }
  for (std::string& runtime : TimingExecutor::HelperRuntimes()) {
    runtimes.push_back(std::move(runtime));
  }
  return runtimes;
}

v1::TaskError TaskExecutor::ToTaskError(const absl::Status& status) {
  v1::TaskError error;
  error.set_message(ToUtf8(status.message()));  // names of files and classes may be anything
  if (ReasonOf(status) == v1::FAILURE_REASON_EXPORT) {
    error.set_kind(v1::TASK_ERROR_KIND_EXPORT);
    return error;
  }
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition:
      error.set_kind(v1::TASK_ERROR_KIND_PERMANENT);
      break;
    default:  // disk, memory, network, a torch exception that memory may have caused
      error.set_kind(v1::TASK_ERROR_KIND_RETRYABLE);
  }
  return error;
}

absl::StatusOr<v1::TaskResult> TaskExecutor::Execute(const v1::Lease& lease,
                                                     const TaskProgressFn& progress,
                                                     const std::function<bool()>& cancelled) {
  const absl::Time start = absl::Now();
  const InterruptScope interrupt(cancelled);
  v1::TaskResult result;
  if (lease.kind() == v1::TASK_KIND_TIME) {
    absl::StatusOr<v1::TimingReport> report = timing_.Time(lease, progress, cancelled);
    if (report.ok()) {
      *result.mutable_timing() = *std::move(report);
    } else if (ToTaskError(report.status()).kind() == v1::TASK_ERROR_KIND_PERMANENT) {
      // The runtime does not take the network: that is no reason to lose a search.
      result.set_infeasible(ToUtf8(report.status().message()));
    } else {
      return report.status();
    }
    result.set_seconds(absl::ToDoubleSeconds(absl::Now() - start));
    return result;
  }
  if (lease.kind() == v1::TASK_KIND_MEASURE_LAYERS) {
    AMC_ASSIGN_OR_RETURN(*result.mutable_layers(),
                         timing_.MeasureLayers(lease, progress, cancelled));
    result.set_seconds(absl::ToDoubleSeconds(absl::Now() - start));
    return result;
  }
  const v1::EvaluationSpec& evaluation = lease.spec().evaluation();
  if (NumThreads() != evaluation.threads()) TuneProcess(static_cast<int>(evaluation.threads()));
  AMC_ASSIGN_OR_RETURN(Workspace* const work, Open(lease.spec(), progress, cancelled));
  result.set_numerics_id(JobNumericsId(PlatformId(), GpuId(), evaluation));
  LocalEvaluator& evaluator = *work->evaluator;
  if (lease.kind() == v1::TASK_KIND_BASELINE) {
    *result.mutable_measurement() = ToProto(evaluator.baseline());
  } else {
    const Policy policy = FromProto(lease.policy());
    if (lease.kind() == v1::TASK_KIND_EVALUATE) {
      if (evaluation.reconstruction() == v1::RECONSTRUCTION_FAST ||
          evaluation.reconstruction() == v1::RECONSTRUCTION_SAMPLED) {
        AMC_RETURN_IF_ERROR(evaluator.Prepare(
            [&](int64_t done, int64_t total) { progress("normal equations", done, total); }));
      }
      AMC_RETURN_IF_ERROR(CheckCancelled(cancelled));
      progress("evaluating", 0, 1);
      AMC_ASSIGN_OR_RETURN(const std::vector<Measurement> measurements,
                           evaluator.Evaluate({Candidate{policy, lease.images()}}));
      if (measurements[0].infeasible.empty()) {
        *result.mutable_measurement() = ToProto(measurements[0]);
      } else {
        result.set_infeasible(measurements[0].infeasible);
      }
    } else if (lease.kind() == v1::TASK_KIND_FINISH) {
      AMC_ASSIGN_OR_RETURN(*result.mutable_result(),
                           FinishJob(lease.spec(), policy, *work, *cache_, progress, cancelled));
    } else {
      return absl::UnimplementedError(
          absl::StrCat("task kind ", static_cast<int>(lease.kind()), " is unknown to this worker"));
    }
  }
  AMC_RETURN_IF_ERROR(CheckCancelled(cancelled));
  result.set_seconds(absl::ToDoubleSeconds(absl::Now() - start));
  return result;
}

absl::StatusOr<Workspace*> TaskExecutor::Open(const v1::JobSpec& spec,
                                              const TaskProgressFn& progress,
                                              const std::function<bool()>& cancelled) {
  const std::string key =
      absl::StrCat(spec.model(), spec.data(), spec.evaluation().SerializeAsString());
  for (auto it = workspaces_.begin(); it != workspaces_.end(); ++it) {
    if ((*it)->key != key) continue;
    workspaces_.splice(workspaces_.begin(), workspaces_, it);
    return workspaces_.front().get();
  }
  while (workspaces_.size() >= kWorkspaces) workspaces_.pop_back();
  auto work = std::make_unique<Workspace>();
  work->key = key;
  const ArtifactCache::Progress download = [&](int64_t done, int64_t total) {
    progress("downloading", done, total);
  };
  AMC_ASSIGN_OR_RETURN(const std::string model, cache_->Path(spec.model(), download, cancelled));
  AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(model));
  work->model_bytes = static_cast<int64_t>(bytes.size());
  AMC_ASSIGN_OR_RETURN(work->graph, ImportOnnx(bytes));
  AMC_ASSIGN_OR_RETURN(const std::string pack, cache_->Path(spec.data(), download, cancelled));
  AMC_ASSIGN_OR_RETURN(work->pack, DataPack::Open(pack));
  AMC_RETURN_IF_ERROR(CheckCancelled(cancelled));
  AMC_RETURN_IF_ERROR(CheckDevice(ToExecOptions(spec.evaluation()).device));
  progress("measuring the original", 0, 1);
  AMC_ASSIGN_OR_RETURN(work->evaluator,
                       LocalEvaluator::Create(work->graph, *work->pack, ToEvaluatorOptions(spec)));
  workspaces_.push_front(std::move(work));
  return workspaces_.front().get();
}

}  // namespace amc
