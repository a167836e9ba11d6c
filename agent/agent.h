// What proposes candidates. Agents are made by name (agent_registry.h); each follows this
// interface and passes tests/agent/agent_conformance_test.cc.
//
// Who calls what, in order: Propose for every episode of a generation, then for each of them, in
// episode order, Learn with its reward or, where there is none, Skip. All randomness derives from
// (seed, episode number) or from state that SaveState stores, so that a restored agent goes on bit
// for bit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "env/env.h"

namespace amc {

// One candidate as drawn: the walk, step by step, and where it led. Agents that choose all counts
// at once take no steps: they observe nothing, and their actions are the ratios they chose.
struct Episode {
  int64_t number = 0;
  std::vector<Observation> observations;  // before each step
  std::vector<double> actions;            // as the agent asked
  std::vector<double> executed;           // as the environment carried out
  Policy policy;
  Cost cost;
  std::string note;  // "warm-up", "all groups": shown in the history
};

// Thread-compatible; runs on one thread and leaves torch's global state alone.
class Agent {
 public:
  virtual ~Agent() = default;

  // Draws episode `number` (0, 1, ...) in `env`, which it may reset. The candidate is within
  // budget. InvalidArgument if `env` has another shape than the one the agent was made for;
  // OutOfRange for a negative number or one beyond max_episodes().
  virtual absl::StatusOr<Episode> Propose(Environment& env, int64_t number) = 0;

  // Takes the reward of an episode that this agent (or a restored copy) proposed. InvalidArgument
  // unless it is the next one in order and the reward is finite.
  virtual absl::Status Learn(const Episode& episode, double reward) = 0;

  // Takes note that such an episode has no outcome (Measurement::infeasible): its number counts,
  // nothing is learnt. InvalidArgument unless it is the next one in order.
  virtual absl::Status Skip(const Episode& episode) = 0;

  // How many episodes have something new to say; INT64_MAX if it never ends. Uniform has two.
  virtual int64_t max_episodes() const = 0;

  // Everything that later calls depend on. RestoreState is InvalidArgument for bytes of another
  // agent, version or shape, and leaves the agent as it was.
  virtual std::string SaveState() const = 0;
  virtual absl::Status RestoreState(absl::string_view bytes) = 0;
};

}  // namespace amc
