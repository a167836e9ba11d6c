#include "server/cli/top.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "server/cli/follow.h"
#include "server/cli/format.h"
#include "server/cli/json.h"
#include "server/cli/progress.h"
#include "server/cli/table.h"
#include "server/cli/worker_text.h"

namespace amc {
namespace {

constexpr size_t kTableHead = 2;  // lines: titles and rule

double SecondsBetween(int64_t earlier_ms, int64_t later_ms) {
  return static_cast<double>(std::max<int64_t>(0, later_ms - earlier_ms)) / 1000;
}

std::vector<std::string> Header(const TopSnapshot& snapshot) {
  const v1::ServerStatus& status = snapshot.status;
  std::vector<std::string> lines = {
      absl::StrFormat("amc %s at %s, up %s", status.version(), snapshot.address,
                      HumanDuration(SecondsBetween(status.start_time_ms(), status.now_ms()))),
      absl::StrFormat("jobs: %d running, %d queued   workers: %d, %d busy   completions: %.1f/min, "
                      "%d in all",
                      status.jobs_running(), status.jobs_queued(), status.workers(),
                      status.workers_busy(), status.completions_per_minute(), status.completions()),
      absl::StrFormat("artifacts: %s%s   database: %s   disk: %s free",
                      HumanBytes(status.artifact_bytes()),
                      status.artifact_quota_bytes() > 0
                          ? absl::StrCat(" of ", HumanBytes(status.artifact_quota_bytes()))
                          : "",
                      HumanBytes(status.database_bytes()), HumanBytes(status.disk_free_bytes()))};
  if (!snapshot.trouble.empty()) lines.push_back(snapshot.trouble);
  return lines;
}

// Speed and ETA from the last commits: what this server did before, or an earlier one, says
// nothing.
struct Pace {
  std::string per_minute, eta;
};
Pace PaceOf(const v1::Job& job, const TopSnapshot& snapshot) {
  const auto recent = snapshot.recent.find(job.id());
  if (recent == snapshot.recent.end()) return {};
  const int64_t since = std::max(snapshot.status.start_time_ms(), job.start_time_ms());
  double spent = job.evaluations_spent();
  for (const v1::Episode& episode : recent->second) spent -= episode.evaluations();
  EtaMeter meter;
  for (const v1::Episode& episode : recent->second) {
    spent += episode.evaluations();
    if (episode.commit_time_ms() < since) continue;
    meter.Add(spent, absl::FromUnixMillis(episode.commit_time_ms()));
  }
  const absl::Time now = absl::FromUnixMillis(snapshot.status.now_ms());
  const double speed = meter.PerSecond(now);
  const std::string eta =
      meter.Eta(job.evaluations_spent(), static_cast<double>(job.spec().search().episodes()), now);
  return {speed > 0 ? absl::StrFormat("%.1f", 60 * speed) : "",
          std::string(absl::StripPrefix(eta, "ETA "))};
}

std::vector<std::string> JobLines(const TopSnapshot& snapshot) {
  std::vector<const v1::Job*> jobs;
  jobs.reserve(snapshot.jobs.size());
  for (const v1::Job& job : snapshot.jobs) jobs.push_back(&job);
  std::stable_sort(jobs.begin(), jobs.end(), [](const v1::Job* a, const v1::Job* b) {
    const auto rank = [](const v1::Job& job) {
      return std::tuple(job.state() == v1::JOB_STATE_QUEUED, -job.spec().priority(),
                        job.create_time_ms());
    };
    return rank(*a) < rank(*b);
  });
  Table table({{"job"},
               {"name"},
               {"state"},
               {"episodes", Align::kRight},
               {"evaluations", Align::kRight},
               {"reused", Align::kRight},
               {"best reward", Align::kRight},
               {"per min", Align::kRight},
               {"ETA"}});
  for (const v1::Job* job : jobs) {
    const Pace pace = PaceOf(*job, snapshot);
    table.AddRow({job->id(), job->spec().name(), JobStateName(job->state()),
                  absl::StrCat(job->episodes_done()),
                  job->spec().has_build()
                      ? ""
                      : SpentOf(job->evaluations_spent(), job->spec().search().episodes()),
                  job->episodes_reused() > 0 ? absl::StrCat(job->episodes_reused()) : "",
                  job->best_episode() >= 0 && job->episodes_done() > 0
                      ? absl::StrFormat("%.4f", job->best_reward())
                      : "",
                  pace.per_minute, pace.eta});
  }
  return absl::StrSplit(absl::StripSuffix(table.ToString(), "\n"), '\n');
}

std::vector<std::string> WorkerLines(const TopSnapshot& snapshot) {
  Table table({{"worker"},
               {"host"},
               {"state"},
               {"completed", Align::kRight},
               {"seen", Align::kRight},
               {"job"},
               {"task", Align::kRight},
               {"doing"}});
  for (const v1::Worker& worker : snapshot.workers) {
    const double ago = SecondsBetween(worker.last_seen_ms(), snapshot.status.now_ms());
    table.AddRow({ShortUuid(worker), worker.capabilities().hostname(), WorkerStateName(worker),
                  absl::StrCat(worker.completed()), absl::StrCat(HumanDuration(ago), " ago"),
                  worker.lease().job(),
                  worker.has_lease() ? absl::StrCat(worker.lease().task()) : "",
                  WorkerActivity(worker)});
  }
  return absl::StrSplit(absl::StripSuffix(table.ToString(), "\n"), '\n');
}

// Appends an empty line and a table cut to `rows` rows; says how many are left out.
void AddTable(const std::vector<std::string>& table, size_t rows, const char* what,
              std::vector<std::string>& lines) {
  const size_t all = table.size() - kTableHead;
  lines.emplace_back();
  if (all == 0) {
    lines.push_back(absl::StrCat("no ", what));
    return;
  }
  const size_t shown = all <= rows ? all : rows > 0 ? rows - 1 : 0;
  lines.insert(lines.end(), table.begin(),
               table.begin() + static_cast<std::ptrdiff_t>(kTableHead + shown));
  if (shown < all) lines.push_back(absl::StrCat("... ", all - shown, " more ", what));
}

std::string JsonList(const std::vector<std::string>& items) {
  return absl::StrCat("[", absl::StrJoin(items, ", "), "]");
}

}  // namespace

std::vector<std::string> TopLines(const TopSnapshot& snapshot, TerminalSize size) {
  std::vector<std::string> lines = Header(snapshot);
  const std::vector<std::string> jobs = JobLines(snapshot), workers = WorkerLines(snapshot);
  // Two tables with an empty line and a head each share the rest; neither gets more than it needs.
  const size_t taken = lines.size() + 2 * (1 + kTableHead);
  const size_t left = size.rows > taken ? size.rows - taken : 0;
  const size_t all_jobs = jobs.size() - kTableHead, all_workers = workers.size() - kTableHead;
  const size_t for_workers = std::min(all_workers, left / 2);
  const size_t for_jobs = std::min(all_jobs, left - for_workers);
  AddTable(jobs, for_jobs, "jobs", lines);
  AddTable(workers, left - for_jobs, "workers", lines);
  if (lines.size() > size.rows) lines.resize(size.rows);
  for (std::string& line : lines) line = Clip(line, size.columns);
  return lines;
}

std::string TopJson(const TopSnapshot& snapshot) {
  std::vector<std::string> jobs, workers;
  for (const v1::Job& job : snapshot.jobs) jobs.push_back(ToJson(job, false));
  for (const v1::Worker& worker : snapshot.workers) workers.push_back(ToJson(worker, false));
  return absl::StrCat("{\"status\": ", ToJson(snapshot.status, false),
                      ",\n\"jobs\": ", JsonList(jobs), ",\n\"workers\": ", JsonList(workers),
                      "}\n");
}

}  // namespace amc
