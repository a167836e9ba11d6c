#include "server/cli/job_flags.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/cli/budget_text.h"
#include "server/cli/checks.h"
#include "server/cli/exit_status.h"
#include "server/cli/job_field.h"
#include "server/cli/job_template.h"
#include "server/cli/json.h"
#include "server/cli/latency_file.h"
#include "server/cli/sparsity_text.h"
#include "server/rpc/latency_convert.h"
#include "server/rpc/sparse_defaults.h"

namespace amc {
namespace {

using google::protobuf::EnumDescriptor;

template <typename T>
void Collect(std::vector<std::string>& assignments, const char* field,
             const std::optional<T>& value) {
  if (!value) return;
  if constexpr (std::is_same_v<T, double>) {
    assignments.push_back(absl::StrCat(field, "=", absl::StrFormat("%.17g", *value)));
  } else {
    assignments.push_back(absl::StrCat(field, "=", *value));
  }
}

// A policy file as the spec has policies: by the groups' names, whatever their order in the file.
absl::StatusOr<v1::Policy> ReadPolicy(const std::string& path, v1::Granularity granularity) {
  AMC_ASSIGN_OR_RETURN(const v1::PolicyFile file, ReadPolicyFile(path));
  v1::Policy policy;
  for (const auto& [group, kept] :
       std::map<std::string, int64_t>(file.keep().begin(), file.keep().end())) {
    v1::Decision& decision = *policy.add_decisions();
    decision.set_target(group);
    decision.set_granularity(granularity);
    decision.set_kept(kept);
  }
  return policy;
}

// The first --budget is the budget, those that follow are bounds beside it.
absl::Status SetBudget(const JobFlags& flags, v1::Budget& budget) {
  if (flags.budget.size() > 1 && flags.resource.has_value()) {
    return UsageError("--resource with several --budget: write --budget RESOURCE=TARGET");
  }
  budget.clear_also();
  for (size_t i = 0; i < flags.budget.size(); ++i) {
    AMC_ASSIGN_OR_RETURN(v1::BudgetBound bound, ParseBudget(flags.budget[i]));
    if (i > 0) {
      if (bound.resource() == v1::RESOURCE_UNSPECIFIED) bound.set_resource(v1::RESOURCE_MACS);
      *budget.add_also() = bound;
      continue;
    }
    if (bound.resource() != v1::RESOURCE_UNSPECIFIED) {
      if (flags.resource.has_value()) {
        return UsageError("--resource beside --budget RESOURCE=TARGET: give one of them");
      }
      budget.set_resource(bound.resource());
    }
    if (bound.has_ratio()) {
      budget.set_ratio(bound.ratio());
    } else {
      budget.set_absolute(bound.absolute());
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> KnownAgents() {
  return {"hybrid",     "dp",      "sensitivity", "evolution", "ddpg",
          "ddpg-paper", "uniform", "stages",      "random",    "netadapt"};
}

void AddJobFlags(CLI::App& app, JobFlags& flags) {
  const v1::JobSpec defaults = DefaultJobSpec();
  const v1::SearchSpec& search = defaults.search();
  const v1::EvaluationSpec& evaluation = defaults.evaluation();
  const auto defaulting = [](absl::string_view what, const auto& value) {
    return absl::StrCat(what, "; default ", value);
  };
  const auto named = [](auto value, const EnumDescriptor* type) {
    return ShortEnumName(*type->FindValueByNumber(value));
  };
  app.add_option("--data", flags.data, "Data pack (amc data pack), or its digest");
  app.add_option("--name", flags.name, "A name for people; default the model's");
  auto* ratio =
      app.add_option(
             "--budget", flags.budget,
             "What the result may cost: a ratio of the original's MACs, above 0 and at most 1 "
             "(0.5 halves them), or of another resource (params=0.5), or an amount "
             "(latency=20ms, model_bytes=1M, memory=512K); may be repeated")
          ->allow_extra_args(false)
          ->check(BudgetText());
  app.add_option("--budget-absolute", flags.budget_absolute, "The same as a number")
      ->check(AtLeast(1))
      ->excludes(ratio);
  app.add_option("--resource", flags.resource, "What the budget is on; default macs")
      ->transform(ResourceText());
  app.add_option("--latency-table", flags.latency_table,
                 "What latency is predicted from: a file of a table (`amc lut`) or a digest");
  app.add_option("--finalists", flags.finalists,
                 "How many of the best are measured at a time on the table's runtime before one "
                 "wins; 0: none, predictions are trusted; default 4, where a worker can measure so")
      ->check(WholeBetween(0, 64));
  app.add_flag("--must-measure", flags.must_measure,
               "Wait for a worker that can measure so, rather than end with a prediction");
  app.add_flag("--no-land", flags.no_land, "Let candidates stay below the budget");
  app.add_option("--agent", flags.agent, defaulting("What draws candidates", search.agent()))
      ->check(CLI::IsMember(KnownAgents()));
  app.add_option("--seed", flags.seed, defaulting("Seed of the search", search.seed()))
      ->check(Seed());
  app.add_option("--episodes", flags.episodes,
                 defaulting("What the search may cost, in evaluations of a candidate on all reward "
                            "images; probes and screenings count by their share",
                            search.episodes()))
      ->check(WholeBetween(1, 100'000'000));
  app.add_option("--parallel-episodes", flags.parallel_episodes,
                 defaulting("Candidates drawn at once; more workers than this are idle",
                            search.parallel_episodes()))
      ->check(WholeBetween(1, 4096));
  app.add_option("--metric", flags.metric,
                 "Quality of a candidate; negative_kl is minus the KL divergence to the original's "
                 "outputs; default negative_kl, top1 with --reward error_log_*")
      ->check(OneOf(*v1::QualityMetric_descriptor()));
  app.add_option("--reward", flags.reward,
                 "What the agent maximises: quality, the default under a budget, or minus the "
                 "error times the logarithm of the cost, which needs none (on latency it needs "
                 "--latency-table)")
      ->check(OneOf(*v1::RewardKind_descriptor()));
  app.add_option("--probe-images", flags.probe_images,
                 defaulting("Reward images that the losses of single groups are measured on; 0: "
                            "all",
                            search.probes().images()))
      ->check(AtLeast(0));
  app.add_option("--probe-ratios", flags.probe_ratios,
                 defaulting("At how many ratios of each group", search.probes().ratios()))
      ->check(WholeBetween(1, 1000));
  app.add_option("--screening-images", flags.screening_images,
                 defaulting("Reward images on which evolution and hybrid first rank newcomers; 0: "
                            "all",
                            search.evolution().screening_images()))
      ->check(AtLeast(0));
  auto* start = app.add_option("--start", flags.start,
                               defaulting("Where evolution starts: uniform or dp",
                                          search.evolution().start()))
                    ->check(CLI::IsMember({"uniform", "dp"}));
  app.add_option("--start-policy", flags.start_policy,
                 "A policy file to start from instead, cut or grown to the budget")
      ->excludes(start);
  app.add_option("--learn-from", flags.learn_from,
                 "An ended job of the same model, data and evaluation whose history is learnt "
                 "before the first draw (may be repeated)")
      ->allow_extra_args(false);
  app.add_option("--min-preserve-ratio", flags.min_preserve_ratio,
                 defaulting("No group keeps less", defaults.space().min_preserve_ratio()))
      ->check(Between(0, 1));
  app.add_option("--channel-multiple", flags.channel_multiple,
                 "Groups keep multiples of it, or all; default 1, and 8 where the budget or the "
                 "reward is on latency and the network allows it")
      ->check(WholeBetween(1, 1 << 16));
  app.add_option("--frozen", flags.frozen, "A group that stays whole (may be repeated)")
      ->allow_extra_args(false);
  app.add_option("--sparsity", flags.sparsity,
                 "Search zeros within weights instead of channels: element, vector, kernel, "
                 "pattern, block, or N:M as 2:4; the budget is then on nonzeros, or on latency by "
                 "the table of a simulated runtime (`amc lut simulate`)")
      ->check(SparsityCheck());
  app.add_option("--residual-path", flags.residual_path,
                 "keep or prune residual paths; without it, keep them where the budget allows")
      ->check(OneOf(*v1::ResidualPath_descriptor()));
  app.add_option("--criterion", flags.criterion,
                 defaulting("Which channels stay",
                            named(evaluation.criterion(), v1::Criterion_descriptor())))
      ->check(OneOf(*v1::Criterion_descriptor()));
  app.add_option("--reconstruction", flags.reconstruction,
                 defaulting("What ranks candidates; the winner gets strong",
                            named(evaluation.reconstruction(), v1::Reconstruction_descriptor())))
      ->check(OneOf(*v1::Reconstruction_descriptor()));
  app.add_option("--reward-images", flags.reward_images,
                 "Images that rank candidates; default 0: the whole split")
      ->check(AtLeast(0));
  app.add_option("--report-images", flags.report_images,
                 "Images that measure the result; default 0: the whole split")
      ->check(AtLeast(0));
  app.add_option("--finetune-steps", flags.finetune_steps,
                 defaulting("SGD steps that train each candidate after its reconstruction",
                            evaluation.finetune_steps()))
      ->check(AtLeast(0));
  app.add_option("--device", flags.device, "Where workers compute; default cpu")
      ->check(OneOf(*v1::Device_descriptor()));
  app.add_flag("--bf16", flags.bf16, "Compute in bfloat16");
  app.add_option("--batch", flags.batch, defaulting("Images run at once", evaluation.batch_size()))
      ->check(WholeBetween(1, 1 << 16));
  app.add_option("--threads", flags.threads,
                 defaulting("Threads of each worker", evaluation.threads()))
      ->check(WholeBetween(1, 1024));
  app.add_flag("--allow-weak-baseline", flags.allow_weak_baseline,
               "Search although the original is near chance");
  app.add_option("--priority", flags.priority,
                 defaulting("-100 to 100: workers go to higher ones first, equal ones take turns",
                            defaults.priority()))
      ->check(WholeBetween(-100, 100));
  app.add_option("--max-workers", flags.max_workers,
                 "Workers at once; default 0: as many as there are")
      ->check(AtLeast(0));
  app.add_option("--memory", flags.memory_bytes,
                 "Only on workers that may use so much memory, as in 8G; default 0: on any")
      ->transform(Bytes());
  app.add_option("--runtime", flags.runtime,
                 "Only on workers that measure with it: libtorch, or with a version \"libtorch "
                 "1.13.1\"; default any");
  app.add_flag("--no-reuse", flags.no_reuse,
               "Measure every candidate, also those that earlier jobs have measured");
  app.add_option("--set", flags.settings,
                 "Any field of the job file: --set search.ddpg.warmup_episodes=20")
      ->allow_extra_args(false);
}

absl::StatusOr<v1::JobSpec> MakeJobSpec(const JobFlags& flags) {
  v1::JobSpec spec;
  if (!flags.file.empty()) {
    AMC_ASSIGN_OR_RETURN(spec, ReadJobFile(flags.file));
  }
  if (!flags.model.empty()) spec.set_model(flags.model);
  if (!flags.data.empty()) spec.set_data(flags.data);
  if (!flags.name.empty()) spec.set_name(flags.name);
  std::vector<std::string> assignments;
  Collect(assignments, "budget.absolute", flags.budget_absolute);
  Collect(assignments, "budget.resource", flags.resource);
  Collect(assignments, "latency.finalists", flags.finalists);
  if (flags.must_measure) assignments.emplace_back("latency.must_measure=true");
  Collect(assignments, "search.agent", flags.agent);
  Collect(assignments, "search.seed", flags.seed);
  Collect(assignments, "search.episodes", flags.episodes);
  Collect(assignments, "search.parallel_episodes", flags.parallel_episodes);
  Collect(assignments, "search.metric", flags.metric);
  Collect(assignments, "search.reward", flags.reward);
  Collect(assignments, "search.probes.images", flags.probe_images);
  Collect(assignments, "search.probes.ratios", flags.probe_ratios);
  Collect(assignments, "search.evolution.screening_images", flags.screening_images);
  Collect(assignments, "search.evolution.start", flags.start);
  Collect(assignments, "space.min_preserve_ratio", flags.min_preserve_ratio);
  Collect(assignments, "space.channel_multiple", flags.channel_multiple);
  if (flags.sparsity.has_value()) {
    AMC_ASSIGN_OR_RETURN(const SparsityText sparsity, ParseSparsity(*flags.sparsity));
    const std::vector<std::string> fields = SparsityFields(sparsity);
    assignments.insert(assignments.end(), fields.begin(), fields.end());
  }
  Collect(assignments, "space.residual_path", flags.residual_path);
  Collect(assignments, "evaluation.criterion", flags.criterion);
  Collect(assignments, "evaluation.reconstruction", flags.reconstruction);
  Collect(assignments, "evaluation.reward_images", flags.reward_images);
  Collect(assignments, "evaluation.report_images", flags.report_images);
  Collect(assignments, "evaluation.finetune_steps", flags.finetune_steps);
  Collect(assignments, "evaluation.device", flags.device);
  Collect(assignments, "evaluation.batch_size", flags.batch);
  Collect(assignments, "evaluation.threads", flags.threads);
  Collect(assignments, "priority", flags.priority);
  Collect(assignments, "max_workers", flags.max_workers);
  Collect(assignments, "requirements.memory_bytes", flags.memory_bytes);
  Collect(assignments, "requirements.runtime", flags.runtime);
  for (const std::string& group : flags.frozen) {
    assignments.push_back(absl::StrCat("space.frozen=", group));
  }
  for (const std::string& job : flags.learn_from) {
    assignments.push_back(absl::StrCat("search.learn_from=", job));
  }
  if (flags.no_land) assignments.emplace_back("budget.land=false");
  if (flags.bf16) assignments.emplace_back("evaluation.precision=bf16");
  if (flags.allow_weak_baseline) assignments.emplace_back("allow_weak_baseline=true");
  if (flags.no_reuse) assignments.emplace_back("reuse=false");
  assignments.insert(assignments.end(), flags.settings.begin(), flags.settings.end());
  for (const std::string& assignment : assignments) {
    AMC_RETURN_IF_ERROR(SetField(assignment, spec));
  }
  if (!flags.budget.empty()) AMC_RETURN_IF_ERROR(SetBudget(flags, *spec.mutable_budget()));
  if (!flags.latency_table.empty()) spec.mutable_latency()->set_table(flags.latency_table);
  if (!flags.start_policy.empty()) {
    AMC_ASSIGN_OR_RETURN(*spec.mutable_search()->mutable_evolution()->mutable_start_policy(),
                         ReadPolicy(flags.start_policy, GranularityOf(spec.space())));
  }
  if (spec.model().empty()) return UsageError("no model: name an ONNX file");
  if (spec.data().empty()) {
    return WithHint(UsageError("no data: --data names a data pack"),
                    "`amc data pack` makes one from images; see `amc data pack --help`.");
  }
  const v1::RewardKind reward = spec.search().reward();
  if (spec.budget().target_case() == v1::Budget::TARGET_NOT_SET &&
      (reward == v1::REWARD_KIND_UNSPECIFIED || reward == v1::REWARD_KIND_QUALITY)) {
    return WithHint(
        UsageError("no budget: --budget says what the result may cost"),
        "--budget 0.5 asks for half of the MACs, --budget 0.5 --resource params for "
        "half of the parameters; --reward error_log_macs (or _latency, ...) weighs cost without a "
        "budget.");
  }
  return spec;
}

absl::Status UploadInputs(Client& client, v1::JobSpec& spec) {
  if (spec.name().empty()) spec.set_name(std::filesystem::path(spec.model()).stem().string());
  if (!IsSha256Hex(spec.model())) {
    AMC_ASSIGN_OR_RETURN(*spec.mutable_model(),
                         client.Upload(spec.model(), v1::ARTIFACT_KIND_MODEL));
  }
  if (!IsSha256Hex(spec.data())) {
    AMC_ASSIGN_OR_RETURN(*spec.mutable_data(), client.Upload(spec.data(), v1::ARTIFACT_KIND_DATA));
  }
  if (NamesLatencyFile(spec)) {
    v1::ImportLatencyTableRequest request;
    AMC_ASSIGN_OR_RETURN(const LatencyTable table, ReadLatencyFile(spec.latency().table()));
    *request.mutable_table() = ToProto(table);
    AMC_ASSIGN_OR_RETURN(
        const v1::LatencyTableInfo info,
        client.Call(client.latency(), &v1::LatencyService::Stub::ImportLatencyTable, request));
    spec.mutable_latency()->set_table(info.digest());
  }
  return absl::OkStatus();
}

}  // namespace amc
