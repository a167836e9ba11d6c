#include "agent/ddpg_paper.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "agent/actor_critic.h"
#include "agent/agent_state.h"
#include "agent/replay_buffer.h"
#include "base/rng.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr int64_t kStateSize = Observation::kSize;

class DdpgPaper final : public Agent {
 public:
  DdpgPaper(const Environment& env, const AgentOptions& options, Rng init)
      : progress_("ddpg-paper", options.seed, env),
        options_(options.ddpg),
        networks_(kStateSize, options_, ActorCritic::Targets::kFollowing, init),
        replay_(options_.replay_transitions, kStateSize) {}

  absl::StatusOr<Episode> Propose(Environment& env, int64_t number, double /*left*/) override {
    AMC_RETURN_IF_ERROR(progress_.CheckShape(env));
    if (number < 0)
      return absl::OutOfRangeError(absl::StrCat("agent ddpg-paper: episode ", number));
    Rng rng(progress_.seed(), RandomStream(RandomPurpose::kPropose, number));
    Episode episode;
    episode.number = number;
    if (number < options_.warmup_episodes) episode.note = "warm-up";
    try {
      Observation observation = env.Reset();
      while (!env.done()) {
        const double action = Act(env, observation, number, rng);
        AMC_ASSIGN_OR_RETURN(StepResult result, env.Step(action));
        episode.observations.push_back(std::move(observation));
        episode.actions.push_back(action);
        episode.executed.push_back(result.executed);
        observation = std::move(result.observation);
      }
    } catch (const std::exception& e) {
      return absl::InternalError(
          absl::StrCat("agent ddpg-paper: drawing episode ", number, ": ", e.what()));
    }
    episode.policy = env.policy();
    AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> kept,
                         KeptCounts(episode.policy, env.grouping()));
    episode.cost = env.cost_model().Evaluate(kept);
    return episode;
  }

  absl::Status Learn(const Episode& episode, double reward) override {
    AMC_RETURN_IF_ERROR(progress_.CheckNext(episode.number, reward));
    const size_t steps = episode.observations.size();
    if (steps == 0 || episode.executed.size() != steps) {
      return absl::InvalidArgumentError(absl::StrCat("agent ddpg-paper: episode ", episode.number,
                                                     " has ", steps, " observations and ",
                                                     episode.executed.size(), " executed actions"));
    }
    for (const Observation& observation : episode.observations) {
      if (observation.features.size() != kStateSize) {
        return absl::InvalidArgumentError(absl::StrCat("agent ddpg-paper: an observation of ",
                                                       observation.features.size(),
                                                       " features, expected ", kStateSize));
      }
    }
    Rng rng(progress_.seed(), RandomStream(RandomPurpose::kLearn, episode.number));
    try {
      for (size_t s = 0; s < steps; ++s) {
        const bool last = s + 1 == steps;
        replay_.Add(episode.observations[s].features, static_cast<float>(episode.executed[s]),
                    static_cast<float>(reward), episode.observations[last ? s : s + 1].features,
                    last);
        if (episode.number >= options_.warmup_episodes) Update(rng);
      }
    } catch (const std::exception& e) {
      return absl::InternalError(
          absl::StrCat("agent ddpg-paper: learning episode ", episode.number, ": ", e.what()));
    }
    progress_.Advance();
    return absl::OkStatus();
  }

  absl::Status Skip(const Episode& episode) override {
    AMC_RETURN_IF_ERROR(progress_.CheckNext(episode.number));
    progress_.Advance();
    return absl::OkStatus();
  }

  int64_t available() const override { return std::numeric_limits<int64_t>::max(); }

  // After the common header: hidden i64; baseline (u8 whether there is one, f64); the networks
  // (actor_critic.h); replay.
  std::string SaveState() const override {
    ByteWriter writer;
    progress_.Save(writer);
    writer.I64(options_.hidden);
    writer.U8(has_baseline_);
    writer.Double(baseline_);
    networks_.Save(writer);
    replay_.Save(writer);
    return std::move(writer).bytes();
  }

  absl::Status RestoreState(absl::string_view bytes) override {
    ByteReader reader(bytes);
    AMC_ASSIGN_OR_RETURN(const int64_t done, progress_.Read(reader));
    if (const int64_t hidden = reader.I64(); hidden != options_.hidden) {
      return absl::InvalidArgumentError(
          absl::StrCat("agent state: hidden layers of ", hidden, ", expected ", options_.hidden));
    }
    const bool has_baseline = reader.U8() != 0;
    const double baseline = reader.Double();
    ActorCritic networks = networks_;
    AMC_RETURN_IF_ERROR(networks.Read(reader));
    ReplayBuffer replay(options_.replay_transitions, kStateSize);
    AMC_RETURN_IF_ERROR(replay.Read(reader));
    AMC_RETURN_IF_ERROR(reader.Finish());

    progress_.set_done(done);
    has_baseline_ = has_baseline;
    baseline_ = baseline;
    networks_ = std::move(networks);
    replay_ = std::move(replay);
    return absl::OkStatus();
  }

 private:
  double Act(const Environment& env, const Observation& observation, int64_t number, Rng& rng) {
    const absl::Span<const int64_t> choices = env.lattice().choices(observation.group);
    const double least = static_cast<double>(choices.front()) / static_cast<double>(choices.back());
    if (number < options_.warmup_episodes) return rng.Uniform(least, 1);
    const double mean = std::clamp<double>(networks_.Actions(observation.features)[0], least, 1);
    const double deviation =
        options_.noise *
        std::pow(options_.noise_decay, static_cast<double>(number - options_.warmup_episodes));
    return deviation > 0 ? rng.TruncatedNormal(mean, deviation, least, 1) : mean;
  }

  void Update(Rng& rng) {
    const TransitionBatch batch = replay_.Sample(options_.batch, rng);
    const size_t rows = batch.rewards.size();

    double mean = 0;
    for (const float reward : batch.rewards) mean += reward / static_cast<double>(rows);
    baseline_ = has_baseline_
                    ? options_.baseline_decay * baseline_ + (1 - options_.baseline_decay) * mean
                    : mean;
    has_baseline_ = true;

    // y = R - b + discount * Q'(s', mu'(s')).
    const absl::Span<const float> next_values = networks_.TargetValues(batch.next_states);
    std::vector<double> targets(rows);
    for (size_t i = 0; i < rows; ++i) {
      targets[i] =
          batch.rewards[i] - baseline_ + options_.discount * batch.live[i] * next_values[i];
    }
    networks_.FitCritic(batch.states, batch.actions, targets);
    networks_.ImproveActor(batch.states);
    networks_.UpdateTargets();
  }

  AgentProgress progress_;
  const DdpgOptions options_;
  ActorCritic networks_;
  ReplayBuffer replay_;
  bool has_baseline_ = false;
  double baseline_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> MakeDdpgPaper(const Environment& env,
                                                     const AgentOptions& options) {
  AMC_RETURN_IF_ERROR(CheckDdpgOptions(options.ddpg));
  return std::make_unique<DdpgPaper>(env, options,
                                     Rng(options.seed, RandomStream(RandomPurpose::kInit)));
}

}  // namespace amc
