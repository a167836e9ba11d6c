#include "server/job_spec.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/agent_registry.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "server/build_spec.h"
#include "server/convert.h"
#include "server/rpc/on_latency.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

// Collects what is wrong, so that a client sees all of it at once.
class Checker {
 public:
  explicit Checker(std::string prefix) : prefix_(std::move(prefix)) {}

  void Fail(absl::string_view field, std::string description) {
    violations_.push_back({absl::StrCat(prefix_, field), std::move(description)});
  }
  template <typename T>
  void InRange(absl::string_view field, T value, T low, T high) {
    if (value >= low && value <= high) return;  // false for NaN
    Fail(field, absl::StrCat(value, " is not in [", low, ", ", high, "]"));
  }
  absl::Status status() const { return FieldErrors(violations_); }

 private:
  std::string prefix_;
  std::vector<FieldViolation> violations_;
};

// Sets `field` of `message` to `value` unless the client did.
#define AMC_DEFAULT(message, field, value)                        \
  do {                                                            \
    if (!(message)->has_##field()) (message)->set_##field(value); \
  } while (false)

// The same for enums without presence; an unknown number is an error.
#define AMC_DEFAULT_ENUM(checker, path, message, field, Type, value)                              \
  do {                                                                                            \
    if ((message)->field() == 0) (message)->set_##field(value);                                   \
    if (!v1::Type##_IsValid((message)->field())) {                                                \
      (checker).Fail(path, absl::StrCat("unknown value ", static_cast<int>((message)->field()))); \
    }                                                                                             \
  } while (false)

constexpr int64_t kMany = int64_t{1} << 40;
constexpr int kMaxLearnFrom = 100;

// Of a Budget or a BudgetBound.
template <typename Bound>
void CheckTarget(const Bound& bound, const std::string& path, Checker& check) {
  switch (bound.target_case()) {
    case Bound::kRatio:
      if (!(bound.ratio() > 0 && bound.ratio() <= 1)) {
        check.Fail(absl::StrCat(path, ".ratio"), absl::StrCat(bound.ratio(), " is not in (0, 1]"));
      }
      break;
    case Bound::kAbsolute:
      check.InRange<int64_t>(absl::StrCat(path, ".absolute"), bound.absolute(), 1, INT64_MAX);
      break;
    case Bound::TARGET_NOT_SET:
      check.Fail(path, "neither ratio nor absolute is set");
  }
}

void ResolveBudget(v1::Budget* budget, const v1::LatencySpec& latency, Checker& check) {
  AMC_DEFAULT_ENUM(check, "budget.resource", budget, resource, Resource, v1::RESOURCE_MACS);
  AMC_DEFAULT(budget, land, EnvOptions().land_on_budget);
  CheckTarget(*budget, "budget", check);
  std::set<v1::Resource> resources{budget->resource()};
  for (int i = 0; i < budget->also_size(); ++i) {
    const v1::BudgetBound& bound = budget->also(i);
    const std::string path = absl::StrCat("budget.also[", i, "]");
    CheckTarget(bound, path, check);
    if (bound.resource() == v1::RESOURCE_UNSPECIFIED || !v1::Resource_IsValid(bound.resource())) {
      check.Fail(path + ".resource",
                 absl::StrCat("unknown value ", static_cast<int>(bound.resource())));
    } else if (!resources.insert(bound.resource()).second) {
      check.Fail(path + ".resource",
                 absl::StrCat("a second bound on ",
                              ResourceName(static_cast<Resource>(bound.resource()))));
    }
  }
  if (IsOnLatency(*budget) && latency.table().empty()) {
    check.Fail("latency.table", "a budget on latency needs a table that predicts it");
  }
}

void ResolveSpace(v1::SpaceSpec* space, bool on_latency, Checker& check) {
  const EnvOptions defaults;
  AMC_DEFAULT(space, min_preserve_ratio, defaults.min_preserve_ratio);
  if (!on_latency) AMC_DEFAULT(space, channel_multiple, defaults.channel_multiple);
  check.InRange("space.min_preserve_ratio", space->min_preserve_ratio(), 0.0, 1.0);
  if (space->has_channel_multiple()) {
    check.InRange<int64_t>("space.channel_multiple", space->channel_multiple(), 1, 1 << 16);
  }
  if (!v1::ResidualPath_IsValid(space->residual_path())) {
    check.Fail("space.residual_path",
               absl::StrCat("unknown value ", static_cast<int>(space->residual_path())));
  }
}

void ResolveDdpg(v1::DdpgSettings* ddpg) {  // ranges are MakeAgent's
  const DdpgOptions defaults;
  AMC_DEFAULT(ddpg, hidden, defaults.hidden);
  AMC_DEFAULT(ddpg, actor_learning_rate, defaults.actor_learning_rate);
  AMC_DEFAULT(ddpg, critic_learning_rate, defaults.critic_learning_rate);
  AMC_DEFAULT(ddpg, soft_update, defaults.soft_update);
  AMC_DEFAULT(ddpg, discount, defaults.discount);
  AMC_DEFAULT(ddpg, batch, defaults.batch);
  AMC_DEFAULT(ddpg, warmup_episodes, defaults.warmup_episodes);
  AMC_DEFAULT(ddpg, noise, defaults.noise);
  AMC_DEFAULT(ddpg, noise_decay, defaults.noise_decay);
  AMC_DEFAULT(ddpg, replay_transitions, defaults.replay_transitions);
  AMC_DEFAULT(ddpg, baseline_decay, defaults.baseline_decay);
}

// `budget` is null where there is none.
void ResolveSearch(v1::SearchSpec* search, const v1::Budget* budget, const v1::LatencySpec& latency,
                   Checker& check) {
  const SearchOptions defaults;
  if (search->agent().empty()) search->set_agent(defaults.agent);
  const std::vector<std::string> agents = AgentNames();
  if (std::find(agents.begin(), agents.end(), search->agent()) == agents.end()) {
    check.Fail("search.agent",
               absl::StrCat("\"", search->agent(), "\" is none of ", absl::StrJoin(agents, ", ")));
  }
  AMC_DEFAULT(search, seed, defaults.agent_options.seed);
  AMC_DEFAULT(search, episodes, defaults.episodes);
  AMC_DEFAULT(search, parallel_episodes, defaults.parallel_episodes);
  check.InRange<int64_t>("search.episodes", search->episodes(), 1, 100'000'000);
  check.InRange<int64_t>("search.parallel_episodes", search->parallel_episodes(), 1, 4096);
  AMC_DEFAULT_ENUM(check, "search.reward", search, reward, RewardKind, v1::REWARD_KIND_QUALITY);
  // KL tells close candidates apart; weighed against a cost it would be least for the whole
  // network.
  AMC_DEFAULT_ENUM(check, "search.metric", search, metric, QualityMetric,
                   search->reward() == v1::REWARD_KIND_QUALITY ? v1::QUALITY_METRIC_NEGATIVE_SOFT_KL
                                                               : v1::QUALITY_METRIC_TOP1);
  if (budget == nullptr && search->reward() == v1::REWARD_KIND_QUALITY) {
    check.Fail("budget",
               "a job without a budget needs a reward that weighs cost: set spec.search.reward to "
               "REWARD_KIND_ERROR_LOG_MACS, _PARAMS, _LATENCY, _ACTIVATION_BYTES or _MODEL_BYTES");
  }
  if (search->reward() == v1::REWARD_KIND_ERROR_LOG_LATENCY && latency.table().empty() &&
      !(budget != nullptr && IsOnLatency(*budget))) {  // which says so itself
    check.Fail("latency.table", "a reward on latency needs a table that predicts it");
  }
  ResolveDdpg(search->mutable_ddpg());
  v1::ProbeSettings* const probes = search->mutable_probes();
  AMC_DEFAULT(probes, images, defaults.agent_options.probes.images);
  AMC_DEFAULT(probes, ratios, defaults.agent_options.probes.ratios);
  v1::EvolutionSettings* const evolution = search->mutable_evolution();
  if (evolution->start().empty()) evolution->set_start(defaults.agent_options.evolution.start);
  AMC_DEFAULT(evolution, screening_images, defaults.agent_options.evolution.screening_images);
  v1::NetAdaptSettings* const netadapt = search->mutable_netadapt();
  AMC_DEFAULT(netadapt, step, defaults.agent_options.netadapt.step);
  AMC_DEFAULT(netadapt, decay, defaults.agent_options.netadapt.decay);
  if (search->learn_from_size() > kMaxLearnFrom) {
    check.Fail("search.learn_from",
               absl::StrCat(search->learn_from_size(), " jobs, more than ", kMaxLearnFrom));
  }
}

void ResolveLatency(v1::LatencySpec* latency, Checker& check) {
  AMC_DEFAULT(latency, finalists, 4);
  AMC_DEFAULT(latency, must_measure, false);
  check.InRange<int64_t>("latency.finalists", latency->finalists(), 0, 64);
  if (latency->must_measure() && latency->finalists() == 0) {
    check.Fail("latency.must_measure", "without finalists there is nothing to measure");
  }
}

void ResolveEvaluation(v1::EvaluationSpec* evaluation, Checker& check) {
  const LocalEvaluatorOptions defaults;
  const PruneOptions& prune = defaults.prune;
  AMC_DEFAULT_ENUM(check, "evaluation.criterion", evaluation, criterion, Criterion,
                   static_cast<v1::Criterion>(prune.criterion));
  AMC_DEFAULT_ENUM(check, "evaluation.reconstruction", evaluation, reconstruction, Reconstruction,
                   static_cast<v1::Reconstruction>(defaults.reconstruction));
  AMC_DEFAULT_ENUM(check, "evaluation.device", evaluation, device, Device, v1::DEVICE_CPU);
  AMC_DEFAULT_ENUM(check, "evaluation.precision", evaluation, precision, Precision,
                   v1::PRECISION_FP32);
  AMC_DEFAULT(evaluation, reconstruction_images, prune.reconstruction_images);
  AMC_DEFAULT(evaluation, sampled_images, prune.sampled_images);
  AMC_DEFAULT(evaluation, samples_per_layer, prune.samples_per_layer);
  AMC_DEFAULT(evaluation, recalibration_images, prune.recalibration_images);
  AMC_DEFAULT(evaluation, ridge, prune.ridge);
  AMC_DEFAULT(evaluation, reward_images, defaults.reward_images);
  AMC_DEFAULT(evaluation, report_images, 0);
  AMC_DEFAULT(evaluation, batch_size, prune.exec.batch_size);
  AMC_DEFAULT(evaluation, threads, 1);
  AMC_DEFAULT(evaluation, finetune_steps, defaults.finetune_steps);
  AMC_DEFAULT(evaluation, finetune_learning_rate, defaults.finetune_learning_rate);
  check.InRange<int64_t>("evaluation.reconstruction_images", evaluation->reconstruction_images(), 1,
                         kMany);
  check.InRange<int64_t>("evaluation.sampled_images", evaluation->sampled_images(), 1, kMany);
  check.InRange<int64_t>("evaluation.samples_per_layer", evaluation->samples_per_layer(), 1, kMany);
  check.InRange<int64_t>("evaluation.recalibration_images", evaluation->recalibration_images(), 0,
                         kMany);
  if (!(evaluation->ridge() > 0 && evaluation->ridge() <= 1e6)) {
    check.Fail("evaluation.ridge", absl::StrCat(evaluation->ridge(), " is not in (0, 1e6]"));
  }
  check.InRange<int64_t>("evaluation.reward_images", evaluation->reward_images(), 0, kMany);
  check.InRange<int64_t>("evaluation.report_images", evaluation->report_images(), 0, kMany);
  check.InRange<int64_t>("evaluation.batch_size", evaluation->batch_size(), 1, 1 << 16);
  check.InRange<int64_t>("evaluation.threads", evaluation->threads(), 1, 1024);
  check.InRange<int64_t>("evaluation.finetune_steps", evaluation->finetune_steps(), 0, 1'000'000);
  if (!(evaluation->finetune_learning_rate() > 0 && evaluation->finetune_learning_rate() <= 10)) {
    check.Fail("evaluation.finetune_learning_rate",
               absl::StrCat(evaluation->finetune_learning_rate(), " is not in (0, 10]"));
  }
}

void CheckDigest(absl::string_view field, const std::string& digest, absl::string_view what,
                 Checker& check) {
  if (IsSha256Hex(digest)) return;
  check.Fail(field, absl::StrCat("\"", digest, "\" is not the sha256 of ", what,
                                 " (64 hexadecimal digits)"));
}

}  // namespace

