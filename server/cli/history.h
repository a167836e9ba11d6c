// A job's episodes as lines of text that can be compared byte for byte.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "amc/v1/job.pb.h"
#include "server/cli/client.h"

namespace amc {

// "candidate", "screening" or "probe"; in older histories all are candidates.
std::string KindName(v1::EpisodeKind kind);

// One line of JSON with what a job's spec and numerics id determine, and nothing else: number,
// note, kind, steps (group, action, executed, kept), policy, cost, evaluations (what it cost the
// search), measurement, reward; of an infeasible episode, instead of the last two, state and
// reason. No times, workers or attempts, and not whether it was measured or answered from the
// store. Numbers are JSON numbers; doubles have as many digits as read back to the same bits. The
// order of the fields is fixed.
std::string CanonicalLine(const v1::Episode& episode);

// Hands the episodes that `request` asks for to `consume`, page by page, at most `limit` of them
// (0: all).
absl::Status ForEachEpisode(Client& client, v1::ListEpisodesRequest request, int64_t limit,
                            const std::function<void(const v1::Episode&)>& consume);

}  // namespace amc
