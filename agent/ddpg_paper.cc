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
#include "agent/agent_state.h"
#include "agent/mlp.h"
#include "agent/replay_buffer.h"
#include "base/rng.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr int64_t kStateSize = Observation::kSize;

// Rows of (state, action), the critic's input.
std::vector<float> Join(const std::vector<float>& states, absl::Span<const float> actions) {
  std::vector<float> joined;
  joined.reserve(states.size() + actions.size());
  for (size_t row = 0; row < actions.size(); ++row) {
    const auto state = states.begin() + static_cast<int64_t>(row) * kStateSize;
    joined.insert(joined.end(), state, state + kStateSize);
    joined.push_back(actions[row]);
  }
  return joined;
}

class DdpgPaper final : public Agent {
 public:
  DdpgPaper(const Environment& env, const AgentOptions& options, Rng init)
      : progress_("ddpg-paper", options.seed, env),
        options_(options.ddpg),
        actor_(kStateSize, options_.hidden, Mlp::Output::kSigmoid, init),
        critic_(kStateSize + 1, options_.hidden, Mlp::Output::kLinear, init),
        target_actor_(actor_),
        target_critic_(critic_),
        actor_adam_(actor_.parameters().size(), options_.actor_learning_rate),
        critic_adam_(critic_.parameters().size(), options_.critic_learning_rate),
        replay_(options_.replay_transitions, kStateSize) {}

  absl::StatusOr<Episode> Propose(Environment& env, int64_t number) override {
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

  int64_t max_episodes() const override { return std::numeric_limits<int64_t>::max(); }

  // After the common header: hidden u64; baseline (u8 whether there is one, f64); actor, critic and
  // their targets; both optimisers (steps, first, second moments); replay.
  std::string SaveState() const override {
    ByteWriter writer;
    progress_.Save(writer);
    writer.I64(options_.hidden);
    writer.U8(has_baseline_);
    writer.Double(baseline_);
    for (const Mlp* net : {&actor_, &critic_, &target_actor_, &target_critic_}) {
      writer.Floats(net->parameters());
    }
    for (const Adam* adam : {&actor_adam_, &critic_adam_}) {
      writer.I64(adam->steps());
      writer.Floats(adam->first());
      writer.Floats(adam->second());
    }
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
    std::vector<std::vector<float>> parameters;
    for (const Mlp* net : {&actor_, &critic_, &target_actor_, &target_critic_}) {
      AMC_RETURN_IF_ERROR(ReadFloats(reader, net->parameters().size(), parameters));
    }
    std::vector<std::vector<float>> moments;
    std::vector<int64_t> adam_steps;
    for (const Adam* adam : {&actor_adam_, &critic_adam_}) {
      adam_steps.push_back(reader.I64());
      AMC_RETURN_IF_ERROR(ReadFloats(reader, adam->first().size(), moments));
      AMC_RETURN_IF_ERROR(ReadFloats(reader, adam->second().size(), moments));
    }
    ReplayBuffer replay(options_.replay_transitions, kStateSize);
    AMC_RETURN_IF_ERROR(replay.Read(reader));
    AMC_RETURN_IF_ERROR(reader.Finish());

    progress_.set_done(done);
    has_baseline_ = has_baseline;
    baseline_ = baseline;
    size_t n = 0;
    for (Mlp* net : {&actor_, &critic_, &target_actor_, &target_critic_}) {
      net->parameters() = std::move(parameters[n++]);
    }
    actor_adam_.Restore(adam_steps[0], std::move(moments[0]), std::move(moments[1]));
    critic_adam_.Restore(adam_steps[1], std::move(moments[2]), std::move(moments[3]));
    replay_ = std::move(replay);
    return absl::OkStatus();
  }

 private:
  static absl::Status ReadFloats(ByteReader& reader, size_t expected,
                                 std::vector<std::vector<float>>& out) {
    out.push_back(reader.Floats());
    if (out.back().size() == expected) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("agent state: an array of ", out.back().size(),
                                                   " numbers, expected ", expected));
  }

