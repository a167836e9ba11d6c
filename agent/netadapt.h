// `netadapt`: Yang et al., "NetAdapt: Platform-Aware Neural Network Adaptation for Mobile
// Applications", ECCV 2018 (arXiv 1804.03230), algorithm 1 and section 3.2.
//
// Iteration i takes the resource down by step * decay^i of the way from the whole network to the
// budget. Every group proposes to give that up alone (netadapt_steps.h); the proposals are measured
// and the best is where the next iteration starts. The winners are the series; the last one is on
// the budget. The short fine-tune of a proposal is the evaluator's (evaluation.finetune_steps), the
// long one of the result amc finetune's.
//
// What the paper leaves open:
//
// - Proposals are ranked on EvolutionOptions::screening_images. Those of the last iteration are
//   measured on all reward images where what is left pays for that, else its winner alone is
//   measured so, once more.
// - The schedule fits the search: where what is left does not pay for the planned iterations, steps
//   grow so that fewer arrive. What a proposal costs is known from those that were measured.
// - What a network on the budget leaves of it goes back to whichever groups can grow.
// - Where not even one more iteration can be paid for, or no proposal of an iteration could be
//   measured, the best network so far lands on the budget at once, all groups by one common factor.
// - Without a budget the way leads to the smallest network there is and every proposal, on all
//   reward images, is a candidate.
//
// The first proposal of an iteration is drawn alone, because what is left then decides how far the
// iteration goes. Its cost tells the target to whoever learns it.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "agent/agent.h"
#include "agent/agent_registry.h"
#include "env/env.h"

namespace amc {

// InvalidArgument for a schedule that is out of range or never arrives.
absl::StatusOr<std::unique_ptr<Agent>> MakeNetAdapt(const Environment& env,
                                                    const AgentOptions& options);

}  // namespace amc
