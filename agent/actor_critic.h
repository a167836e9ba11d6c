// An actor and a critic with their optimisers: what the DDPG agents have in common (Lillicrap et
// al., "Continuous control with deep reinforcement learning", ICLR 2016, algorithm 1).
//
// The actor maps a state to one action in (0, 1), the critic a state and an action to a value.
// Initial weights as in DDPG, section 7 (mlp.h). Targets, copies of both that follow slowly, are
// for agents that bootstrap.
//
// Saved: the parameters of actor, critic and, if there are, their targets; then the state of both
// optimisers (steps, first, second moments).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "agent/agent_registry.h"
#include "agent/mlp.h"
#include "base/bytes.h"
#include "base/rng.h"

namespace amc {

// InvalidArgument for a setting out of range.
absl::Status CheckDdpgOptions(const DdpgOptions& options);

// Thread-compatible. May throw what torch throws. States are rows of state_size numbers; actions,
// values and targets have one number a row.
class ActorCritic {
 public:
  enum class Targets { kNone, kFollowing };

  ActorCritic(int64_t state_size, const DdpgOptions& options, Targets targets, Rng& init);

  // The results stay valid until the next call.
  absl::Span<const float> Actions(absl::Span<const float> states) { return actor_.Forward(states); }
  absl::Span<const float> Values(absl::Span<const float> states, absl::Span<const float> actions);
  // Of the target critic at the target actor's actions.
  absl::Span<const float> TargetValues(absl::Span<const float> states);

  // A step of the critic down its mean squared error.
  void FitCritic(absl::Span<const float> states, absl::Span<const float> actions,
                 absl::Span<const double> targets);
  // A step of the actor up the critic's slope at its own actions, the loss being -mean Q(s, mu(s)).
  void ImproveActor(absl::Span<const float> states);
  // The targets come closer by `soft_update`.
  void UpdateTargets();

  void Save(ByteWriter& writer) const;
  // InvalidArgument for networks of other sizes; they are then as they were or read in part, so
  // read into a copy.
  absl::Status Read(ByteReader& reader);

 private:
  // The critic's input.
  std::vector<float> Join(absl::Span<const float> states, absl::Span<const float> actions) const;

  int64_t state_size_;
  double soft_update_;
  Mlp actor_, critic_;
  std::vector<Mlp> targets_;  // none, or of actor and critic
  Adam actor_adam_, critic_adam_;
};

}  // namespace amc
