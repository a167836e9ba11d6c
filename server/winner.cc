#include "server/winner.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "agent/policy_space.h"
#include "agent/starts.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "server/convert.h"
#include "server/job_error.h"
#include "server/job_settings.h"
#include "server/rpc/latency_convert.h"

namespace amc {
namespace {

constexpr int kPage = 1000;
constexpr size_t kCutAtMost = 100;                      // candidates that are tried to be cut
constexpr double kTolerance = FinalistRounds::kMargin;  // of finalists' medians
// How long other workers may take to come back when the first one has, as after a restart.
constexpr absl::Duration kGrace = absl::Seconds(2);
constexpr absl::Duration kLook = absl::Milliseconds(100);
constexpr absl::Duration kSay = absl::Seconds(2);  // how often the wait is told

// The bound on latency of a budget; null if there is none.
const v1::BudgetBound* LatencyBound(const v1::Budget& budget, v1::BudgetBound& scratch) {
  if (budget.resource() == v1::RESOURCE_LATENCY) {
    if (budget.has_ratio()) scratch.set_ratio(budget.ratio());
    if (budget.has_absolute()) scratch.set_absolute(budget.absolute());
    return &scratch;
  }
  for (const v1::BudgetBound& bound : budget.also()) {
    if (bound.resource() == v1::RESOURCE_LATENCY) return &bound;
  }
  return nullptr;
}

// The budget with `nanoseconds` as its bound on latency.
v1::Budget Tightened(v1::Budget budget, int64_t nanoseconds) {
  if (budget.resource() == v1::RESOURCE_LATENCY) budget.set_absolute(nanoseconds);
  for (v1::BudgetBound& bound : *budget.mutable_also()) {
    if (bound.resource() == v1::RESOURCE_LATENCY) bound.set_absolute(nanoseconds);
  }
  return budget;
}

}  // namespace

absl::Status WinnerChoice::Prepare() {
  const v1::JobSpec& spec = job_.spec();
  const std::string& table = spec.latency().table();
  AMC_ASSIGN_OR_RETURN(const v1::LatencyTableInfo info, hands_.store->FindLatencyTable(table));
  setting_ = info.setting();
  for (const v1::LatencyFit& fit : info.fits()) {
    if (fit.model() == spec.model() || (fit.model().empty() && fit_.model().empty())) fit_ = fit;
  }
  AMC_ASSIGN_OR_RETURN(const std::shared_ptr<const Graph> graph,
                       hands_.models->Model(spec.model()));
  AMC_ASSIGN_OR_RETURN(grouping_, BuildGroups(*graph));
  AMC_ASSIGN_OR_RETURN(model_, hands_.models->Latency(spec.model(), table));
  std::vector<int64_t> whole;
  for (const PruneGroup& group : grouping_.groups) whole.push_back(group.channels);
  target_.predicted_original_ns = model_->Evaluate(whole);
  v1::BudgetBound scratch;
  if (const v1::BudgetBound* const bound = LatencyBound(spec.budget(), scratch)) {
    target_.ratio = bound->ratio();
    AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Environment> env,
                         hands_.models->MakeEnvironment(spec.model(), SettingsOf(spec)));
    for (const CostBound& cost : env->bounds()) {
      if (cost.resource == Resource::kLatency) target_.limit_ns = cost.limit;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<FinalistEntry>> WinnerChoice::History() {
  v1::ListEpisodesRequest request;
  request.set_job(job_.id());
  request.set_page_size(kPage);
  request.set_order(v1::EPISODE_ORDER_REWARD_DESC);
  request.mutable_filter()->add_kinds(v1::EPISODE_KIND_CANDIDATE);
  std::vector<FinalistEntry> history;
  do {
    AMC_ASSIGN_OR_RETURN(v1::ListEpisodesResponse page, hands_.store->ListEpisodes(request));
    for (v1::Episode& episode : *page.mutable_episodes()) {
      if (episode.state() != v1::EPISODE_STATE_DONE) continue;
      AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> kept,
                           KeptCounts(FromProto(episode.policy()), grouping_));
      FinalistEntry& entry = history.emplace_back();
      entry.predicted_ns = model_->Evaluate(kept);
      entry.episode = std::move(episode);
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return history;
}

absl::StatusOr<std::vector<FinalistEntry>> WinnerChoice::Stored(
    const TaskRecord& task, const std::vector<FinalistEntry>& history) {
  std::vector<FinalistEntry> entries;
  for (const v1::Policy& policy : task.timing.policies()) {
    const std::string key = policy.SerializeAsString();
    const auto entry = std::find_if(history.begin(), history.end(), [&](const auto& candidate) {
      return candidate.episode.policy().SerializeAsString() == key;
    });
    if (entry == history.end()) {
      return JobError(v1::FAILURE_REASON_INTERNAL,
                      "a finalist that was measured is not in the history");
    }
    entries.push_back(*entry);
  }
  return entries;
}

absl::Status WinnerChoice::Repair(const FinalistRounds& rounds,
                                  const std::vector<FinalistEntry>& history) {
  const std::string note =
      absl::StrCat("cut for round ", rounds.rounds() + 1, ": the best measured too slow");
  const auto was_cut = [&](const FinalistEntry& entry) { return entry.episode.note() == note; };
  if (std::any_of(history.begin(), history.end(), was_cut)) return absl::OkStatus();  // a restart
  EnvironmentSettings settings = SettingsOf(job_.spec());
  settings.budget = Tightened(settings.budget, rounds.limit_ns());
  const absl::StatusOr<std::unique_ptr<Environment>> env =
      hands_.models->MakeEnvironment(job_.spec().model(), settings);
  if (absl::IsOutOfRange(env.status())) {
    return JobError(v1::FAILURE_REASON_LATENCY,
                    absl::StrCat("no candidate keeps the latency budget when it is measured: ",
                                 rounds.Nearest(), "; nothing that is fast enough can be reached (",
                                 std::string(env.status().message()), ")"));
  }
  AMC_RETURN_IF_ERROR(env.status());
  const PolicySpace space(**env);
  std::vector<std::vector<int64_t>> cut;
  for (const FinalistEntry& entry : absl::MakeConstSpan(history).subspan(0, kCutAtMost)) {
    if (static_cast<int64_t>(cut.size()) >= job_.spec().latency().finalists()) break;
    AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> kept,
                         KeptCounts(FromProto(entry.episode.policy()), grouping_));
    std::vector<int64_t> fitted = space.Kept(FittedStart(**env, space, kept));
    const auto known = [&](const FinalistEntry& other) {
      return FromProto(other.episode.policy()) == MakePolicy(grouping_, fitted);
    };
    if (std::find(cut.begin(), cut.end(), fitted) != cut.end() ||
        std::any_of(history.begin(), history.end(), known)) {
      continue;
    }
    cut.push_back(std::move(fitted));
  }
  return cut.empty() ? absl::OkStatus() : hands_.evaluate(cut, note);
}

absl::StatusOr<std::string> WinnerChoice::WhyUnmeasured() {
  if (job_.spec().latency().finalists() == 0) return "the job has no finalists measured";
  if (job_.spec().latency().must_measure()) return "";  // the board says what it waits for
  const auto measures = [&](const v1::Worker& worker) {
    return Measures(worker.capabilities(), setting_);
  };
  absl::Time until = absl::InfiniteFuture();
  absl::Time say = absl::Now() + kSay;
  while (true) {
    AMC_RETURN_IF_ERROR(hands_.check_going());
    std::vector<v1::Worker> workers = hands_.workers->PresentWorkers();
    std::erase_if(workers, [](const v1::Worker& worker) {
      return worker.state() == v1::WORKER_STATE_DRAINING;
    });
    if (std::any_of(workers.begin(), workers.end(), measures)) return "";
    if (!workers.empty()) until = std::min(until, absl::Now() + kGrace);
    if (absl::Now() >= until) break;
    if (absl::Now() >= say) {
      hands_.say("waiting for a worker: no worker is connected");
      say += kSay;
    }
    absl::SleepFor(kLook);
  }
  return absl::StrCat("no worker measures with ", ToString(FromProto(setting_)));
}

absl::StatusOr<WinnerChoice::Winner> WinnerChoice::Choose() {
  AMC_RETURN_IF_ERROR(Prepare());
  AMC_ASSIGN_OR_RETURN(const std::vector<TaskRecord> tasks, hands_.store->Tasks(job_.id()));
  const auto stored = [&](int64_t round) {
    return std::find_if(tasks.begin(), tasks.end(), [&](const TaskRecord& task) {
      return task.kind == v1::TASK_KIND_TIME && task.episode == round;
    });
  };
  AMC_ASSIGN_OR_RETURN(std::vector<FinalistEntry> history, History());
  if (history.empty()) return absl::InternalError("a search without candidates has no winner");
  std::string unmeasured;
  if (stored(0) == tasks.end()) {
    AMC_ASSIGN_OR_RETURN(unmeasured, WhyUnmeasured());
  }
  FinalistRounds rounds(target_, job_.spec().latency().finalists());
  std::optional<FinalistEntry> winner;
  if (!unmeasured.empty()) winner = history.front();
  while (!winner.has_value() && rounds.rounds() < FinalistRounds::kMostRounds) {
    const auto earlier = stored(rounds.rounds());
    std::vector<FinalistEntry> entries;
    if (earlier != tasks.end()) {
      AMC_ASSIGN_OR_RETURN(entries, Stored(*earlier, history));
    } else {
      if (rounds.rounds() > 0) {
        AMC_LOG(kInfo) << "job " << job_.id() << ": " << rounds.Nearest()
                       << "; candidates predicted within " << rounds.limit_ns()
                       << " ns are measured next";
        AMC_RETURN_IF_ERROR(Repair(rounds, history));
        AMC_ASSIGN_OR_RETURN(history, History());
      }
      entries = rounds.Next(history);
    }
    if (entries.empty()) break;
    TaskRecord task;
    task.kind = v1::TASK_KIND_TIME;
    task.episode = rounds.rounds();
    *task.timing.mutable_setting() = setting_;
    task.timing.set_tolerance(kTolerance);
    for (const FinalistEntry& entry : entries) {
      *task.timing.add_policies() = entry.episode.policy();
    }
    AMC_ASSIGN_OR_RETURN(task, hands_.run(task));
    if (!task.result->infeasible().empty()) {
      unmeasured = task.result->infeasible();
      if (!job_.spec().latency().must_measure()) winner = history.front();
      break;
    }
    rounds.Add(entries, task.result->timing());
    winner = rounds.winner();
  }
  if (!winner.has_value()) {
    return JobError(v1::FAILURE_REASON_LATENCY,
                    unmeasured.empty()
                        ? absl::StrCat("no candidate keeps the latency budget when it is "
                                       "measured: ",
                                       rounds.Nearest())
                        : absl::StrCat("the finalists cannot be measured: ", unmeasured));
  }
  Winner chosen;
  AMC_ASSIGN_OR_RETURN(chosen.episode,
                       hands_.store->GetEpisode(job_.id(), winner->episode.number()));
  chosen.check = rounds.check();
  chosen.check.set_predicted_us(static_cast<double>(winner->predicted_ns) / 1000);
  *chosen.check.mutable_setting() = setting_;
  chosen.check.set_unmeasured(unmeasured);
  if (!fit_.SerializeAsString().empty()) *chosen.check.mutable_fit() = fit_;
  return chosen;
}

}  // namespace amc
