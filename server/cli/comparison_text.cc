#include "server/cli/comparison_text.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/cli/curve_chart.h"
#include "server/cli/format.h"
#include "server/cli/json.h"
#include "server/cli/table.h"

namespace amc {
namespace {

std::string Between(const Interval& interval, int decimals) {
  return absl::StrFormat("%.*f to %.*f", decimals, interval.low, decimals, interval.high);
}

std::string FiguresTable(const Comparison& comparison) {
  Table table({{"agent"},
               {"evaluations", Align::kRight},
               {"seeds", Align::kRight},
               {"images x MACs", Align::kRight},
               {"reward", Align::kRight},
               {"top-1 drop", Align::kRight},
               {"KL", Align::kRight},
               {"95% interval", Align::kRight}});
  for (size_t i = 0; i < comparison.searches.size(); ++i) {
    const ComparedSearches& searches = comparison.searches[i];
    const AgentFigures& figures = comparison.figures[i];
    table.AddRow({searches.agent.label, SpentOf(figures.evaluations, searches.agent.evaluations),
                  absl::StrCat(searches.runs.size()), HumanCount(std::llround(figures.work)),
                  absl::StrFormat("%.4f", figures.reward),
                  absl::StrFormat("%.2f", figures.top1_drop.mean),
                  absl::StrFormat("%.4f", figures.kl.mean), Between(figures.kl, 4)});
  }
  return table.ToString();
}

std::string DifferencesTable(const Comparison& comparison) {
  if (comparison.differences.empty()) return "";
  Table table({{absl::StrCat(comparison.searches[0].agent.label, " minus")},
               {"KL", Align::kRight},
               {"95% interval", Align::kRight},
               {"excludes 0"},
               {"top-1 points", Align::kRight},
               {"95% interval", Align::kRight},
               {"excludes 0"}});
  const auto verdict = [](const Interval& interval) {
    return interval.excludes_zero() ? "yes" : "no";
  };
  for (size_t i = 0; i < comparison.differences.size(); ++i) {
    const AgentDifference& difference = comparison.differences[i];
    table.AddRow({comparison.searches[i + 1].agent.label,
                  absl::StrFormat("%+.4f", difference.kl.mean), Between(difference.kl, 4),
                  verdict(difference.kl), absl::StrFormat("%+.2f", difference.top1.mean),
                  Between(difference.top1, 2), verdict(difference.top1)});
  }
  return absl::StrCat("\n", table.ToString());
}

std::string Chart(const Comparison& comparison) {
  std::vector<ChartLine> lines;
  for (const ComparedSearches& searches : comparison.searches) {
    ChartLine& line = lines.emplace_back();
    line.label = searches.agent.label;
    line.limit = static_cast<double>(searches.agent.evaluations);
    for (const ComparedRun& run : searches.runs) line.curves.push_back(run.curve);
  }
  const std::string chart = DrawChart(lines);
  return chart.empty() ? "" : absl::StrCat("\nreward of the best candidate so far:\n\n", chart);
}

std::string JsonInterval(const Interval& interval, bool verdict) {
  return absl::StrCat(
      "{\"mean\": ", RoundTrip(interval.mean), ", \"low\": ", RoundTrip(interval.low),
      ", \"high\": ", RoundTrip(interval.high),
      verdict ? absl::StrCat(", \"excludes_zero\": ", interval.excludes_zero() ? "true" : "false")
              : "",
      "}");
}

std::string JsonRun(const ComparedRun& run) {
  const v1::JobResult& result = run.job.result();
  std::vector<std::string> points;
  for (const CurvePoint& point : run.curve) {
    points.push_back(absl::StrCat("{\"evaluations\": ", RoundTrip(point.evaluations),
                                  ", \"work\": ", point.work,
                                  ", \"reward\": ", RoundTrip(point.reward), "}"));
  }
  return absl::StrCat("{\"seed\": ", run.seed, ", \"job\": ", JsonQuote(run.job.id()),
                      ", \"model\": ", JsonQuote(result.model()),
                      ", \"spent\": ", RoundTrip(run.evaluations), ", \"work\": ", run.work,
                      ", \"reward\": ", RoundTrip(run.job.best_reward()),
                      ", \"top1\": ", RoundTrip(result.compressed().top1()),
                      ", \"top1_original\": ", RoundTrip(result.original().top1()),
                      ", \"kl\": ", RoundTrip(result.compressed().kl()),
                      ", \"macs\": ", result.compressed().cost().macs(),
                      ", \"params\": ", result.compressed().cost().params(),
                      ",\n       \"curve\": [", absl::StrJoin(points, ", "), "]}");
}

std::string JsonAgent(const ComparedSearches& searches, const AgentFigures& figures) {
  std::vector<std::string> runs;
  for (const ComparedRun& run : searches.runs) runs.push_back("\n      " + JsonRun(run));
  return absl::StrCat("\n    {\"agent\": ", JsonQuote(searches.agent.label),
                      ", \"name\": ", JsonQuote(searches.agent.name),
                      ", \"evaluations\": ", searches.agent.evaluations,
                      ", \"spent\": ", RoundTrip(figures.evaluations),
                      ", \"work\": ", RoundTrip(figures.work),
                      ", \"reward\": ", RoundTrip(figures.reward),
                      ",\n     \"top1_drop\": ", JsonInterval(figures.top1_drop, false),
                      ", \"kl\": ", JsonInterval(figures.kl, false), ",\n     \"runs\": [",
                      absl::StrJoin(runs, ","), "]}");
}

}  // namespace

std::string ComparisonText(const Comparison& comparison) {
  return absl::StrCat(FiguresTable(comparison), DifferencesTable(comparison), "\nOn ",
                      comparison.images,
                      " report images; means over seeds. Top-1 in points, KL in nats. Intervals "
                      "are bootstrapped over\npaired images and each agent's seeds.\n",
                      Chart(comparison));
}

std::string ComparisonJson(const Comparison& comparison) {
  const v1::JobSpec& spec = comparison.searches[0].runs[0].job.spec();
  std::vector<std::string> agents, differences;
  for (size_t i = 0; i < comparison.searches.size(); ++i) {
    agents.push_back(JsonAgent(comparison.searches[i], comparison.figures[i]));
  }
  for (size_t i = 0; i < comparison.differences.size(); ++i) {
    const AgentDifference& difference = comparison.differences[i];
    differences.push_back(
        absl::StrCat("\n    {\"agent\": ", JsonQuote(comparison.searches[0].agent.label),
                     ", \"other\": ", JsonQuote(comparison.searches[i + 1].agent.label),
                     ",\n     \"kl\": ", JsonInterval(difference.kl, true),
                     ",\n     \"top1\": ", JsonInterval(difference.top1, true), "}"));
  }
  return absl::StrCat(
      "{\n  \"model\": ", JsonQuote(spec.model()), ",\n  \"data\": ", JsonQuote(spec.data()),
      ",\n  \"budget\": ", ToJson(spec.budget(), false), ",\n  \"images\": ", comparison.images,
      ",\n  \"bootstrap\": {\"resamples\": ", kBootstrapResamples,
      ", \"confidence\": ", RoundTrip(kBootstrapConfidence), "},\n  \"agents\": [",
      absl::StrJoin(agents, ","), "],\n  \"differences\": [", absl::StrJoin(differences, ","),
      "]\n}\n");
}

std::string ComparisonCsv(const Comparison& comparison) {
  std::string text =
      "agent,name,evaluations,seed,job,spent,work,reward,top1_original,top1,kl,macs,params\n";
  for (const ComparedSearches& searches : comparison.searches) {
    for (const ComparedRun& run : searches.runs) {
      const v1::JobResult& result = run.job.result();
      const std::vector<std::string> cells = {searches.agent.label,
                                              searches.agent.name,
                                              absl::StrCat(searches.agent.evaluations),
                                              absl::StrCat(run.seed),
                                              run.job.id(),
                                              RoundTrip(run.evaluations),
                                              absl::StrCat(run.work),
                                              RoundTrip(run.job.best_reward()),
                                              RoundTrip(result.original().top1()),
                                              RoundTrip(result.compressed().top1()),
                                              RoundTrip(result.compressed().kl()),
                                              absl::StrCat(result.compressed().cost().macs()),
                                              absl::StrCat(result.compressed().cost().params())};
      absl::StrAppend(&text, absl::StrJoin(cells, ","), "\n");
    }
  }
  return text;
}

}  // namespace amc
