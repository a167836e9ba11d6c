// `ddpg-paper`: the agent of He et al., "AMC: AutoML for Model Compression and Acceleration on
// Mobile Devices", ECCV 2018 (arXiv 1802.03494), on DDPG (Lillicrap et al., ICLR 2016).
//
// What follows which source:
//
// - State, action: 11 features in, one preserve ratio out (AMC 3.1); a sigmoid on the actor.
// - Networks: two hidden layers of 300 (AMC 4); the critic takes (s, a). Initial weights as
//   in DDPG, section 7 (mlp.h).
// - Transitions: (s, a, R, s', done), R the episode's final reward on each (AMC 3.2). `a` is the
//   action carried out after rounding and budget, as NNI stores; AMC's code stores the raw one,
//   which teaches the critic values of actions never taken.
// - Target: y = R - b + discount * Q'(s', mu'(s')), discount 1 (AMC eq. 2).
// - Baseline b: moving average of batch means, decay 0.5, subtracted after its update (code).
// - Updates: Adam 1e-4 actor, 1e-3 critic, batch 64, soft update 0.01 (AMC 4); one update for each
//   transition of an episode after warm-up (code).
// - Exploration: 100 episodes of uniform ratios, then a truncated normal of deviation 0.5
//   around the actor's ratio, times 0.95 each episode (AMC 4).
// - Replay: the last 2,000 transitions (AMC 4); the code keeps 100 episodes.
//
// Ratios lie between the group's smallest choice and 1. The mean is moved into that interval before
// noise is added: far outside of it a truncated normal of small deviation cannot be sampled.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "agent/agent.h"
#include "agent/agent_registry.h"
#include "env/env.h"

namespace amc {

// InvalidArgument for a setting out of range.
absl::StatusOr<std::unique_ptr<Agent>> MakeDdpgPaper(const Environment& env,
                                                     const AgentOptions& options);

}  // namespace amc
