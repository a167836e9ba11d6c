// What a search has measured so far, in episode order: all that exchange_agent.h and ddpg.h learn
// from.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "agent/agent.h"
#include "agent/policy_space.h"
#include "base/bytes.h"
#include "env/env.h"

namespace amc {

struct Outcome {
  Choice choice;
  EpisodeKind kind = EpisodeKind::kCandidate;
  int64_t images = 0;  // 0: all
  double reward = 0;
  bool infeasible = false;  // then there is no reward
  bool remembered = false;  // of an earlier search
};

// Of a policy of `space`; without a reward it is infeasible. Nothing for counts that are not on the
// lattice: those of a search with another one would be taken for policies that nobody measured.
std::optional<Outcome> OutcomeOf(const PolicySpace& space, const Grouping& grouping,
                                 const Episode& episode, std::optional<double> reward);

// Layout: count, of each its choice as count and u32s, kind u8, images i64, reward f64, infeasible
// u8, remembered u8.
void SaveOutcomes(const std::vector<Outcome>& outcomes, ByteWriter& writer);
// InvalidArgument unless they are policies of `space`.
absl::StatusOr<std::vector<Outcome>> ReadOutcomes(const PolicySpace& space, ByteReader& reader);

}  // namespace amc
