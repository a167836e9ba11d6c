#include "server/cli/watcher.h"

#include "absl/strings/str_cat.h"
#include "server/cli/exit_status.h"

namespace amc {

absl::StatusOr<v1::Job> Watcher::Follow(Client& client, const std::string& job,
                                        const FollowOptions& options) {
  signals_.OnStop([&client] { client.CancelCalls(); });
  absl::StatusOr<v1::Job> ended = FollowJob(client, job, options);
  signals_.OnStop(nullptr);
  if (ended.ok() || signals_.status().ok()) return ended;
  return WithHint(
      InterruptedError(absl::StrCat("job ", job, " goes on")),
      absl::StrCat("`amc watch ", job, "` follows it, `amc cancel ", job, "` stops it."));
}

}  // namespace amc
