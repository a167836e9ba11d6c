#include "env/measure/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/status_macros.h"

namespace amc {
namespace {

// How long after the reference was timed it is timed again: this, or twice as long as it took.
constexpr absl::Duration kReferenceEvery = absl::Milliseconds(20);
constexpr int64_t kMaxRuns = 500;       // of a burst
constexpr double kLeastRest = 0.25;     // of an item that must be known beyond its baseline
constexpr double kNormal95 = 1.959964;  // standard errors to either side

// All but the first run of a burst.
absl::StatusOr<std::vector<double>> Burst(const Sampler::Timer& timer, int64_t runs) {
  AMC_RETURN_IF_ERROR(CheckInterrupt());
  AMC_ASSIGN_OR_RETURN(std::vector<double> times, timer(runs));
  if (static_cast<int64_t>(times.size()) < runs) {
    return absl::InternalError(absl::StrCat(times.size(), " times of ", runs, " runs"));
  }
  times.erase(times.begin());
  return times;
}

}  // namespace

struct Sampler::Series {
  int64_t runs = 0;             // per burst; 0 until it is known how long one takes
  std::vector<double> bursts;   // medians
  std::vector<double> singles;  // all runs
};

double MedianError(std::vector<double> values) {
  const auto n = static_cast<double>(values.size());
  if (n < 5) return std::numeric_limits<double>::infinity();
  std::sort(values.begin(), values.end());
  // How many values lie below the median is binomial with variance n / 4.
  const double reach = kNormal95 * std::sqrt(n) / 2;
  const auto low = static_cast<size_t>(std::max(0.0, std::floor(n / 2 - reach)));
  return (values[values.size() - 1 - low] - values[low]) / (2 * kNormal95);
}

Sampler::Sampler(Timer reference, const SamplerOptions& options, const Clock* clock)
    : reference_(std::move(reference)), options_(options), clock_(clock), rng_(options.seed) {}

int64_t Sampler::RunsPerBurst(double us) const {
  const double runs = options_.burst_us / std::max(us, 1e-3);
  return std::clamp<int64_t>(std::llround(std::min(runs, 1e6)), 3, kMaxRuns);
}

absl::StatusOr<Sampler::Mark> Sampler::TimeReference() {
  if (reference_runs_ == 0) {
    AMC_ASSIGN_OR_RETURN(std::vector<double> first, Burst(reference_, 4));
    reference_runs_ = RunsPerBurst(Median(std::move(first)));
  }
  const absl::Time start = clock_->Now();
  AMC_ASSIGN_OR_RETURN(std::vector<double> times, Burst(reference_, reference_runs_));
  const double us = Median(std::move(times));
  if (!(us > 0)) return absl::InternalError("the reference takes no time");
  references_.push_back(us);
  return Mark{start + (clock_->Now() - start) / 2, us};
}

absl::Status Sampler::Round(absl::Span<const SampledItem> items, const std::vector<size_t>& active,
                            std::vector<Series>& series) {
  struct Raw {
    size_t item = 0;
    absl::Time time;
    std::vector<double> us;
  };
  std::vector<Raw> raw;
  std::vector<Mark> marks;
  const absl::Time begin = clock_->Now();
  AMC_ASSIGN_OR_RETURN(Mark mark, TimeReference());
  marks.push_back(mark);
  absl::Time marked = clock_->Now();
  const absl::Duration pause = std::max(kReferenceEvery, 2 * (marked - begin));
  for (const int64_t next : rng_.Permutation(static_cast<int64_t>(active.size()))) {
    const size_t item = active[static_cast<size_t>(next)];
    if (clock_->Now() - marked >= pause) {
      AMC_ASSIGN_OR_RETURN(mark, TimeReference());
      marks.push_back(mark);
      marked = clock_->Now();
    }
    if (series[item].runs == 0) {
      AMC_ASSIGN_OR_RETURN(std::vector<double> first, Burst(items[item].time, 4));
      series[item].runs = RunsPerBurst(Median(std::move(first)));
    }
    const absl::Time start = clock_->Now();
    AMC_ASSIGN_OR_RETURN(std::vector<double> us, Burst(items[item].time, series[item].runs));
    raw.push_back({item, start + (clock_->Now() - start) / 2, std::move(us)});
  }
  AMC_ASSIGN_OR_RETURN(mark, TimeReference());
  marks.push_back(mark);
  size_t after = 1;  // the first mark behind a burst
  for (Raw& burst : raw) {
    while (after + 1 < marks.size() && marks[after].time < burst.time) ++after;
    const Mark& left = marks[after - 1];
    const Mark& right = marks[after];
    const double gap = absl::ToDoubleSeconds(right.time - left.time);
    const double share =
        gap > 0 ? std::clamp(absl::ToDoubleSeconds(burst.time - left.time) / gap, 0.0, 1.0) : 0.5;
    const double reference = left.us + share * (right.us - left.us);
    for (double& us : burst.us) us /= reference;
    Series& into = series[burst.item];
    into.singles.insert(into.singles.end(), burst.us.begin(), burst.us.end());
    into.bursts.push_back(Median(std::move(burst.us)));
  }
  return absl::OkStatus();
}

void Sampler::Judge(absl::Span<const SampledItem> items, const std::vector<Series>& series,
                    std::vector<Sampled>& results) const {
  std::vector<double> errors;  // absolute
  for (size_t i = 0; i < items.size(); ++i) {
    results[i].median = Median(series[i].bursts);
    results[i].bursts = static_cast<int64_t>(series[i].bursts.size());
    errors.push_back(MedianError(series[i].bursts));
  }
  for (size_t i = 0; i < items.size(); ++i) {
    double error = errors[i];
    double rest = results[i].median;
    if (items[i].baseline >= 0) {
      const auto baseline = static_cast<size_t>(items[i].baseline);
      error = std::hypot(error, errors[baseline]);
      rest = std::max(rest - results[baseline].median, kLeastRest * rest);
    }
    results[i].error = rest > 0 ? error / rest : 0;
    results[i].stable =
        results[i].bursts >= options_.min_bursts && results[i].error <= options_.tolerance;
  }
}

absl::StatusOr<std::vector<Sampled>> Sampler::Measure(absl::Span<const SampledItem> items,
                                                      const Progress& progress) {
  std::vector<Series> series(items.size());
  std::vector<Sampled> results(items.size());
  const absl::Time end = clock_->Now() + options_.max_time;
  const int64_t least = std::max<int64_t>(options_.min_bursts, 5);
  size_t most_stable = 0;  // more bursts of a baseline may unsettle what was stable
  for (int64_t round = 0;; ++round) {
    std::vector<bool> wanted(items.size());
    size_t stable = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      if (results[i].stable) {
        ++stable;
      } else if (results[i].bursts < options_.max_bursts) {
        wanted[i] = true;
        if (items[i].baseline >= 0) wanted[static_cast<size_t>(items[i].baseline)] = true;
      }
    }
    std::vector<size_t> active;
    for (size_t i = 0; i < items.size(); ++i) {
      if (wanted[i]) active.push_back(i);
    }
    most_stable = std::max(most_stable, stable);
    if (progress != nullptr) progress(most_stable, items.size());
    if (active.empty() || (round >= least && clock_->Now() >= end)) break;
    AMC_RETURN_IF_ERROR(Round(items, active, series));
    Judge(items, series, results);
  }
  for (size_t i = 0; i < items.size(); ++i) {
    results[i].spread = Quantile(series[i].singles, 0.75) - Quantile(series[i].singles, 0.25);
  }
  return results;
}

}  // namespace amc
