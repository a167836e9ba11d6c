// Follows a job for a command: Ctrl-C ends the command, not the job.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "amc/v1/job.pb.h"
#include "server/cli/client.h"
#include "server/cli/follow.h"
#include "server/cli/process_tree.h"

namespace amc {

// One thread.
class Watcher {
 public:
  // Before any other thread begins: gRPC's too.
  Watcher() = default;
  ~Watcher() { signals_.OnStop(nullptr); }

  // FollowJob until the job ends; InterruptedError once the user has seen enough.
  absl::StatusOr<v1::Job> Follow(Client& client, const std::string& job,
                                 const FollowOptions& options);

 private:
  ProcessTree signals_;  // without processes
};

}  // namespace amc
