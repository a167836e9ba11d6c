// What proposes candidates. Agents are made by name (agent_registry.h); each follows this
// interface and passes tests/agent/agent_conformance_test.cc.
//
// Who calls what, in order: Remember for what earlier jobs found, if anything; then, generation by
// generation, Propose for every episode, at most available() of them, and for each of them, in
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

// What an episode is drawn for. What it costs is counted in full evaluations: a candidate on all
// reward images costs 1, anything else its work (Measurement::work) relative to that of a candidate
// at the budget on all reward images.
enum class EpisodeKind {
  kCandidate = 1,  // within budget, on all reward images: may win
  kScreening = 2,  // on fewer images, or above the budget on the way to it: never wins
  kProbe = 3,      // one group is cut, the others are whole: a point of a sensitivity curve
};

// One candidate as drawn: the walk, step by step, and where it led. Agents that choose all counts
// at once take no steps: they observe nothing, and their actions are the ratios they chose.
struct Episode {
  int64_t number = 0;
  EpisodeKind kind = EpisodeKind::kCandidate;
  int64_t images = 0;                     // of the reward split; 0: all
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

  // Takes an episode of an earlier search of the same network, data and evaluation, perhaps under
  // another budget, before the first Propose. Agents that cannot use it leave it.
  virtual void Remember(const Episode& /*episode*/, double /*reward*/) {}

  // Draws episode `number` (0, 1, ...) in `env`, which it may reset. A candidate (by its kind) is
  // within budget. `left` is what the search may still spend in full evaluations, this episode
  // included and what was drawn before it in this generation taken off. InvalidArgument if `env`
  // has another shape than the one the agent was made for; OutOfRange for a number that is negative
  // or not available; NotFound where it turns out that there is nothing new to say, which ends the
  // search.
  virtual absl::StatusOr<Episode> Propose(Environment& env, int64_t number, double left) = 0;

  // Takes the reward of an episode that this agent (or a restored copy) proposed. InvalidArgument
  // unless it is the next one in order and the reward is finite.
  virtual absl::Status Learn(const Episode& episode, double reward) = 0;

  // Takes note that such an episode has no outcome (Measurement::infeasible): its number counts,
  // nothing is learnt. InvalidArgument unless it is the next one in order.
  virtual absl::Status Skip(const Episode& episode) = 0;

  // How many episodes can be drawn, from the first one on that was not learnt yet, before this
  // agent has to learn; INT64_MAX if it never has to, 0 if it has nothing new to say any more.
  virtual int64_t available() const = 0;

  // Numbers of learnt episodes that are results of their own beside the best (NetAdapt's series),
  // ascending.
  virtual std::vector<int64_t> series() const { return {}; }

  // Everything that later calls depend on. RestoreState is InvalidArgument for bytes of another
  // agent, version or shape, and leaves the agent as it was.
  virtual std::string SaveState() const = 0;
  virtual absl::Status RestoreState(absl::string_view bytes) = 0;
};

}  // namespace amc
