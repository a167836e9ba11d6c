// history, best: what a job has tried. Both ask a server, or one of their own over a run's folder.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "server/cli/budget_text.h"
#include "server/cli/checks.h"
#include "server/cli/commands.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"
#include "server/cli/history.h"
#include "server/cli/job_source.h"
#include "server/cli/json.h"
#include "server/cli/report.h"
#include "server/cli/sensitivity.h"
#include "server/cli/table.h"

namespace amc {
namespace {

struct HistoryArgs {
  JobSourceFlags source;
  std::string order = "number";
  std::optional<double> min_reward, min_top1;
  std::optional<int64_t> max_macs, max_params, from, to;
  std::vector<std::string> kinds;
  int64_t limit = 0;
  bool canonical = false, sensitivity = false, json = false;
};

const std::map<std::string, v1::EpisodeOrder>& Orders() {
  static const auto& orders =
      *new std::map<std::string, v1::EpisodeOrder>{{"number", v1::EPISODE_ORDER_NUMBER},
                                                   {"reward", v1::EPISODE_ORDER_REWARD_DESC},
                                                   {"macs", v1::EPISODE_ORDER_MACS},
                                                   {"top1", v1::EPISODE_ORDER_TOP1_DESC}};
  return orders;
}

bool IsIn(const std::string& name, const std::vector<std::string>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

v1::ListEpisodesRequest MakeRequest(const HistoryArgs& args, const std::string& job) {
  v1::ListEpisodesRequest request;
  request.set_job(job);
  request.set_order(Orders().at(args.order));
  request.set_with_steps(args.canonical || args.sensitivity || args.json);
  v1::EpisodeFilter& filter = *request.mutable_filter();
  if (args.min_reward) filter.set_min_reward(*args.min_reward);
  if (args.min_top1) filter.set_min_top1(*args.min_top1);
  if (args.max_macs) filter.set_max_macs(*args.max_macs);
  if (args.max_params) filter.set_max_params(*args.max_params);
  if (args.from) filter.set_min_number(*args.from);
  if (args.to) filter.set_max_number(*args.to);
  const google::protobuf::EnumDescriptor& kinds = *v1::EpisodeKind_descriptor();
  for (int i = 0; i < kinds.value_count(); ++i) {
    const bool asked = args.sensitivity ? kinds.value(i)->number() == v1::EPISODE_KIND_PROBE
                                        : IsIn(ShortEnumName(*kinds.value(i)), args.kinds);
    if (asked) filter.add_kinds(static_cast<v1::EpisodeKind>(kinds.value(i)->number()));
  }
  return request;
}

// Episodes as a table. Kind and images are columns where they say something: where not all are
// candidates on all reward images.
class EpisodeTable {
 public:
  void Add(const v1::Episode& episode) {
    const bool measured = episode.state() != v1::EPISODE_STATE_INFEASIBLE;
    const v1::Measurement& measurement = episode.measurement();
    mixed_ = mixed_ || KindName(episode.kind()) != "candidate";
    rows_.push_back({absl::StrCat(episode.number()), KindName(episode.kind()),
                     measured ? absl::StrCat(measurement.images()) : "",
                     measured ? absl::StrFormat("%.4f", episode.reward()) : "",
                     measured ? Percent(measurement.top1(), 2) : "",
                     measured ? absl::StrFormat("%.4f", measurement.kl()) : "",
                     HumanCount(episode.cost().macs()), HumanCount(episode.cost().params()),
                     episode.reused() ? "" : absl::StrFormat("%.2f", episode.seconds()),
                     EpisodeNote(episode)});
  }

  std::string ToString() const {
    std::vector<Table::Column> columns = {{"episode", Align::kRight}, {"kind"},
                                          {"images", Align::kRight},  {"reward", Align::kRight},
                                          {"top-1", Align::kRight},   {"KL", Align::kRight},
                                          {"MACs", Align::kRight},    {"parameters", Align::kRight},
                                          {"seconds", Align::kRight}, {"note"}};
    Table table(mixed_ ? columns : WithoutKind(columns));
    for (const std::vector<std::string>& row : rows_) {
      table.AddRow(mixed_ ? row : WithoutKind(row));
    }
    return table.ToString();
  }

 private:
  template <typename T>
  static std::vector<T> WithoutKind(std::vector<T> cells) {
    cells.erase(cells.begin() + 1, cells.begin() + 3);
    return cells;
  }

  bool mixed_ = false;
  std::vector<std::vector<std::string>> rows_;
};

absl::Status Sensitivity(const HistoryArgs& args, JobSource& source) {
  std::vector<v1::Episode> probes;
  AMC_RETURN_IF_ERROR(
      ForEachEpisode(source.client(), MakeRequest(args, source.job()), args.limit,
                     [&](const v1::Episode& episode) { probes.push_back(episode); }));
  const std::vector<SensitivityCurve> curves = SensitivityCurves(probes);
  if (curves.empty()) {
    return WithHint(
        absl::NotFoundError(absl::StrCat("job ", source.job(), " has measured no probes")),
        "The agents sensitivity, dp, ddpg and hybrid measure them first; a purse that is too small "
        "leaves them out: more --episodes or fewer --probe-images bring them in.");
  }
  std::fputs((args.json ? SensitivityJson(curves) : SensitivityText(curves)).c_str(), stdout);
  return absl::OkStatus();
}

absl::Status History(const HistoryArgs& args) {
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<JobSource> source, JobSource::Open(args.source));
  if (args.sensitivity) return Sensitivity(args, *source);
  EpisodeTable table;
  const auto print = [&](const v1::Episode& episode) {
    if (args.canonical) {
      std::puts(CanonicalLine(episode).c_str());
    } else if (args.json) {
      std::puts(ToJson(episode, false).c_str());
    } else {
      table.Add(episode);
    }
  };
  AMC_RETURN_IF_ERROR(
      ForEachEpisode(source->client(), MakeRequest(args, source->job()), args.limit, print));
  if (!args.canonical && !args.json) std::fputs(table.ToString().c_str(), stdout);
  return absl::OkStatus();
}

Action DefineHistory(CLI::App& app) {
  const auto args = std::make_shared<HistoryArgs>();
  AddJobSourceFlags(app, args->source);
  app.add_option("--order", args->order, "number, reward, macs or top1")
      ->check(CLI::IsMember({"number", "reward", "macs", "top1"}))
      ->capture_default_str();
  app.add_option("--limit", args->limit, "Episodes at most; 0: all")
      ->check(AtLeast(0))
      ->capture_default_str();
  app.add_option("--min-reward", args->min_reward, "Only episodes with at least this reward");
  app.add_option("--min-top1", args->min_top1, "Only with at least this top-1 accuracy")
      ->check(Fraction());
  app.add_option("--max-macs", args->max_macs, "Only with at most these MACs")->check(AtLeast(0));
  app.add_option("--max-params", args->max_params, "Only with at most these parameters")
      ->check(AtLeast(0));
  app.add_option("--from", args->from, "Only from this episode on")->check(AtLeast(0));
  app.add_option("--to", args->to, "Only up to this episode")->check(AtLeast(0));
  auto* kind = app.add_option("--kind", args->kinds,
                              "Only candidates (on all reward images), screenings (on fewer, or "
                              "above the budget) or probes (one group is cut); may be repeated")
                   ->check(OneOf(*v1::EpisodeKind_descriptor()))
                   ->allow_extra_args(false);
  auto* canonical =
      app.add_flag("--canonical", args->canonical,
                   "A line of JSON per episode with what is deterministic: no times, no workers");
  app.add_flag("--sensitivity", args->sensitivity,
               "What the network loses when one group alone is cut: a line a group, from the job's "
               "probes")
      ->excludes(kind)
      ->excludes(canonical);
  app.add_flag("--json", args->json,
               "A line of JSON per Episode, everything in it; with --sensitivity per group");
  return [args] { return History(*args); };
}

struct BestArgs {
  JobSourceFlags source;
  std::string policy, resource, latency_table;
  std::optional<int64_t> episode;
  bool pareto = false;
  bool json = false;
};

// What quality can be had at which cost: a line for every candidate that no other beats.
absl::Status Pareto(const BestArgs& args) {
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<JobSource> source, JobSource::Open(args.source));
  v1::GetParetoRequest request;
  request.set_job(source->job());
  request.set_latency_table(args.latency_table);
  if (!args.resource.empty()) {
    AMC_ASSIGN_OR_RETURN(const v1::BudgetBound bound, ParseBudget(args.resource + "=1"));
    request.set_resource(bound.resource());
  }
  Client& client = source->client();
  AMC_ASSIGN_OR_RETURN(const v1::GetParetoResponse front,
                       client.Call(client.jobs(), &v1::JobService::Stub::GetPareto, request));
  if (args.json) {
    PrintJson(front);
    return absl::OkStatus();
  }
  AMC_ASSIGN_OR_RETURN(const v1::Job job, client.GetJob(source->job()));
  Table table({{"episode", Align::kRight},
               {ResourceTitle(front.resource()), Align::kRight},
               {"of the original", Align::kRight},
               {"reward", Align::kRight},
               {"top-1", Align::kRight},
               {"KL", Align::kRight}});
  for (const v1::ParetoPoint& point : front.points()) {
    const v1::Episode& episode = point.episode();
    table.AddRow({absl::StrCat(episode.number()), AmountOf(front.resource(), point.cost()),
                  Percent(point.ratio()), absl::StrFormat("%.4f", episode.reward()),
                  Percent(episode.measurement().top1(), 2),
                  absl::StrFormat("%.4f", episode.measurement().kl())});
  }
  table.AddRow({"original", AmountOf(front.resource(), front.original()), Percent(1), "",
                Percent(job.baseline().top1(), 2), absl::StrFormat("%.4f", 0)});
  const std::string metric = ShortEnumName(
      *v1::QualityMetric_descriptor()->FindValueByNumber(job.spec().search().metric()));
  std::fputs(absl::StrCat(table.ToString(), "\nEach is better, by ", metric,
                          ", than all candidates that cost less. `amc best --episode N --policy "
                          "FILE` writes what one keeps.\n")
                 .c_str(),
             stdout);
  return absl::OkStatus();
}

// The best, or the episode that --episode names.
absl::StatusOr<v1::GetBestResponse> Find(const BestArgs& args, JobSource& source) {
  if (!args.episode) return source.client().GetBest(source.job());
  v1::ListEpisodesRequest request;
  request.set_job(source.job());
  request.set_with_steps(true);
  request.mutable_filter()->set_min_number(*args.episode);
  request.mutable_filter()->set_max_number(*args.episode);
  v1::GetBestResponse found;
  AMC_RETURN_IF_ERROR(ForEachEpisode(source.client(), request, 1, [&](const v1::Episode& episode) {
    *found.mutable_episode() = episode;
  }));
  if (found.has_episode()) return found;
  return WithHint(absl::NotFoundError(absl::StrCat("job ", source.job(), " has no episode ",
                                                   *args.episode, " yet")),
                  "`amc history` lists those that there are.");
}

absl::Status Best(const BestArgs& args) {
  if (args.pareto) return Pareto(args);
  if (!args.resource.empty() || !args.latency_table.empty()) {
    return UsageError("--resource and --latency-table are of --pareto");
  }
  if (!args.policy.empty()) AMC_RETURN_IF_ERROR(CheckOutputFile(args.policy));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<JobSource> source, JobSource::Open(args.source));
  Client& client = source->client();
  AMC_ASSIGN_OR_RETURN(const v1::GetBestResponse best, Find(args, *source));
  if (!args.policy.empty()) {
    AMC_RETURN_IF_ERROR(WriteFileAtomically(args.policy, PolicyFileJson(best.episode().policy())));
  }
  if (args.json) {
    PrintJson(best);
    return absl::OkStatus();
  }
  const v1::Episode& episode = best.episode();
  std::fputs(
      absl::StrFormat("episode %d%s: reward %.4f, top-1 %s, %s MACs, %s parameters\n\n%s",
                      episode.number(), episode.reused() ? " (reused)" : "", episode.reward(),
                      Percent(episode.measurement().top1(), 2), HumanCount(episode.cost().macs()),
                      HumanCount(episode.cost().params()), PreserveRatioBars(episode.steps()))
          .c_str(),
      stdout);
  if (best.has_result()) {
    AMC_ASSIGN_OR_RETURN(const v1::Job job, client.GetJob(source->job()));
    std::fputs(absl::StrCat("\n", ResultText(job)).c_str(), stdout);
  }
  return absl::OkStatus();
}