absl::StatusOr<v1::JobSpec> ResolveJobSpec(const v1::JobSpec& spec) {
  if (spec.has_build()) return ResolveTableJob(spec);
  v1::JobSpec resolved = spec;
  Checker check("spec.");
  if (resolved.name().size() > 200) {
    check.Fail("name", absl::StrCat(resolved.name().size(), " characters, more than 200"));
  }
  CheckDigest("model", resolved.model(), "an ONNX artifact", check);
  CheckDigest("data", resolved.data(), "a data pack", check);
  if (resolved.has_budget()) ResolveBudget(resolved.mutable_budget(), resolved.latency(), check);
  ResolveSpace(resolved.mutable_space(), IsOnLatency(resolved), check);
  ResolveSearch(resolved.mutable_search(), resolved.has_budget() ? &resolved.budget() : nullptr,
                resolved.latency(), check);
  ResolveEvaluation(resolved.mutable_evaluation(), check);
  if (resolved.has_latency()) ResolveLatency(resolved.mutable_latency(), check);
  AMC_DEFAULT(&resolved, max_attempts, 3);
  AMC_DEFAULT(&resolved, allow_weak_baseline, false);
  AMC_DEFAULT(&resolved, priority, 0);
  AMC_DEFAULT(&resolved, max_workers, 0);
  AMC_DEFAULT(resolved.mutable_requirements(), memory_bytes, 0);
  AMC_DEFAULT(&resolved, reuse, true);
  check.InRange<int64_t>("priority", resolved.priority(), -100, 100);
  check.InRange<int64_t>("max_workers", resolved.max_workers(), 0, kMany);
  check.InRange<int64_t>("requirements.memory_bytes", resolved.requirements().memory_bytes(), 0,
                         int64_t{1} << 50);
  check.InRange<int64_t>("max_attempts", resolved.max_attempts(), 1, 1000);
  AMC_RETURN_IF_ERROR(check.status());
  return resolved;
}

