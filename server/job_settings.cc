#include "server/job_settings.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/convert.h"

namespace amc {

EnvironmentSettings SettingsOf(const v1::JobSpec& spec) {
  return {.budget = spec.budget(), .space = spec.space(), .latency = spec.latency()};
}

std::optional<SparseSpace> ToSparseSpace(const v1::SpaceSpec& space) {
  if (!space.has_sparsity()) return std::nullopt;
  const v1::SparsitySpec& sparsity = space.sparsity();
  return SparseSpace{.granularity = static_cast<Granularity>(sparsity.granularity()),
                     .n = sparsity.n(),
                     .m = sparsity.m(),
                     .options = {.norm = static_cast<int>(sparsity.norm()),
                                 .vector_length = sparsity.vector_length(),
                                 .block = {sparsity.block_rows(), sparsity.block_columns()},
                                 .patterns = sparsity.patterns()}};
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
  options.sparsity = ToSparseSpace(space);
  return options;
}

namespace {

// Images that reconstruction and fine-tuning forward every candidate for, as Measurement::work
// counts them: backward twice.
int64_t OverheadImages(const v1::JobSpec& spec) {
  const v1::EvaluationSpec& evaluation = spec.evaluation();
  int64_t images = 3 * DistillOptions().batch_size * evaluation.finetune_steps();
  if (spec.space().has_sparsity()) {  // fitted from what is kept of the original
    const bool refits = evaluation.reconstruction() != v1::RECONSTRUCTION_NONE;
    return refits ? evaluation.recalibration_images() : 0;
  }
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
  options.agent_options.overhead_images = OverheadImages(spec);
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
  options.sparsity = ToSparseSpace(spec.space());
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
