// compare: several agents on one job at equal cost, each with several seeds, as one command.
//
// One server and one set of workers for all searches, in one process tree, as `amc run` has them.
// Each search is a job of the folder's server, found again by its settings: the same command goes
// on after Ctrl-C or kill -9, reads finished searches back, and, with another agent or more seeds,
// adds those that are missing. An agent with a search that fails for good is left out of the result
// and makes the exit code 1.
//
//   OUT/compare.json  everything, curves included (comparison_text.h)
//   OUT/compare.csv   a line a search
//   OUT/outcomes/     what each result does with each report image (outcomes.h)
//   OUT/logs/, OUT/.amc/  as of a run
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "server/cli/checks.h"
#include "server/cli/client.h"
#include "server/cli/commands.h"
#include "server/cli/compare_agents.h"
#include "server/cli/compare_folder.h"
#include "server/cli/comparison.h"
#include "server/cli/comparison_progress.h"
#include "server/cli/comparison_text.h"
#include "server/cli/exit_status.h"
#include "server/cli/history.h"
#include "server/cli/job_comparison.h"
#include "server/cli/job_flags.h"
#include "server/cli/local_jobs.h"
#include "server/rpc/job_state.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

struct CompareArgs {
  JobFlags job;
  std::string output, agents = "hybrid,dp,random:400,ddpg-paper:400,uniform";
  int64_t seeds = 5;
  int workers = 0;
  bool force = false, json = false;
};

// One of the comparison's jobs.
struct Search {
  size_t agent = 0;  // of the agents asked for
  uint64_t seed = 0;
  std::string name;  // "random:400 seed 3"
  v1::JobSpec spec;
  v1::Job job;

  bool succeeded() const { return job.state() == v1::JOB_STATE_SUCCEEDED; }
};

constexpr int64_t kMostPriority = 100;  // JobSpec.priority

class CompareCommand {
 public:
  explicit CompareCommand(const CompareArgs& args) : args_(args), server_(args.output) {}

  absl::Status Execute() { return OrWhyStopped(server_, Work()); }

 private:
  absl::Status Work() {
    AMC_ASSIGN_OR_RETURN(const v1::JobSpec local, MakeJobSpec(args_.job));
    AMC_ASSIGN_OR_RETURN(
        agents_,
        ParseComparedAgents(args_.agents, WithDefaults(local).search().episodes(), args_.seeds));
    AMC_RETURN_IF_ERROR(CheckBeforeStart(local));
    const int64_t workers = WorkersFor(local, args_.workers, Searches());
    AMC_RETURN_IF_ERROR(server_.Start(JobsAtOnce(local, workers)));
    server_.tree().OnStop([this] { client().CancelCalls(); });
    v1::JobSpec spec = local;
    AMC_RETURN_IF_ERROR(UploadInputs(client(), spec));
    PlanSearches(spec);
    AMC_RETURN_IF_ERROR(SubmitSearches(spec, local));
    const bool going = std::any_of(searches_.begin(), searches_.end(), [](const Search& search) {
      return !HasEnded(search.job.state());
    });
    if (going) {
      AMC_RETURN_IF_ERROR(StartWorkers(server_, searches_.front().job.spec(), workers));
      AMC_RETURN_IF_ERROR(FollowSearches());
    }
    AMC_RETURN_IF_ERROR(WriteResult());
    return Failures();
  }

  int64_t Searches() const {
    int64_t searches = 0;
    for (const ComparedAgent& agent : agents_) searches += agent.seeds;
    return searches;
  }

  // Enough of them to keep the workers busy.
  static int64_t JobsAtOnce(const v1::JobSpec& spec, int64_t workers) {
    const int64_t parallel = WithDefaults(spec).search().parallel_episodes();
    return std::max(PrivateServer::kJobsAtOnce, (workers + parallel - 1) / parallel);
  }

  // First every agent's first seed: the server begins them in this order, so that an agent that
  // cannot run shows before the others' further seeds are searched. Workers serve them in this
  // order too: what two searches both measure, as all do that probe, is there when the second one
  // asks.
  void PlanSearches(const v1::JobSpec& spec) {
    for (uint64_t seed = 0; seed < static_cast<uint64_t>(args_.seeds); ++seed) {
      for (size_t i = 0; i < agents_.size(); ++i) {
        const ComparedAgent& agent = agents_[i];
        if (seed >= static_cast<uint64_t>(agent.seeds)) continue;
        Search& search = searches_.emplace_back();
        search.agent = i;
        search.seed = seed;
        search.name =
            absl::StrCat(agent.label, agent.seeds > 1 ? absl::StrCat(" seed ", seed) : "");
        search.spec = spec;
        search.spec.set_name(absl::StrCat(spec.name(), " ", search.name));
        search.spec.set_priority(
            std::max(-kMostPriority, kMostPriority + 1 - static_cast<int64_t>(searches_.size())));
        search.spec.mutable_search()->set_agent(agent.name);
        search.spec.mutable_search()->set_seed(seed);
        search.spec.mutable_search()->set_episodes(agent.evaluations);
      }
    }
  }

