// `ddpg`: AMC's agent with what makes reinforcement learning pull its weight when every episode has
// to be paid for. What differs from `ddpg-paper` (ddpg_paper.h), and why:
//
// - It probes first (probes.h): single groups' losses are the best predictor there is, and the
//   plan that is best by them (planner.h) is where it starts. Where the search cannot pay for them
//   and a candidate, it starts from losses that are the shares pruned.
// - State: sensitivity, marginal cost, where the budget is landed on, what is lost so far, which
//   budget (walk_model.h). The paper's 11 features say nothing of how much a layer matters.
// - Actions are relative to the ratio that lands on the budget, so an actor that knows nothing
//   walks the plan, and what one step does is made up for by those after it. (Without a budget
//   they are ratios.)
// - Returns are Monte Carlo (returns.h): a walk has one reward at its end, so bootstrapping
//   through target networks would only spread the critic's errors.
// - Beside the measured walks it learns from imagined ones (Sutton, "Dyna", 1991): the actor's own,
//   with the return that a surrogate of all measurements expects. Stepping costs nothing.
// - Everything counts: probes, and every evaluation of the same network, whatever budget or agent
//   it was made for (Remember), replayed as the walk that leads to it.
// - Exploration is a few steps of a walk at a time, so that its outcome says something about them,
//   and fades with what the search has spent. What was drawn before is drawn anew with more noise;
//   where that leads nowhere the search ends.
//
// Of DdpgOptions, `noise` and `noise_decay` are deviation and decay of the action per hundredth of
// the search, `warmup_episodes` are at most a twentieth of what it began with, and what belongs to
// bootstrapping (soft_update, discount, baseline_decay) and to the ring of transitions has no
// effect.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "agent/agent.h"
#include "agent/agent_registry.h"
#include "env/env.h"

namespace amc {

// InvalidArgument for a setting out of range.
absl::StatusOr<std::unique_ptr<Agent>> MakeDdpg(const Environment& env,
                                                const AgentOptions& options);

}  // namespace amc
