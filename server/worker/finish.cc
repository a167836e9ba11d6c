#include "server/worker/finish.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/npy.h"
#include "base/statistics.h"
#include "base/status_macros.h"
#include "env/checked_export.h"
#include "env/cost/cost_model.h"
#include "env/exec/evaluate.h"
#include "env/exec/network.h"
#include "env/graph/onnx_import.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/wrappers.pb.h"
#include "server/convert.h"
#include "server/job_error.h"
#include "server/job_settings.h"
#include "server/job_spec.h"
#include "server/rpc/waiting.h"

namespace amc {
namespace {

constexpr int kTimedRuns = 50;

v1::Measurement ToMeasurement(const Quality& quality, const Cost& cost) {
  return ToProto(Measurement{.top1 = quality.top1,
                             .top5 = quality.top5,
                             .loss = quality.loss,
                             .kl = quality.kl,
                             .soft_kl = quality.soft_kl,
                             .images = quality.images,
                             .cost = cost});
}

// The winner, strongly reconstructed; as it was ranked where that blows up.
absl::StatusOr<Measurement> StrongOrAsRanked(LocalEvaluator& evaluator, const Policy& policy,
                                             Graph& network) {
  AMC_ASSIGN_OR_RETURN(Measurement strong,
                       evaluator.EvaluateOne({policy}, Reconstruction::kStrong, &network));
  if (strong.infeasible.empty()) return strong;
  AMC_LOG(kWarning) << "strong reconstruction of the winner: " << strong.infeasible;
  AMC_ASSIGN_OR_RETURN(Measurement ranked,
                       evaluator.EvaluateOne({policy}, evaluator.reconstruction(), &network));
  if (ranked.infeasible.empty()) return ranked;
  return absl::FailedPreconditionError(ranked.infeasible);
}

// What both networks did with each report image, as docs/formats.md has it.
std::string OutcomesNpy(const std::vector<ImageOutcome>& original,
                        const std::vector<ImageOutcome>& compressed,
                        absl::Span<const int32_t> labels) {
  NpyArray array;
  array.shape = {static_cast<int64_t>(compressed.size()), 4};
  for (size_t i = 0; i < compressed.size(); ++i) {
    array.values.insert(array.values.end(),
                        {original[i].top1 ? 1.0F : 0.0F, compressed[i].top1 ? 1.0F : 0.0F,
                         static_cast<float>(compressed[i].kl), static_cast<float>(labels[i])});
  }
  return SerializeNpy(array);
}

// Medians of single-image runs in milliseconds, taken in turns so that both see the same machine.
absl::StatusOr<std::pair<double, double>> TimeBoth(const Graph& original, const Graph& compressed,
                                                   const DataPack& pack, ExecOptions exec) {
  exec.batch_size = 1;
  const std::vector<float> image = pack.Images(Split::kReward, 0, 1);
  std::unique_ptr<Network> networks[2];
  AMC_ASSIGN_OR_RETURN(networks[0], Network::Create(original, exec));
  AMC_ASSIGN_OR_RETURN(networks[1], Network::Create(compressed, exec));
  std::vector<double> times[2];
  for (int run = -5; run < kTimedRuns; ++run) {  // the first five warm up
    for (int i = 0; i < 2; ++i) {
      const absl::Time start = absl::Now();
      AMC_RETURN_IF_ERROR(CheckInterrupt());
      AMC_RETURN_IF_ERROR(networks[i]->Run(image, 1).status());
      if (run >= 0) times[i].push_back(absl::ToDoubleMilliseconds(absl::Now() - start));
    }
  }
  return std::make_pair(Median(times[0]), Median(times[1]));
}

}  // namespace

std::string PolicyJson(const Policy& policy) {
  std::string json = "{\"keep\": {";
  absl::string_view separator;
  for (const Decision& decision : policy.decisions) {
    google::protobuf::StringValue name;
    name.set_value(decision.target);
    std::string quoted;
    static_cast<void>(google::protobuf::util::MessageToJsonString(name, &quoted));
    absl::StrAppend(&json, separator, quoted, ": ", decision.kept);
    separator = ", ";
  }
  return absl::StrCat(json, "}}");
}

absl::StatusOr<v1::JobResult> FinishJob(const v1::JobSpec& spec, const Policy& policy,
                                        Workspace& work, ArtifactCache& cache,
                                        const TaskProgressFn& progress,
                                        const std::function<bool()>& cancelled) {
  const ExecOptions exec = ToExecOptions(spec.evaluation());
  progress("reconstructing the winner", 0, 1);
  Graph network;
  AMC_ASSIGN_OR_RETURN(const Measurement measurement,
                       StrongOrAsRanked(*work.evaluator, policy, network));
  v1::JobResult result;
  result.set_recalibrated(work.evaluator->recalibrated());
  if (cancelled()) return absl::CancelledError("the lease is lost");

  std::vector<float> logits;
  std::vector<ImageOutcome> original_outcomes, outcomes;
  EvaluateOptions report;
  report.exec = exec;
  report.max_images = spec.evaluation().report_images();
  report.progress = [&](int64_t done, int64_t total) { progress("report images", done, total); };
  report.logits = &logits;
  report.outcomes = &original_outcomes;
  AMC_ASSIGN_OR_RETURN(const Quality original,
                       Evaluate(work.graph, *work.pack, Split::kReport, report));
  report.logits = nullptr;
  report.reference_logits = logits;
  report.outcomes = &outcomes;
  AMC_ASSIGN_OR_RETURN(const Quality compressed,
                       Evaluate(network, *work.pack, Split::kReport, report));
  if (compressed.not_finite > 0) {
    return absl::FailedPreconditionError(DescribeNotFinite(compressed, Split::kReport));
  }
  AMC_ASSIGN_OR_RETURN(const Cost original_cost, CountCost(work.graph));
  *result.mutable_original() = ToMeasurement(original, original_cost);
  *result.mutable_compressed() = ToMeasurement(compressed, measurement.cost);
  if (cancelled()) return absl::CancelledError("the lease is lost");

  progress("exporting", 0, 1);
  network.metadata["amc.spec"] = SpecHash(spec);
  network.metadata["amc.policy"] = PolicyJson(policy);
  network.metadata["amc.top1"] = absl::StrFormat("%.6f", compressed.top1);
  network.metadata["amc.original_top1"] = absl::StrFormat("%.6f", original.top1);
  const absl::StatusOr<std::string> bytes = CheckedExport(network, work.pack.get(), exec);
  if (absl::IsDataLoss(bytes.status())) {
    return JobError(v1::FAILURE_REASON_EXPORT, bytes.status().message());
  }
  AMC_RETURN_IF_ERROR(bytes.status());
  AMC_ASSIGN_OR_RETURN(const Graph exported, ImportOnnx(*bytes));
  AMC_ASSIGN_OR_RETURN(const auto latency, TimeBoth(work.graph, exported, *work.pack, exec));
  result.set_original_latency_ms(latency.first);
  result.set_compressed_latency_ms(latency.second);
  result.set_original_bytes(work.model_bytes);
  result.set_compressed_bytes(static_cast<int64_t>(bytes->size()));
  const ArtifactCache::NoRoom no_room = [&](const std::string& why) {
    progress(absl::StrCat(kWaitingToStore, why), 0, 0);
  };
  const auto upload = [&](const std::string& artifact, v1::ArtifactKind kind,
                          absl::string_view what) {
    return cache.Upload(artifact, kind, absl::StrCat(spec.name(), what), no_room, cancelled);
  };
  AMC_ASSIGN_OR_RETURN(
      *result.mutable_outcomes(),
      upload(OutcomesNpy(original_outcomes, outcomes, work.pack->labels(Split::kReport)),
             v1::ARTIFACT_KIND_OUTCOMES, " outcomes"));
  AMC_ASSIGN_OR_RETURN(*result.mutable_model(),
                       upload(*bytes, v1::ARTIFACT_KIND_MODEL, " compressed"));
  return result;
}

}  // namespace amc