  absl::Status SubmitSearches(const v1::JobSpec& spec, const v1::JobSpec& local) {
    AMC_ASSIGN_OR_RETURN(const std::vector<v1::Job> known, ListAllJobs(client()));
    if (!args_.force) AMC_RETURN_IF_ERROR(CheckComparable(args_.output, known, spec));
    std::vector<std::string> ours;
    size_t done = 0;
    for (Search& search : searches_) {
      const v1::Job* same = FindSame(known, search.spec);
      if (same == nullptr) continue;
      search.job = *same;
      ours.push_back(same->id());
      done += same->state() == v1::JOB_STATE_SUCCEEDED ? 1 : 0;
    }
    AMC_RETURN_IF_ERROR(CancelOthers(client(), known, ours));
    if (!ours.empty()) {
      std::fputs(
          absl::StrCat("going on: ", done, " of ", searches_.size(), " jobs are done\n").c_str(),
          stderr);
    }
    for (Search& search : searches_) {
      absl::StatusOr<v1::Job> job = search.job.id().empty()
                                        ? SubmitOnce(client(), known, "compare", search.spec)
                                        : TakeUp(client(), search.job);
      if (!job.ok()) {
        return WithAgentHint(job.status(),
                             Annotate(InTermsOfFlags(job.status(), args_.job, local), search.name),
                             agents_[search.agent]);
      }
      search.job = *std::move(job);
    }
    return absl::OkStatus();
  }

  // `in_flags`, which is `refused` in words of flags, with what to do where the server refused the
  // search itself: what is wrong with anything else is wrong for all agents.
  static absl::Status WithAgentHint(const absl::Status& refused, const absl::Status& in_flags,
                                    const ComparedAgent& agent) {
    const std::vector<FieldViolation> violations = FieldViolations(refused);
    const bool search = std::any_of(
        violations.begin(), violations.end(),
        [](const FieldViolation& one) { return absl::StartsWith(one.field, "spec.search"); });
    if (!search) return in_flags;
    return WithHint(in_flags,
                    absl::StrCat("If ", agent.name, " needs more evaluations: ", agent.name,
                                 ":EVALUATIONS in --agents, or --episodes for all. The others "
                                 "can be compared without it."));
  }

  // The comparison's jobs as they are now.
  absl::StatusOr<std::vector<v1::Job>> Look() {
    AMC_ASSIGN_OR_RETURN(std::vector<v1::Job> jobs, ListAllJobs(client()));
    std::erase_if(jobs, [&](const v1::Job& job) {
      return std::none_of(searches_.begin(), searches_.end(),
                          [&](const Search& search) { return search.job.id() == job.id(); });
    });
    return jobs;
  }

  // To the end of all: one that fails does not keep the others from theirs.
  absl::Status FollowSearches() {
    ComparisonNarrator narrator([this] { return Look(); });
    FollowOptions options;
    options.listener = &narrator;
    for (Search& search : searches_) {
      if (search.succeeded()) continue;
      narrator.Follow(search.job.id(), search.name);
      AMC_ASSIGN_OR_RETURN(search.job, FollowLocally(server_, search.job.id(), options));
      if (search.succeeded()) continue;
      narrator.Say(absl::StrCat(search.name, " ", JobStateName(search.job.state()),
                                search.job.message().empty() ? "" : ": ", search.job.message()));
    }
    return absl::OkStatus();
  }

  // OK if all have succeeded; otherwise what became of each that has not.
  absl::Status Failures() const {
    std::vector<std::string> texts;
    absl::Status first;
    for (const Search& search : searches_) {
      if (search.succeeded()) continue;
      const std::string& agent = agents_[search.agent].name;
      const std::string hint = absl::StrCat(
          "The agents whose searches have all succeeded are compared. The same command tries "
          "again; if ",
          agent, " cannot do with its evaluations: ", agent,
          ":EVALUATIONS in --agents, or --episodes for all. Logs: ", server_.log_folder());
      const absl::Status outcome = JobOutcome(search.job, hint);
      texts.push_back(absl::StrCat(search.name, ": ", outcome.message()));
      first.Update(outcome);
    }
    if (first.ok()) return first;
    absl::Status all(first.code(), absl::StrJoin(texts, "; "));
    first.ForEachPayload(
        [&](absl::string_view url, const absl::Cord& payload) { all.SetPayload(url, payload); });
    return all;
  }

