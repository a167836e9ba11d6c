#include "server/job_spec.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/agent_registry.h"
#include "agent/search.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "env/amc_env.h"
#include "env/local_evaluator.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "server/build_spec.h"
#include "server/rpc/on_latency.h"
#include "server/rpc/sparse_defaults.h"
#include "server/spec_checker.h"

namespace amc {
namespace {

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
void CheckTarget(const Bound& bound, const std::string& path, SpecChecker& check) {
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

void ResolveBudget(v1::Budget* budget, const v1::SpaceSpec& space, const v1::LatencySpec& latency,
                   SpecChecker& check) {
  AMC_DEFAULT_ENUM(check, "budget.resource", budget, resource, Resource, DefaultResource(space));
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
    check.Fail("latency.table",
               "a budget on latency needs a table that predicts it (`amc lut build` makes one)");
  }
}

void ResolveSpace(v1::SpaceSpec* space, bool on_latency, SpecChecker& check) {
  const EnvOptions defaults;
  if (space->has_sparsity()) {
    SetSparseDefaults(*space);
    const v1::SparsitySpec& sparsity = space->sparsity();
    if (!v1::Granularity_IsValid(sparsity.granularity()) ||
        sparsity.granularity() == v1::GRANULARITY_CHANNEL) {
      check.Fail("space.sparsity.granularity",
                 absl::StrCat("value ", static_cast<int>(sparsity.granularity()),
                              " is none within weights"));
    }
  }
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
                   SpecChecker& check) {
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
    check.Fail("latency.table",
               "a reward on latency needs a table that predicts it (`amc lut build` makes one)");
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

void ResolveLatency(v1::LatencySpec* latency, SpecChecker& check) {
  AMC_DEFAULT(latency, finalists, 4);
  AMC_DEFAULT(latency, must_measure, false);
  check.InRange<int64_t>("latency.finalists", latency->finalists(), 0, 64);
  if (latency->must_measure() && latency->finalists() == 0) {
    check.Fail("latency.must_measure", "without finalists there is nothing to measure");
  }
}

void ResolveEvaluation(v1::EvaluationSpec* evaluation, SpecChecker& check) {
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

}  // namespace

absl::StatusOr<v1::JobSpec> ResolveJobSpec(const v1::JobSpec& spec) {
  if (spec.has_build()) return ResolveTableJob(spec);
  v1::JobSpec resolved = spec;
  SpecChecker check("spec.");
  check.AtMostLong("name", resolved.name(), kMaxJobName);
  check.IsDigest("model", resolved.model(), "an ONNX artifact");
  check.IsDigest("data", resolved.data(), "a data pack");
  if (resolved.has_budget())
    ResolveBudget(resolved.mutable_budget(), resolved.space(), resolved.latency(), check);
  ResolveSpace(resolved.mutable_space(), IsOnLatency(resolved), check);
  ResolveSearch(resolved.mutable_search(), resolved.has_budget() ? &resolved.budget() : nullptr,
                resolved.latency(), check);
  ResolveEvaluation(resolved.mutable_evaluation(), check);
  if (resolved.space().has_sparsity() && resolved.evaluation().finetune_steps() > 0) {
    check.Fail("evaluation.finetune_steps", "fine-tuning does not keep zeros within weights");
  }
  const bool measures = IsOnLatency(resolved) && !resolved.space().has_sparsity();
  if (measures) {
    ResolveLatency(resolved.mutable_latency(), check);
  } else if (spec.latency().has_finalists() || spec.latency().must_measure()) {
    check.Fail(spec.latency().has_finalists() ? "latency.finalists" : "latency.must_measure",
               resolved.space().has_sparsity()
                   ? "a simulated runtime's times cannot be measured"
                   : "counts for a budget or a reward on latency, and the job has neither");
  }
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
  SpecChecker check("");
  if (budget != nullptr) {
    settings.budget = *budget;
    ResolveBudget(&settings.budget, settings.space, settings.latency, check);
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

}  // namespace amc
