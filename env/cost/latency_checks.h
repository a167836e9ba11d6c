// What a latency table must be, piece by piece, shared by what checks a table in memory (which
// calls rows by number) and what reads a file (by line). Messages name the field and what is wrong
// with it
// ("median_us is -1, want above 0"); the caller says where.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "env/cost/latency_table.h"

namespace amc {

inline constexpr size_t kMaxLatencyRows = 1'000'000;
inline constexpr size_t kMaxLatencyText = 1024;  // bytes of a name, kind or version

// What may stand in a line of its own: UTF-8 without control characters or blanks at its ends.
absl::Status CheckLatencyText(absl::string_view field, absl::string_view text);
// Empty, YYYY-MM-DD or RFC 3339.
absl::Status CheckLatencyDate(absl::string_view date);
absl::Status CheckAtLeastOne(absl::string_view field, int64_t value);
absl::Status CheckFinite(absl::string_view field, double value);
absl::Status CheckNotNegative(absl::string_view field, double value);
absl::Status CheckLatencyFit(const LatencyFit& fit);
// Of one row alone.
absl::Status CheckLatencyRow(const LatencyRow& row);
// Of rows together, good ones by themselves: no key twice, full grids. Row i is "`unit` `first`+i".
absl::Status CheckLatencyGrids(absl::Span<const LatencyRow> rows, absl::string_view unit,
                               size_t first);

}  // namespace amc