  absl::StatusOr<ComparedRun> ReadRun(const Search& search) {
    ComparedRun run = {.seed = search.seed, .job = search.job};
    if (run.job.result().outcomes().empty()) {
      return absl::FailedPreconditionError(absl::StrCat(
          search.name, ": job ", run.job.id(),
          " was finished by an older version, which kept no outcomes of single images"));
    }
    const std::string path = OutcomesPath(search);
    AMC_RETURN_IF_ERROR(client().Download(run.job.result().outcomes(), path));
    AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
    absl::StatusOr<Outcomes> outcomes = ParseOutcomes(bytes);
    AMC_RETURN_IF_ERROR(Annotate(outcomes.status(), path));
    run.outcomes = *std::move(outcomes);
    AMC_RETURN_IF_ERROR(Annotate(CheckAgainst(run.outcomes, run.job.result()), path));
    SearchCurve curve(run.job.evaluation_work());
    v1::ListEpisodesRequest request;
    request.set_job(run.job.id());
    AMC_RETURN_IF_ERROR(ForEachEpisode(client(), request, 0,
                                       [&](const v1::Episode& episode) { curve.Add(episode); }));
    run.curve = curve.Points();
    run.evaluations = curve.evaluations();
    run.work = curve.work();
    return run;
  }

  // Of the agents whose searches have all succeeded; nothing if there are none.
  absl::Status WriteResult() {
    AMC_RETURN_IF_ERROR(MakeDirectories(outcomes_folder()));
    std::vector<ComparedSearches> compared;
    std::vector<std::string> paths;
    for (size_t i = 0; i < agents_.size(); ++i) {
      const auto of_agent = [&](const Search& search) { return search.agent == i; };
      if (std::any_of(searches_.begin(), searches_.end(), [&](const Search& search) {
            return of_agent(search) && !search.succeeded();
          })) {
        continue;
      }
      ComparedSearches& agent = compared.emplace_back();
      agent.agent = agents_[i];
      for (const Search& search : searches_) {
        if (!of_agent(search)) continue;
        AMC_ASSIGN_OR_RETURN(ComparedRun run, ReadRun(search));
        agent.runs.push_back(std::move(run));
        paths.push_back(OutcomesPath(search));
      }
    }
    if (compared.empty()) return absl::OkStatus();
    AMC_ASSIGN_OR_RETURN(const Comparison comparison, Compare(std::move(compared)));
    const std::string json = ComparisonJson(comparison);
    AMC_RETURN_IF_ERROR(WriteFileAtomically(server_.folder() + "/compare.json", json));
    AMC_RETURN_IF_ERROR(
        WriteFileAtomically(server_.folder() + "/compare.csv", ComparisonCsv(comparison)));
    AMC_RETURN_IF_ERROR(RemoveOtherOutcomes(outcomes_folder(), paths));
    std::fputs(args_.json
                   ? json.c_str()
                   : absl::StrCat("\n", ComparisonText(comparison), "\nIn ", server_.folder(),
                                  ":\n  compare.json  everything, curves included\n"
                                  "  compare.csv   a line a search\n")
                         .c_str(),
               stdout);
    return absl::OkStatus();
  }

  std::string OutcomesPath(const Search& search) const {
    return absl::StrCat(outcomes_folder(), "/",
                        absl::StrReplaceAll(search.name, {{" ", "-"}, {":", "-"}}), ".npy");
  }
  std::string outcomes_folder() const { return server_.folder() + "/outcomes"; }
  Client& client() { return server_.client(); }

  const CompareArgs& args_;
  PrivateServer server_;
  std::vector<ComparedAgent> agents_;
  std::vector<Search> searches_;
};

Action DefineCompare(CLI::App& app) {
  const auto args = std::make_shared<CompareArgs>();
  app.add_option("MODEL", args->job.model, "The network, ONNX");
  app.add_option("-o,--output", args->output,
                 "Folder of the result; the same command again goes on there")
      ->required();
  app.add_flag("--force", args->force,
               "Take a folder that holds another comparison or a search under way, which is "
               "cancelled; its jobs stay readable");
  app.add_option("--agents", args->agents,
                 "NAME or NAME:EVALUATIONS, separated by commas; the first one is compared with "
                 "each of the others. Without EVALUATIONS: --episodes")
      ->capture_default_str();
  app.add_option("--seeds", args->seeds,
                 "Seeds of each agent that depends on one: 0, 1, ... up to so many")
      ->check(WholeBetween(1, 1000))
      ->capture_default_str();
  AddJobFlags(app, args->job);
  for (const char* flag : {"--agent", "--seed"}) app.remove_option(app.get_option(flag));
  app.add_option("--job", args->job.file, "A job file (amc init); flags override it");
  app.add_option("--workers", args->workers,
                 "Worker processes; 0: as many as cores and parallel episodes allow")
      ->check(WholeBetween(0, 256))
      ->capture_default_str();
  app.add_flag("--json", args->json, "Print what compare.json has instead of tables");
  return [args] { return CompareCommand(*args).Execute(); };
}

}  // namespace

std::vector<Command> CompareCommands() {
  return {{"compare", "Compare agents on one job at equal cost",
           "amc compare resnet56.onnx --data cifar.pack --budget 0.5 --agents "
           "hybrid,dp,random:400,uniform --seeds 5 -o out",
           DefineCompare}};
}

}  // namespace amc