absl::StatusOr<EnvironmentSettings> ResolveEnvironment(const v1::Budget* budget,
                                                       const v1::SpaceSpec& space,
                                                       const v1::LatencySpec& latency) {
  EnvironmentSettings settings;
  settings.space = space;
  settings.latency = latency;
  Checker check("");
  if (budget != nullptr) {
    settings.budget = *budget;
    ResolveBudget(&settings.budget, settings.latency, check);
  }
  ResolveSpace(&settings.space, IsOnLatency(settings.budget), check);
  AMC_RETURN_IF_ERROR(check.status());
  return settings;
}

std::string SpecHash(const v1::JobSpec& spec) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    spec.SerializeToCodedStream(&coded);
  }
  return Sha256Hex(bytes);
}

EnvironmentSettings SettingsOf(const v1::JobSpec& spec) {
  return {.budget = spec.budget(), .space = spec.space(), .latency = spec.latency()};
}

EnvOptions ToEnvOptions(const EnvironmentSettings& settings) {
  const v1::Budget& budget = settings.budget;
  const v1::SpaceSpec& space = settings.space;
  EnvOptions options;
  const auto target = [](const auto& bound) {
    return BudgetTarget{.resource = static_cast<Resource>(bound.resource()),
                        .ratio = bound.has_ratio() ? bound.ratio() : 0,
                        .absolute = bound.has_absolute() ? bound.absolute() : 0};
  };
  options.budget.clear();
  if (budget.resource() != v1::RESOURCE_UNSPECIFIED) options.budget.push_back(target(budget));
  for (const v1::BudgetBound& bound : budget.also()) options.budget.push_back(target(bound));
  options.land_on_budget = budget.land();
  options.min_preserve_ratio = space.min_preserve_ratio();
  options.channel_multiple = space.channel_multiple();
  options.frozen.assign(space.frozen().begin(), space.frozen().end());
  options.keep_residual = space.residual_path() == v1::RESIDUAL_PATH_KEEP;
  return options;
}

