// What an iteration of NetAdapt does (Yang et al. 2018, algorithm 1): how far it goes, and the
// networks that its groups propose. Pure functions of the environment's integers.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "agent/agent_registry.h"
#include "env/env.h"

namespace amc {

// InvalidArgument for a setting out of range, or steps that add up to less than the whole way: the
// message says which step arrives.
absl::Status CheckNetAdaptOptions(const NetAdaptOptions& options);

// How many iterations the schedule takes from iteration `iteration` (0, 1, ...) on, `rest` of the
// way from the whole network to the budget being left; at most kMostIterations.
inline constexpr int64_t kMostIterations = 1000;
int64_t IterationsLeft(const NetAdaptOptions& options, int64_t iteration, double rest);

// What of the way may be left after that iteration: its step is step * decay^iteration or, where
// only `affordable` iterations can be paid for, that much longer that these arrive.
double RestAfter(const NetAdaptOptions& options, int64_t iteration, double rest,
                 int64_t affordable);

struct Proposal {
  std::vector<int64_t> kept;
  int64_t cost = 0;    // in the environment's resource
  int32_t group = -1;  // that proposes; -1: all
};

// From a network that costs more than `target`: every group proposes to keep the largest count with
// which it reaches the target alone; groups that cannot are left out. Where none can, every group
// that has something to give proposes its smallest count and what is missing is taken from all
// others by one common factor. What a proposal leaves of `goal`, if it is below, goes to whichever
// groups can grow. Sorted by falling cost, then by group: with the first one's cost as the target
// the same come out again. Empty if all groups are at their smallest.
std::vector<Proposal> ProposeCuts(const Environment& env, absl::Span<const int64_t> kept,
                                  int64_t target, int64_t goal);

// All groups by one common factor, then grown as far as `goal` allows.
Proposal ScaleAll(const Environment& env, absl::Span<const int64_t> kept, int64_t goal);

}  // namespace amc
