#include "agent/actor_critic.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"

namespace amc {
namespace {

absl::StatusOr<std::vector<float>> ReadFloats(ByteReader& reader, size_t expected) {
  std::vector<float> numbers = reader.Floats();
  if (numbers.size() == expected) return numbers;
  return absl::InvalidArgumentError(
      absl::StrCat("agent state: an array of ", numbers.size(), " numbers, expected ", expected));
}

absl::Status CheckRange(absl::string_view name, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("ddpg.", name, ": ", value, " is not in [", low, ", ", high, "]"));
}

}  // namespace

absl::Status CheckDdpgOptions(const DdpgOptions& o) {
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

ActorCritic::ActorCritic(int64_t state_size, const DdpgOptions& options, Targets targets, Rng& init)
    : state_size_(state_size),
      soft_update_(options.soft_update),
      actor_(state_size, options.hidden, Mlp::Output::kSigmoid, init),
      critic_(state_size + 1, options.hidden, Mlp::Output::kLinear, init),
      actor_adam_(actor_.parameters().size(), options.actor_learning_rate),
      critic_adam_(critic_.parameters().size(), options.critic_learning_rate) {
  if (targets == Targets::kFollowing) targets_ = {actor_, critic_};
}

std::vector<float> ActorCritic::Join(absl::Span<const float> states,
                                     absl::Span<const float> actions) const {
  std::vector<float> joined;
  joined.reserve(states.size() + actions.size());
  for (size_t row = 0; row < actions.size(); ++row) {
    const auto state = states.begin() + static_cast<int64_t>(row) * state_size_;
    joined.insert(joined.end(), state, state + state_size_);
    joined.push_back(actions[row]);
  }
  return joined;
}

absl::Span<const float> ActorCritic::Values(absl::Span<const float> states,
                                            absl::Span<const float> actions) {
  return critic_.Forward(Join(states, actions));
}

absl::Span<const float> ActorCritic::TargetValues(absl::Span<const float> states) {
  return targets_[1].Forward(Join(states, targets_[0].Forward(states)));
}

void ActorCritic::FitCritic(absl::Span<const float> states, absl::Span<const float> actions,
                            absl::Span<const double> targets) {
  const absl::Span<const float> values = Values(states, actions);
  std::vector<float> gradient(values.size());
  for (size_t i = 0; i < gradient.size(); ++i) {
    gradient[i] =
        static_cast<float>(2 * (values[i] - targets[i]) / static_cast<double>(gradient.size()));
  }
  critic_adam_.Step(critic_.Backward(gradient), critic_.parameters());
}

void ActorCritic::ImproveActor(absl::Span<const float> states) {
  const absl::Span<const float> values = Values(states, actor_.Forward(states));
  std::vector<float> gradient(values.size(), -1.0f / static_cast<float>(values.size()));
  const absl::Span<const float> input_gradient = critic_.InputGradient(gradient);
  for (size_t i = 0; i < gradient.size(); ++i) {
    gradient[i] = input_gradient[i * (state_size_ + 1) + state_size_];
  }
  actor_adam_.Step(actor_.Backward(gradient), actor_.parameters());
}

void ActorCritic::UpdateTargets() {
  if (targets_.empty()) return;
  SoftUpdate(actor_.parameters(), soft_update_, targets_[0].parameters());
  SoftUpdate(critic_.parameters(), soft_update_, targets_[1].parameters());
}

void ActorCritic::Save(ByteWriter& writer) const {
  writer.Floats(actor_.parameters());
  writer.Floats(critic_.parameters());
  for (const Mlp& target : targets_) writer.Floats(target.parameters());
  for (const Adam* adam : {&actor_adam_, &critic_adam_}) {
    writer.I64(adam->steps());
    writer.Floats(adam->first());
    writer.Floats(adam->second());
  }
}

absl::Status ActorCritic::Read(ByteReader& reader) {
  std::vector<Mlp*> networks{&actor_, &critic_};
  for (Mlp& target : targets_) networks.push_back(&target);
  for (Mlp* network : networks) {
    AMC_ASSIGN_OR_RETURN(network->parameters(), ReadFloats(reader, network->parameters().size()));
  }
  for (Adam* adam : {&actor_adam_, &critic_adam_}) {
    const int64_t steps = reader.I64();
    AMC_ASSIGN_OR_RETURN(std::vector<float> first, ReadFloats(reader, adam->first().size()));
    AMC_ASSIGN_OR_RETURN(std::vector<float> second, ReadFloats(reader, adam->second().size()));
    adam->Restore(steps, std::move(first), std::move(second));
  }
  return absl::OkStatus();
}

}  // namespace amc
