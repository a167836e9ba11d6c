#include "server/submission.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "agent/search.h"
#include "base/status_macros.h"
#include "server/convert.h"
#include "server/job_error.h"
#include "server/job_settings.h"
#include "server/job_spec.h"
#include "server/rpc/status_convert.h"
#include "server/table_plan.h"

namespace amc {
namespace {

// Model and data agree on the images' shape and on the number of classes.
absl::Status CheckFit(const Graph& graph, const DataPack& pack) {
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1) {
    return FieldError("spec.model",
                      absl::StrCat("has ", graph.inputs.size(), " inputs and ",
                                   graph.outputs.size(), " outputs; a classifier has one of each"));
  }
  const Tensor& input = graph.tensor(graph.inputs[0]);
  const Shape image = {pack.channels(), pack.height(), pack.width()};
  if (input.shape_known && (input.shape.size() != 4 ||
                            !std::equal(image.begin(), image.end(), input.shape.begin() + 1))) {
    return FieldError("spec.data",
                      absl::StrCat("images are ", ShapeToString(image), ", the model's input is ",
                                   ShapeToString(input.shape)));
  }
  const Tensor& output = graph.tensor(graph.outputs[0]);
  const auto classes = static_cast<int64_t>(pack.class_names().size());
  if (output.shape_known && !output.shape.empty() && output.shape.back() != classes) {
    return FieldError("spec.data", absl::StrCat("has ", classes, " classes, the model's output is ",
                                                ShapeToString(output.shape)));
  }
  if (pack.size(Split::kReconstruction) == 0 || pack.size(Split::kReward) == 0 ||
      pack.size(Split::kReport) == 0) {
    return FieldError(
        "spec.data", absl::StrCat("has ", pack.size(Split::kReconstruction), " reconstruction, ",
                                  pack.size(Split::kReward), " reward and ",
                                  pack.size(Split::kReport), " report images; a search needs all"));
  }
  return absl::OkStatus();
}

// How many images a full evaluation measures.
int64_t RewardImages(const v1::JobSpec& spec, const DataPack& pack) {
  const int64_t size = pack.size(Split::kReward), asked = spec.evaluation().reward_images();
  return asked > 0 ? std::min(asked, size) : size;
}

// What is learnt from another job's history has to have been measured as this one's will be.
absl::Status CheckLearnFrom(const v1::JobSpec& spec, Store& store) {
  for (int i = 0; i < spec.search().learn_from_size(); ++i) {
    const std::string field = absl::StrCat("spec.search.learn_from[", i, "]");
    const absl::StatusOr<v1::Job> job = store.GetJob(spec.search().learn_from(i));
    const absl::Status ended = CheckEnded(job);
    if (!ended.ok()) return AtField(ended, field);
    const auto measured_as = [](const v1::JobSpec& of) {
      v1::EvaluationSpec evaluation = of.evaluation();
      evaluation.clear_report_images();
      return absl::StrCat(of.model(), of.data(), evaluation.SerializeAsString(), "|",
                          of.space().sparsity().SerializeAsString());
    };
    if (measured_as(job->spec()) != measured_as(spec)) {
      return FieldError(field,
                        absl::StrCat("job ", job->id(),
                                     " has another model, data pack, evaluation or sparsity: its "
                                     "measurements do not compare with this job's"));
    }
  }
  return absl::OkStatus();
}

// "spec.budget" for what concerns it, "spec.space" otherwise: which part AmcEnv::Create minds.
absl::string_view EnvironmentField(const absl::Status& status) {
  return status.code() == absl::StatusCode::kOutOfRange ? "spec.budget" : "spec.space";
}

}  // namespace

absl::Status CheckEnded(const absl::StatusOr<v1::Job>& job) {
  AMC_RETURN_IF_ERROR(job.status());
  if (job->state() == v1::JOB_STATE_SUCCEEDED || job->state() == v1::JOB_STATE_FAILED ||
      job->state() == v1::JOB_STATE_CANCELLED) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat("job ", job->id(), " has not ended (",
                                                    v1::JobState_Name(job->state()),
                                                    "): its history still changes"));
}

