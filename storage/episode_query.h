// Which episodes stand on a page: the filters and orders of ListEpisodes as SQL.
//
// Every order has an index that ends with the filters' columns (schema.cc), so that a page is a
// walk along that index from where the last page ended, without a look at the table. The walk is
// long where few of the first episodes pass the filters. Then it is begun again along the zones
// (episode_zones.h) and leaves out those in which nothing can pass. Which case it is cannot be
// known beforehand (filters and order correlate), so the plain walk gets a bounded amount of work
// first.
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

// What the plain walk may cost before zones are considered, in instructions (WorkLimit): some
// 10,000 rows, about a millisecond. 0: zones at once.
inline constexpr int64_t kQuickWork = 100'000;

// So many episodes may be looked at and sorted, a few milliseconds, rather than walked to in order.
inline constexpr int64_t kFewEpisodes = 20'000;

// The first `limit` episodes of a job after `after` (from the beginning if unset) that pass the
// filter, in order. InvalidArgument for an unknown order and for a filter that is not a number.
absl::StatusOr<std::vector<EpisodePosition>> FindEpisodes(
    sqlite::Database& db, int64_t job_key, v1::EpisodeOrder order, const v1::EpisodeFilter& filter,
    const std::optional<EpisodePosition>& after, int64_t limit, int64_t quick_work = kQuickWork,
    int64_t few_episodes = kFewEpisodes);

}  // namespace amc::rows
