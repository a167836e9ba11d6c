// Removes channels physically: a Graph and the channels to keep in, a smaller Graph out.
//
// Every constant is cut along its channel axes, in the order of the kept channels; what spells out
// channel counts follows: `group` of depthwise convolutions, amounts of channel pads, ranges of
// channel slices, sizes of splits, targets of reshapes. Nothing else changes, and constants that
// lose nothing stay shared with the original. Works on weightless graphs.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"

namespace amc {

// For each group of a Grouping, the channels that stay: ascending indices in [0, channels).
using ChannelSelection = std::vector<std::vector<int32_t>>;

// InvalidArgument names the group whose selection is empty, unsorted, out of range or unequal over
// its cells.
absl::Status ValidateSelection(const Grouping& grouping, const ChannelSelection& selection);

// The first kept[g] channels of every group, equally many of each cell. Requires kept counts as
// KeptCounts (env/cost/policy.h) returns them.
ChannelSelection KeepFirst(const Grouping& grouping, absl::Span<const int64_t> kept);

// `grouping` must be that of `graph`. InvalidArgument as ValidateSelection, or if a constant holds
// fewer bytes than its shape says.
absl::StatusOr<Graph> Shrink(const Graph& graph, const Grouping& grouping,
                             const ChannelSelection& selection);

}  // namespace amc
