// Where a search by exchanges begins, and what there is to find where that is little.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "agent/policy_space.h"
#include "env/env.h"

namespace amc {

// The same ratio for every group (but for residual paths, where that reaches the budget), topped up
// to the budget; whole without one.
Choice UniformStart(const Environment& env, const PolicySpace& space);

// The counts `kept`, all scaled alike to the budget where they exceed it, and topped up.
Choice FittedStart(const Environment& env, const PolicySpace& space,
                   absl::Span<const int64_t> kept);

// All policies worth measuring, if they are at most `limit`: those within budget whose groups
// cannot grow any more; without a budget all there are. Nothing if there are more, or if finding
// out would take too long.
std::optional<std::vector<Choice>> AllPolicies(const PolicySpace& space, size_t limit);

}  // namespace amc
