// Which episodes stand on a page: the filters and orders of ListEpisodes as SQL.
//
// Every order has an index that ends with the filters' columns (schema.cc), so that a page is a
// walk along that index from where the last page ended, without a look at the table. The walk is
// long where few of the first episodes pass the filters. Then the index of the most selective
// filter is the better one: its few matches are sorted. Which case it is cannot be known beforehand
// (filters and order correlate), so the walk gets a bounded amount of work first.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "amc/v1/job.pb.h"
#include "storage/sqlite.h"

namespace amc::rows {

// An episode's place in an order: its sort key, ties by number.
struct EpisodePosition {
  sqlite::Number key;
  int64_t number = 0;
  int64_t rowid = 0;  // of table episodes; not part of the place
};

// What the walk along the order's index may cost before another index is considered, in
// instructions (WorkLimit): some 50,000 rows, a few milliseconds.
inline constexpr int64_t kQuickWork = 500'000;

// The first `limit` episodes of a job after `after` (from the beginning if unset) that pass the
// filter, in order. InvalidArgument for an unknown order and for a filter that is not a number.
absl::StatusOr<std::vector<EpisodePosition>> FindEpisodes(
    sqlite::Database& db, int64_t job_key, v1::EpisodeOrder order, const v1::EpisodeFilter& filter,
    const std::optional<EpisodePosition>& after, int64_t limit, int64_t quick_work = kQuickWork);

}  // namespace amc::rows
