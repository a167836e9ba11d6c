#include "server/cli/stages.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"
#include "server/cli/job_comparison.h"
#include "server/cli/json.h"
#include "server/cli/table.h"

namespace amc {
namespace {

// What a finished job's original costs of a resource that its budget is on.
int64_t OriginalOf(const v1::Job& job, v1::Resource resource) {
  for (const v1::ResourceUse& use : job.result().uses()) {
    if (use.resource() == resource) return use.original();
  }
  const v1::Cost& cost = job.original_cost();  // of a result that older versions made
  return resource == v1::RESOURCE_PARAMS ? cost.params() : cost.macs();
}

std::vector<std::string> Row(const std::string& name, const v1::Measurement& measured,
                             const std::string& kl) {
  return {name, HumanCount(measured.cost().macs()), HumanCount(measured.cost().params()),
          Percent(measured.top1(), 2), kl};
}

}  // namespace

absl::Status CheckStages(const std::vector<double>& stages) {
  const auto rises = std::adjacent_find(stages.begin(), stages.end(), std::less_equal<>());
  if (rises == stages.end()) return absl::OkStatus();
  return UsageError(absl::StrCat("--stages: ", *(rises + 1), " after ", *rises,
                                 ", but each stage has to cost less than the one before"));
}

v1::JobSpec SpecOfStage(const v1::JobSpec& spec, const std::vector<double>& stages, size_t index,
                        const v1::Job* first, const v1::Job* parent) {
  v1::JobSpec stage = WithDefaults(spec);
  stage.set_name(absl::StrCat(spec.name(), " stage ", index + 1));
  const auto count = static_cast<int64_t>(stages.size());
  const int64_t all = stage.search().episodes();
  const int64_t share = all / count + (static_cast<int64_t>(index) < all % count ? 1 : 0);
  stage.mutable_search()->set_episodes(std::max<int64_t>(1, share));
  if (first == nullptr || parent == nullptr) {
    stage.mutable_budget()->set_ratio(stages[index]);
    return stage;
  }
  stage.set_model(parent->result().model());
  stage.mutable_search()->clear_learn_from();
  stage.mutable_search()->mutable_evolution()->clear_start_policy();
  if (stage.budget().resource() == v1::RESOURCE_LATENCY) {
    stage.mutable_budget()->set_ratio(stages[index] / stages[index - 1]);
    return stage;
  }
  const int64_t original = OriginalOf(*first, stage.budget().resource());
  stage.mutable_budget()->set_absolute(
      static_cast<int64_t>(std::floor(stages[index] * static_cast<double>(original))));
  return stage;
}

std::string StagesTable(const std::vector<double>& stages,
                        const std::vector<StageResult>& results) {
  Table table({{"stage"},
               {"MACs", Align::kRight},
               {"parameters", Align::kRight},
               {"top-1", Align::kRight},
               {"KL from the original", Align::kRight}});
  table.AddRow(Row("original", results.at(0).job.result().original(), ""));
  for (size_t i = 0; i < results.size(); ++i) {
    table.AddRow(Row(absl::StrFormat("%d: %s", i + 1, Percent(stages[i])),
                     results[i].job.result().compressed(),
                     absl::StrFormat("%.4f", results[i].kl_from_original)));
  }
  return absl::StrCat(table.ToString(), "\nMeasured on ",
                      results.back().job.result().compressed().images(),
                      " images that no search saw.\n");
}

std::string StagesJson(const std::vector<double>& stages, const std::vector<StageResult>& results) {
  std::vector<std::string> items;
  for (size_t i = 0; i < results.size(); ++i) {
    items.push_back(absl::StrCat(
        "\n  {\"ratio\": ", RoundTrip(stages[i]), ", \"job\": ", JsonQuote(results[i].job.id()),
        ", \"kl_from_original\": ", RoundTrip(results[i].kl_from_original),
        ",\n   \"result\": ", ToJson(results[i].job.result(), false), "}"));
  }
  return absl::StrCat("{\"stages\": [", absl::StrJoin(items, ","), "]}\n");
}

}  // namespace amc
