// Summaries of a job's episodes, so that a walk along an order can leave out what a filter
// excludes.
//
// Along each order the episodes lie in zones, some five hundred to a power of two of the sort key.
// A zone's row bounds what its episodes have in every other respect: where the best top-1 of a zone
// is below what a filter asks for, none of its episodes needs to be looked at. Without them, a
// filter that contradicts the order ("the most accurate below half the MACs", where accuracy grows
// with MACs) would walk over half the history.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "amc/v1/model.pb.h"
#include "storage/sqlite.h"

namespace amc::rows {

// A sort key as table episode_zones counts them.
enum class ZoneAxis { kNumber = 1, kReward = 2, kTop1 = 3, kMacs = 4 };

// Ascends with the value; those of one zone differ by less than one in 512.
int64_t ZoneOf(double value);
// The lowest value of a zone.
double ZoneStart(int64_t zone);

// What an episode is sorted and filtered by, as the table episodes has it.
struct EpisodeKeys {
  int64_t number = 0;
  double reward = 0, top1 = 0;
  int64_t macs = 0, params = 0;
};
absl::Status AddToZones(sqlite::Database& db, int64_t job_key, const EpisodeKeys& keys);

// Makes ZoneOf known to SQL as amc_zone, which the migration that fills the table calls.
absl::Status DefineZoneFunction(sqlite::Database& db);

}  // namespace amc::rows
