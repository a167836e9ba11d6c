#include "server/cli/worker_text.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/cli/checks.h"
#include "server/cli/exit_status.h"

namespace amc {
namespace {

constexpr size_t kShownDigits = 12;
constexpr size_t kLeastDigits = 4;

}  // namespace

std::string ShortUuid(const v1::Worker& worker) { return worker.uuid().substr(0, kShownDigits); }

std::string WorkerStateName(const v1::Worker& worker) {
  const auto* const value = v1::WorkerState_descriptor()->FindValueByNumber(worker.state());
  return value == nullptr ? absl::StrCat("state ", static_cast<int>(worker.state()))
                          : ShortEnumName(*value);
}

std::string WorkerActivity(const v1::Worker& worker) {
  if (worker.state() == v1::WORKER_STATE_CRASHED) return worker.message();
  const v1::TaskProgress& progress = worker.progress();
  if (!worker.has_lease() || progress.what().empty()) return "";
  if (progress.total() <= 0) return progress.what();
  return absl::StrCat(progress.what(), " ", progress.done(), "/", progress.total());
}

absl::StatusOr<std::string> FindWorker(absl::Span<const v1::Worker> workers,
                                       const std::string& prefix) {
  if (prefix.size() < kLeastDigits) {
    return UsageError(absl::StrCat("worker \"", prefix, "\": at least ", kLeastDigits,
                                   " characters of its uuid are needed"));
  }
  std::vector<std::string> found;
  for (const v1::Worker& worker : workers) {
    if (absl::StartsWith(worker.uuid(), prefix)) found.push_back(worker.uuid());
  }
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    return WithHint(absl::NotFoundError(absl::StrCat("no worker ", prefix, "... is there")),
                    "`amc workers` lists those who are.");
  }
  return UsageError(
      absl::StrCat("worker \"", prefix, "\" may be any of ", absl::StrJoin(found, ", ")));
}

}  // namespace amc
