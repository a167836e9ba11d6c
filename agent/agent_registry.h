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

// Of agents that measure single groups first (sensitivity, dp, ddpg, hybrid).
struct ProbeOptions {
  int64_t images = 500;  // of the reward split; 0: all
  int64_t ratios = 4;    // points of every group's curve below 1
};

// Of agents that exchange channels between groups (evolution, hybrid).
struct EvolutionOptions {
  std::string start = "uniform";   // or "dp"; hybrid has its own
  Policy start_policy;             // instead of `start`, unless it has no decisions
  int64_t screening_images = 500;  // on which newcomers are first ranked; 0: all
};

// Parts of hybrid that a bench can turn off, to see what each is worth.
struct HybridOptions {
  bool probes = true;     // off: all groups are believed to lose alike
  bool surrogate = true;  // off: exchanges are random
  bool screening = true;  // off: every candidate is measured on all reward images
  bool plan = true;       // begin with the plan of dp beside the uniform candidate
};

// Yang et al., "NetAdapt", ECCV 2018, section 3.2.
struct NetAdaptOptions {
  double step = 0.05;   // of the way from the whole network to the budget, in the first iteration
  double decay = 0.96;  // of that step, per iteration
};

struct AgentOptions {
  uint64_t seed = 0;
  double evaluations = 200;   // what the whole search may cost, in full evaluations
  int64_t reward_images = 0;  // of a full evaluation; 0: not known (screening then is none)
  // Forwarded for every candidate beside its reward images, to recalibrate or to fine-tune it.
  int64_t overhead_images = 0;
  DdpgOptions ddpg{};
  ProbeOptions probes{};
  EvolutionOptions evolution{};
  HybridOptions hybrid{};
  NetAdaptOptions netadapt{};
};

std::vector<std::string> AgentNames();  // in the order that --help shows them, the default first

// `env` tells the shape of the problem (features, groups); it is not kept. InvalidArgument for an
// unknown name (the message lists the names) or a setting out of range.
absl::StatusOr<std::unique_ptr<Agent>> MakeAgent(absl::string_view name, const Environment& env,
                                                 const AgentOptions& options);

}  // namespace amc