namespace {

// Images that reconstruction and fine-tuning forward every candidate for, as Measurement::work
// counts them: backward twice.
int64_t OverheadImages(const v1::EvaluationSpec& evaluation) {
  int64_t images = 3 * DistillOptions().batch_size * evaluation.finetune_steps();
  switch (evaluation.reconstruction()) {
    case v1::RECONSTRUCTION_FAST:
      return images + evaluation.recalibration_images();
    case v1::RECONSTRUCTION_SAMPLED:
      return images + std::min(evaluation.sampled_images(), evaluation.reconstruction_images());
    case v1::RECONSTRUCTION_STRONG:
      return images + evaluation.reconstruction_images();
    default:
      return images;
  }
}

}  // namespace

SearchOptions ToSearchOptions(const v1::JobSpec& spec, int64_t reward_images) {
  const v1::SearchSpec& search = spec.search();
  const v1::DdpgSettings& ddpg = search.ddpg();
  SearchOptions options;
  options.agent = search.agent();
  options.agent_options.seed = search.seed();
  options.agent_options.ddpg = {.hidden = ddpg.hidden(),
                                .actor_learning_rate = ddpg.actor_learning_rate(),
                                .critic_learning_rate = ddpg.critic_learning_rate(),
                                .soft_update = ddpg.soft_update(),
                                .discount = ddpg.discount(),
                                .batch = ddpg.batch(),
                                .warmup_episodes = ddpg.warmup_episodes(),
                                .noise = ddpg.noise(),
                                .noise_decay = ddpg.noise_decay(),
                                .replay_transitions = ddpg.replay_transitions(),
                                .baseline_decay = ddpg.baseline_decay()};
  options.agent_options.reward_images = reward_images;
  options.agent_options.probes = {.images = search.probes().images(),
                                  .ratios = search.probes().ratios()};
  options.agent_options.evolution = {.start = search.evolution().start(),
                                     .start_policy = FromProto(search.evolution().start_policy()),
                                     .screening_images = search.evolution().screening_images()};
  options.agent_options.netadapt = {.step = search.netadapt().step(),
                                    .decay = search.netadapt().decay()};
  options.agent_options.overhead_images = OverheadImages(spec.evaluation());
  options.episodes = search.episodes();
  options.parallel_episodes = search.parallel_episodes();
  options.reward.metric = static_cast<QualityMetric>(search.metric());
  options.reward.kind = static_cast<RewardKind>(search.reward());
  return options;
}