Action DefineBest(CLI::App& app) {
  const auto args = std::make_shared<BestArgs>();
  AddJobSourceFlags(app, args->source);
  auto* policy = app.add_option("--policy", args->policy, "Write its policy file here");
  auto* episode = app.add_option("--episode", args->episode,
                                 "Instead: the episode of this number, as --pareto and `amc "
                                 "history` have it")
                      ->check(AtLeast(0));
  app.add_flag("--pareto", args->pareto,
               "Instead: the candidates of which no other is as good and cheaper")
      ->excludes(policy)
      ->excludes(episode);
  app.add_option("--resource", args->resource,
                 "Of --pareto: what is dear; default what the budget is on, or the reward weighs")
      ->transform(ResourceText());
  app.add_option("--latency-table", args->latency_table,
                 "Of --pareto: the digest of the table that predicts latency; default the job's");
  app.add_flag("--json", args->json, "Print the answer as JSON");
  return [args] { return Best(*args); };
}

}  // namespace

std::vector<Command> HistoryCommands() {
  return {{"history", "List a job's episodes",
           "amc history --dir out --kind candidate --order reward --limit 10", DefineHistory},
          {"best", "Show a job's best candidate so far", "amc best JOB --policy best.json",
           DefineBest}};
}

}  // namespace amc
