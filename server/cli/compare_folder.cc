#include "server/cli/compare_folder.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "server/cli/exit_status.h"
#include "server/cli/follow.h"
#include "server/cli/job_comparison.h"
#include "server/rpc/job_state.h"

namespace amc {

std::vector<std::string> DifferencesFromComparison(const v1::JobSpec& resolved,
                                                   const v1::JobSpec& spec) {
  const v1::JobSpec was = WithDefaults(resolved);
  v1::JobSpec wanted = WithDefaults(spec);
  wanted.mutable_search()->set_agent(was.search().agent());
  wanted.mutable_search()->set_seed(was.search().seed());
  wanted.mutable_search()->set_episodes(was.search().episodes());
  return Differences(was, wanted);
}

absl::Status CheckComparable(const std::string& folder, const std::vector<v1::Job>& jobs,
                             const v1::JobSpec& spec) {
  const absl::StatusOr<std::string> compared = ReadFile(folder + "/compare.json");
  if (!compared.ok() && !absl::IsNotFound(compared.status())) return compared.status();
  for (const v1::Job& job : jobs) {
    const bool shown = compared.ok() && absl::StrContains(*compared, job.id());
    if (HasEnded(job.state()) && !shown) continue;
    const std::vector<std::string> differences = DifferencesFromComparison(job.spec(), spec);
    if (differences.empty()) continue;
    return WithHint(
        UsageError(absl::StrCat(folder, " holds job ", job.id(), " (", JobStateName(job.state()),
                                shown ? ", in its compare.json" : "",
                                ") of something else: ", absl::StrJoin(differences, "; "))),
        absl::StrCat("Name another folder with -o, or take this one with --force; the job stays "
                     "readable: `amc history ",
                     job.id(), " --dir ", folder, "`."));
  }
  return absl::OkStatus();
}

absl::Status RemoveOtherOutcomes(const std::string& folder, const std::vector<std::string>& kept) {
  std::error_code error;
  std::vector<std::filesystem::path> others;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    const std::filesystem::path& path = at->path();
    if (path.extension() == ".npy" &&
        std::find(kept.begin(), kept.end(), path.string()) == kept.end()) {
      others.push_back(path);
    }
  }
  if (error) return ErrnoToStatus(error.value(), "list", folder);
  for (const std::filesystem::path& path : others) {
    if (!std::filesystem::remove(path, error) && error) {
      return ErrnoToStatus(error.value(), "remove", path.string());
    }
  }
  return absl::OkStatus();
}

}  // namespace amc
