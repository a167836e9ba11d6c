// The engine of `evolution` and `hybrid`: candidates by exchanges, measured on ever more images.
//
// It first probes, if it is to; then it measures its starts; from then on it draws new policies
// (proposer.h), measures them on few reward images (screening) and promotes the best of them, level
// by level, to all images: successive halving (Jamieson and Talwalkar, AISTATS 2016), run
// continuously, so that every level gets about twice what the next one gets. The last
// evaluation is always a promotion. No policy is measured twice on as many images. Where the
// lattice has few policies they are measured one by one. Propose is NotFound once no new policy is
// found and all that were screened are promoted.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "agent/agent.h"
#include "agent/agent_registry.h"
#include "agent/proposer.h"
#include "env/env.h"

namespace amc {

struct ExchangeSettings {
  std::string name;
  bool probes = false;
  bool start_uniform = true, start_plan = false;  // both: the plan first
  int levels = 2;  // numbers of images: 1 is no screening, 3 adds one half way up
  ProposalKind proposals = ProposalKind::kRanked;
  double temperature = 1;  // of proposals at the beginning; 0 at the end
};

// InvalidArgument for an option out of range or a start policy that the network cannot have.
absl::StatusOr<std::unique_ptr<Agent>> MakeExchangeAgent(const Environment& env,
                                                         const AgentOptions& options,
                                                         const ExchangeSettings& settings);

}  // namespace amc
