#include "server/cli/comparison.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "base/status_macros.h"

namespace amc {
namespace {

absl::Status CheckPaired(const std::vector<ComparedSearches>& searches) {
  const ComparedRun& first = searches.at(0).runs.at(0);
  for (const ComparedSearches& agent : searches) {
    for (const ComparedRun& run : agent.runs) {
      if (run.outcomes.labels == first.outcomes.labels) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "jobs ", first.job.id(), " and ", run.job.id(),
          " were not measured on the same report images (", first.outcomes.images(), " and ",
          run.outcomes.images(), " of them, or other labels): they cannot be compared"));
    }
  }
  return absl::OkStatus();
}

SeedsByImages KlOf(const ComparedSearches& agent) {
  SeedsByImages values;
  for (const ComparedRun& run : agent.runs) values.push_back(run.outcomes.kl);
  return values;
}

// Points of accuracy lost on each image: 100, 0 or -100.
SeedsByImages DropOf(const ComparedSearches& agent) {
  SeedsByImages values;
  for (const ComparedRun& run : agent.runs) {
    std::vector<double>& drops = values.emplace_back();
    for (size_t i = 0; i < run.outcomes.images(); ++i) {
      drops.push_back(100 * (run.outcomes.original_right[i] - run.outcomes.compressed_right[i]));
    }
  }
  return values;
}

// One measure of all agents, resampled.
struct Resampled {
  std::vector<double> means;
  std::vector<std::vector<double>> replicates;

  Interval Of(size_t agent) const { return PercentileInterval(means[agent], replicates[agent]); }
  Interval Minus(size_t agent, size_t other) const {
    std::vector<double> differences = replicates[agent];
    for (size_t i = 0; i < differences.size(); ++i) differences[i] -= replicates[other][i];
    return PercentileInterval(means[agent] - means[other], std::move(differences));
  }
};

Resampled Resample(const std::vector<ComparedSearches>& searches,
                   SeedsByImages (*measure)(const ComparedSearches&), int64_t resamples) {
  std::vector<SeedsByImages> values;
  Resampled resampled;
  for (const ComparedSearches& agent : searches) {
    values.push_back(measure(agent));
    resampled.means.push_back(MeanOf(values.back()));
  }
  Rng rng(0);  // the same for each measure
  resampled.replicates = ResampledMeans(values, resamples, rng);
  return resampled;
}

// Subtracts, so that nothing becomes -0.
Interval Negated(const Interval& interval) {
  return {.mean = 0 - interval.mean, .low = 0 - interval.high, .high = 0 - interval.low};
}

}  // namespace

absl::StatusOr<Comparison> Compare(std::vector<ComparedSearches> searches, int64_t resamples) {
  AMC_RETURN_IF_ERROR(CheckPaired(searches));
  const Resampled kl = Resample(searches, KlOf, resamples);
  const Resampled drop = Resample(searches, DropOf, resamples);
  Comparison comparison;
  comparison.images = static_cast<int64_t>(searches[0].runs[0].outcomes.images());
  for (size_t agent = 0; agent < searches.size(); ++agent) {
    AgentFigures& figures = comparison.figures.emplace_back();
    const auto seeds = static_cast<double>(searches[agent].runs.size());
    for (const ComparedRun& run : searches[agent].runs) {
      figures.evaluations += run.evaluations / seeds;
      figures.work += static_cast<double>(run.work) / seeds;
      figures.reward += run.job.best_reward() / seeds;
    }
    figures.kl = kl.Of(agent);
    figures.top1_drop = drop.Of(agent);
    if (agent == 0) continue;
    comparison.differences.push_back(
        {.kl = kl.Minus(0, agent), .top1 = Negated(drop.Minus(0, agent))});
  }
  comparison.searches = std::move(searches);
  return comparison;
}

}  // namespace amc