absl::StatusOr<v1::Job> PrepareJob(const v1::JobSpec& spec, Store& store,
                                   const ArtifactStore& artifacts, ModelCache& models) {
  v1::Job job;
  AMC_ASSIGN_OR_RETURN(*job.mutable_spec(), ResolveJobSpec(spec));
  if (spec.has_build()) return PrepareTableJob(job.spec(), store, models);
  const std::string& model = job.spec().model();
  const std::string& data = job.spec().data();
  absl::StatusOr<std::shared_ptr<const Graph>> graph = models.Model(model);
  if (!graph.ok()) return AtField(graph.status(), "spec.model");
  const absl::StatusOr<std::string> pack_path = artifacts.Path(data);
  if (!pack_path.ok()) return AtField(pack_path.status(), "spec.data");
  const absl::StatusOr<std::unique_ptr<DataPack>> pack = DataPack::Open(*pack_path);
  if (!pack.ok()) return AtField(pack.status(), "spec.data");
  AMC_RETURN_IF_ERROR(CheckFit(**graph, **pack));

  if (!job.spec().latency().table().empty()) {
    std::string& table = *job.mutable_spec()->mutable_latency()->mutable_table();
    const absl::StatusOr<v1::LatencyTableInfo> info = store.FindLatencyTable(table);
    if (!info.ok()) return AtField(info.status(), "spec.latency.table");
    table = info->digest();
    if (!job.spec().space().has_sparsity()) {
      AMC_RETURN_IF_ERROR(AtField(models.Latency(model, table).status(), "spec.latency.table"));
    }
  }
  EnvironmentSettings settings = SettingsOf(job.spec());
  AMC_RETURN_IF_ERROR(models.DecideSpace(model, settings));
  *job.mutable_spec()->mutable_space() = settings.space;
  absl::StatusOr<std::unique_ptr<Environment>> env = models.MakeEnvironment(model, settings);
  if (!env.ok()) return AtField(env.status(), EnvironmentField(env.status()));
  const CostModel& costs = (*env)->cost_model();
  *job.mutable_original_cost() = ToProto(costs.Evaluate(costs.channels()));
  if (job.spec().has_budget()) job.set_budget_limit((*env)->bounds()[0].limit);

  absl::StatusOr<std::unique_ptr<Search>> search = Search::Create(
      *std::move(env), ToSearchOptions(job.spec(), RewardImages(job.spec(), **pack)));
  if (!search.ok()) return AtField(search.status(), "spec.search");
  AMC_RETURN_IF_ERROR(CheckLearnFrom(job.spec(), store));
  job.set_evaluation_work((*search)->evaluation_work());
  if (job.spec().name().empty()) {
    const absl::StatusOr<v1::Artifact> artifact = store.GetArtifact(model);
    job.mutable_spec()->set_name(artifact.ok() && !artifact->name().empty() ? artifact->name()
                                                                            : (*graph)->name);
  }
  job.set_state(v1::JOB_STATE_QUEUED);
  job.set_best_episode(-1);
  return job;
}

double WeakBaselineBound(double chance, int64_t images) {
  const double deviation =
      std::sqrt(chance * (1 - chance) / static_cast<double>(std::max<int64_t>(images, 1)));
  return chance + std::max(0.15 * (1 - chance), 3 * deviation);
}

absl::Status CheckBaseline(const v1::Measurement& baseline, const DataPack& pack) {
  const size_t classes = std::max<size_t>(pack.class_names().size(), 1);
  std::vector<int64_t> counts(classes, 0);
  const absl::Span<const int32_t> labels =
      pack.labels(Split::kReward).subspan(0, static_cast<size_t>(baseline.images()));
  for (const int32_t label : labels) ++counts[static_cast<size_t>(label)];
  const double commonest = static_cast<double>(*std::max_element(counts.begin(), counts.end())) /
                           static_cast<double>(std::max<size_t>(labels.size(), 1));
  const double chance = std::max(commonest, 1.0 / static_cast<double>(classes));
  if (baseline.top1() > WeakBaselineBound(chance, baseline.images())) return absl::OkStatus();
  const Preprocessing& preprocessing = pack.preprocessing();
  return JobError(
      v1::FAILURE_REASON_WEAK_BASELINE,
      absl::StrFormat(
          "the original network gets %.1f%% of %d reward images right, and always answering the "
          "commonest class gets %.1f%%. Most likely its preprocessing is not the data pack's "
          "(pixels / 255, minus mean %s, over deviation %s) or the order of its classes is not "
          "%s. Pack the data again with what the network was trained with, or set "
          "allow_weak_baseline",
          100 * baseline.top1(), baseline.images(), 100 * chance,
          absl::StrJoin(preprocessing.mean, " "), absl::StrJoin(preprocessing.deviation, " "),
          classes <= 12 ? absl::StrJoin(pack.class_names(), ", ") : "the pack's"));
}

}  // namespace amc
