// What a candidate is: how much each group keeps.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/graph/granularity.h"
#include "env/graph/groups.h"

namespace amc {

struct Decision {
  std::string target;  // a PruneGroup's name
  Granularity granularity = Granularity::kChannel;
  int64_t kept = 0;
  friend bool operator==(const Decision&, const Decision&) = default;
};

// One decision per group of a Grouping, in its order. Groups that are not listed stay whole.
struct Policy {
  std::vector<Decision> decisions;
  friend bool operator==(const Policy&, const Policy&) = default;
};

// The kept count of every group of `grouping`, whole where the policy is silent. InvalidArgument
// names the group that is unknown, listed twice, kept below 1 or above its channels, or off its
// cells ("group conv3: 70 channels kept of 64").
absl::StatusOr<std::vector<int64_t>> KeptCounts(const Policy& policy, const Grouping& grouping);

// The inverse: a policy with one decision per group.
Policy MakePolicy(const Grouping& grouping, absl::Span<const int64_t> kept);

}  // namespace amc
