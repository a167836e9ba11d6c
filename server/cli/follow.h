// Watching a job until it ends, with a progress line.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "amc/v1/job.pb.h"
#include "server/cli/client.h"

namespace amc {

// Who is told what happens to a job. One thread.
class JobListener {
 public:
  virtual ~JobListener() = default;
  virtual void Tell(const v1::JobEvent& event) = 0;
  // A line that stays.
  virtual void Say(const std::string& text) = 0;
};

struct FollowOptions {
  bool json = false;  // print every event as a line of JSON to stdout instead of progress
  JobListener* listener = nullptr;  // is told instead of either; not owned
  // What progress calls the network that the job begins with, and what it shows costs as a share
  // of; unset: the cost of that network.
  std::string beginning = "the original";
  std::optional<v1::Cost> whole;
  int64_t after_sequence = 0;
  // How long the server may wait for something outside (a full disk) before it is an error here;
  // the job itself goes on waiting.
  absl::Duration patience = absl::InfiniteDuration();
  // Lines that something else has to say, taken with every event and shown among the progress.
  std::function<std::vector<std::string>()> news;
};

// Follows the job to its end, over lost connections too, and returns it as it ended. Of a server
// that is there but takes no more watchers it shows what it says, and tries on. Cancelled when
// Client::CancelCalls did so; Unavailable when the server stays away; ResourceExhausted when
// `patience` is over.
absl::StatusOr<v1::Job> FollowJob(Client& client, const std::string& id,
                                  const FollowOptions& options);

// "succeeded", "searching": a state as people read it.
std::string JobStateName(v1::JobState state);

// How to go on with a job on a server that has ended without a result.
std::string ResumeHint(const v1::Job& job);
// What to do about a failed job; `hint` on how to go on with it is part of that.
std::string FailureHint(const v1::Job& job, absl::string_view hint);
// OK if it succeeded; otherwise its failure, with what to do about it.
absl::Status JobOutcome(const v1::Job& job, absl::string_view hint);

}  // namespace amc