ExecOptions ToExecOptions(const v1::EvaluationSpec& evaluation) {
  ExecOptions options;
  options.device = evaluation.device() == v1::DEVICE_CUDA ? Device::kCuda : Device::kCpu;
  options.precision =
      evaluation.precision() == v1::PRECISION_BF16 ? Precision::kBfloat16 : Precision::kFloat32;
  options.batch_size = evaluation.batch_size();
  return options;
}

LocalEvaluatorOptions ToEvaluatorOptions(const v1::JobSpec& spec) {
  const v1::EvaluationSpec& evaluation = spec.evaluation();
  LocalEvaluatorOptions options;
  options.prune.criterion = static_cast<Criterion>(evaluation.criterion());
  options.prune.exec = ToExecOptions(evaluation);
  options.prune.reconstruction_images = evaluation.reconstruction_images();
  options.prune.sampled_images = evaluation.sampled_images();
  options.prune.samples_per_layer = evaluation.samples_per_layer();
  options.prune.recalibration_images = evaluation.recalibration_images();
  options.prune.ridge = evaluation.ridge();
  options.reconstruction = static_cast<Reconstruction>(evaluation.reconstruction());
  options.reward_images = evaluation.reward_images();
  options.finetune_steps = evaluation.finetune_steps();
  options.finetune_learning_rate = evaluation.finetune_learning_rate();
  return options;
}

std::string JobNumericsId(absl::string_view platform_id, absl::string_view gpu_id,
                          const v1::EvaluationSpec& evaluation) {
  const bool cuda = evaluation.device() == v1::DEVICE_CUDA;
  return absl::StrCat(cuda ? "cuda:" : "cpu", cuda ? gpu_id : "", ":", platform_id, ":threads",
                      evaluation.threads(), ":batch", evaluation.batch_size(), ":",
                      evaluation.precision() == v1::PRECISION_BF16 ? "bf16" : "fp32");
}

}  // namespace amc
