// Committed episodes as rows. Each function runs inside the caller's transaction; store.h says what
// they promise.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/sqlite.h"
#include "storage/store.h"

namespace amc::rows {

// AlreadyExists for a number that was committed; InvalidArgument for an episode of another job, a
// negative number, or a reward or accuracy that is not a number (they could not be ordered).
absl::Status InsertEpisode(sqlite::Database& db, int64_t job_key, const std::string& job,
                           const v1::Episode& episode);
absl::StatusOr<v1::ListEpisodesResponse> ListEpisodes(sqlite::Database& db,
                                                      const v1::ListEpisodesRequest& request);
absl::StatusOr<v1::Episode> GetEpisode(sqlite::Database& db, const std::string& job,
                                       int64_t number);
absl::StatusOr<v1::Episode> BestEpisode(sqlite::Database& db, const std::string& job);

}  // namespace amc::rows
