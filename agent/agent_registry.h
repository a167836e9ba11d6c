// Agents by name, and their settings.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/agent.h"

namespace amc {

// ddpg-paper's numbers (He et al. 2018, sections 3.2 and 4; where paper and reference code differ
// the field says which is the default).
struct DdpgOptions {
  int64_t hidden = 300;  // both hidden layers of actor and critic
  double actor_learning_rate = 1e-4;
  double critic_learning_rate = 1e-3;
  double soft_update = 0.01;  // tau
  double discount = 1.0;
  int64_t batch = 64;
  int64_t warmup_episodes = 100;
  double noise = 0.5;                 // deviation of the truncated normal
  double noise_decay = 0.95;          // per episode after warm-up
  int64_t replay_transitions = 2000;  // the paper's; the code keeps 100 episodes
  double baseline_decay = 0.5;        // of the moving average of rewards, per batch
};

struct AgentOptions {
  uint64_t seed = 0;
  DdpgOptions ddpg;
};

std::vector<std::string> AgentNames();  // "ddpg-paper", "uniform", "random"

// `env` tells the shape of the problem (features, groups); it is not kept. InvalidArgument for an
// unknown name (the message lists the names) or a setting out of range.
absl::StatusOr<std::unique_ptr<Agent>> MakeAgent(absl::string_view name, const Environment& env,
                                                 const AgentOptions& options);

}  // namespace amc