  double Act(const Environment& env, const Observation& observation, int64_t number, Rng& rng) {
    const absl::Span<const int64_t> choices = env.lattice().choices(observation.group);
    const double least = static_cast<double>(choices.front()) / static_cast<double>(choices.back());
    if (number < options_.warmup_episodes) return rng.Uniform(least, 1);
    const double mean = std::clamp<double>(actor_.Forward(observation.features)[0], least, 1);
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

    // Critic: mean squared error to y = R - b + discount * Q'(s', mu'(s')).
    const absl::Span<const float> next_values =
        target_critic_.Forward(Join(batch.next_states, target_actor_.Forward(batch.next_states)));
    const absl::Span<const float> values = critic_.Forward(Join(batch.states, batch.actions));
    std::vector<float> gradient(rows);
    for (size_t i = 0; i < rows; ++i) {
      const double target =
          batch.rewards[i] - baseline_ + options_.discount * batch.live[i] * next_values[i];
      gradient[i] = static_cast<float>(2 * (values[i] - target) / static_cast<double>(rows));
    }
    critic_adam_.Step(critic_.Backward(gradient), critic_.parameters());

    // Actor: up the critic's slope at its own actions, the loss being -mean Q(s, mu(s)).
    critic_.Forward(Join(batch.states, actor_.Forward(batch.states)));
    std::fill(gradient.begin(), gradient.end(), -1.0f / static_cast<float>(rows));
    const absl::Span<const float> input_gradient = critic_.InputGradient(gradient);
    for (size_t i = 0; i < rows; ++i) {
      gradient[i] = input_gradient[i * (kStateSize + 1) + kStateSize];
    }
    actor_adam_.Step(actor_.Backward(gradient), actor_.parameters());

    SoftUpdate(actor_.parameters(), options_.soft_update, target_actor_.parameters());
    SoftUpdate(critic_.parameters(), options_.soft_update, target_critic_.parameters());
  }

  AgentProgress progress_;
  const DdpgOptions options_;
  Mlp actor_, critic_, target_actor_, target_critic_;
  Adam actor_adam_, critic_adam_;
  ReplayBuffer replay_;
  bool has_baseline_ = false;
  double baseline_ = 0;
};

absl::Status CheckRange(absl::string_view name, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("ddpg.", name, ": ", value, " is not in [", low, ", ", high, "]"));
}

absl::Status CheckOptions(const DdpgOptions& o) {
  constexpr double kMany = 1e6;
  AMC_RETURN_IF_ERROR(CheckRange("hidden", static_cast<double>(o.hidden), 1, 10000));
  AMC_RETURN_IF_ERROR(CheckRange("actor_learning_rate", o.actor_learning_rate, 0, 1));
  AMC_RETURN_IF_ERROR(CheckRange("critic_learning_rate", o.critic_learning_rate, 0, 1));
  AMC_RETURN_IF_ERROR(CheckRange("soft_update", o.soft_update, 0, 1));
  AMC_RETURN_IF_ERROR(CheckRange("discount", o.discount, 0, 1));
  AMC_RETURN_IF_ERROR(CheckRange("batch", static_cast<double>(o.batch), 1, 10000));
  AMC_RETURN_IF_ERROR(
      CheckRange("warmup_episodes", static_cast<double>(o.warmup_episodes), 0, kMany));
  AMC_RETURN_IF_ERROR(CheckRange("noise", o.noise, 0, 10));
  AMC_RETURN_IF_ERROR(CheckRange("noise_decay", o.noise_decay, 0, 1));
  AMC_RETURN_IF_ERROR(
      CheckRange("replay_transitions", static_cast<double>(o.replay_transitions), 1, kMany));
  return CheckRange("baseline_decay", o.baseline_decay, 0, 1);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> MakeDdpgPaper(const Environment& env,
                                                     const AgentOptions& options) {
  AMC_RETURN_IF_ERROR(CheckOptions(options.ddpg));
  return std::make_unique<DdpgPaper>(env, options,
                                     Rng(options.seed, RandomStream(RandomPurpose::kInit)));
}

}  // namespace amc
