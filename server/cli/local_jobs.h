// Jobs of a folder's own server: what `amc run` and `amc compare` do with them alike. Nothing of a
// search lives in these commands: after Ctrl-C, kill -9 or power loss the same command finds its
// jobs in the folder's database and goes on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "amc/v1/job.pb.h"
#include "server/cli/follow.h"
#include "server/cli/private_server.h"

namespace amc {

// What can be said before anything starts: model and data are there and whole, the device too.
absl::Status CheckBeforeStart(const v1::JobSpec& local);

// How many workers keep `jobs` jobs of this kind busy: `asked` if that is above 0, otherwise as
// many as the cores and the candidates that are measured at once allow.
int64_t WorkersFor(const v1::JobSpec& spec, int asked, int64_t jobs);
absl::Status StartWorkers(PrivateServer& server, const v1::JobSpec& spec, int64_t workers);

// Newest first.
absl::StatusOr<std::vector<v1::Job>> ListAllJobs(Client& client);

// The first of `jobs` that has this spec (job_comparison.h); null if none has.
const v1::Job* FindSame(const std::vector<v1::Job>& jobs, const v1::JobSpec& spec);

// Submits the spec as it stands. Its request id is made of `prefix` and of the spec with all
// defaults, but for the name: submitting it again gives the same job, unless that is one of `known`
// whose spec has changed since (it was extended): then a new one.
absl::StatusOr<v1::Job> SubmitOnce(Client& client, const std::vector<v1::Job>& known,
                                   absl::string_view prefix, const v1::JobSpec& spec);

// Takes up a job that was cancelled or has failed; any other stays as it is.
absl::StatusOr<v1::Job> TakeUp(Client& client, const v1::Job& job);

// Cancels those that have not ended and are none of `kept` (ids): they would share the workers.
absl::Status CancelOthers(Client& client, const std::vector<v1::Job>& jobs,
                          const std::vector<std::string>& kept);

// FollowJob, with the workers' news, and an end where the disk stays full, whatever `options` say
// of either.
absl::StatusOr<v1::Job> FollowLocally(PrivateServer& server, const std::string& id,
                                      FollowOptions options = {});

// `status`, unless the process tree has stopped, which then is why: with what to do next.
absl::Status OrWhyStopped(const PrivateServer& server, const absl::Status& status);

// What a run leaves of a succeeded job in `folder`, which is made where it is missing: model.onnx,
// policy.json and history.jsonl.
absl::Status WriteResultFiles(Client& client, const v1::Job& job, const std::string& folder);

}  // namespace amc
