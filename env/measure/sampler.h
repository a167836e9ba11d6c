// The statistics of timing: several things measured against one another on a machine that is not
// ours alone.
//
// Time goes by in rounds. In each, every item that is not yet stable is timed once, in random
// order, by a *burst*: a few runs, the first of which is dropped, as it fetches what the others'
// bursts have thrown out of the caches. Before, after and now and then between them the *reference*
// is timed, and every time is divided by the reference's at that moment, interpolated: what slows
// the whole machine (its frequency, a neighbour) cancels out, and results are multiples of the
// reference. Reference and results are medians, which do not see outliers.
//
// An item is stable when the standard error of its median, from order statistics of the bursts'
// medians, is within the tolerance.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/rng.h"
#include "base/statistics.h"

namespace amc {

struct SamplerOptions {
  double tolerance = 0.02;   // relative standard error of a median
  int64_t min_bursts = 5;    // at least 5
  int64_t max_bursts = 100;  // an item that is not stable by then is left so
  double burst_us = 3000;    // what a burst should take; at least three runs
  absl::Duration max_time = absl::InfiniteDuration();  // of one Measure, beyond min_bursts rounds
  uint64_t seed = 0;                                   // of the order
};

struct SampledItem {
  // Microseconds of each of `runs` runs, at least as many as asked for.
  std::function<absl::StatusOr<std::vector<double>>(int64_t runs)> time;
  // Another item of the same set that will be subtracted from this one, or -1: both then are
  // measured until the difference is stable (or, where next to nothing is left, until it is known
  // to the tolerance of a quarter of the whole).
  int32_t baseline = -1;
};

struct Sampled {
  double median = 0;  // in references
  double spread = 0;  // interquartile range of single runs, in references
  double error =
      0;  // relative standard error of the median, of the difference if there is a baseline
  int64_t bursts = 0;
  bool stable = false;
};

// Standard error of the median of independent values: the width of its 95% interval between two
// order statistics, over 2 * 1.96. Needs no distribution; infinite below 5 values.
double MedianError(std::vector<double> values);

// One thread at a time.
class Sampler {
 public:
  using Timer = decltype(SampledItem::time);
  using Progress = std::function<void(size_t stable, size_t items)>;

  Sampler(Timer reference, const SamplerOptions& options, const Clock* clock = Clock::System());

  // Results in the order of `items`. An item's error ends it; Cancelled as CheckInterrupt.
  absl::StatusOr<std::vector<Sampled>> Measure(absl::Span<const SampledItem> items,
                                               const Progress& progress = nullptr);

  // The median of all times that the reference took so far: what turns results into microseconds. 0
  // before the first Measure. Results of several calls share it.
  double reference_us() const { return Median(references_); }

 private:
  struct Series;  // of one item
  struct Mark {   // of the reference
    absl::Time time;
    double us = 0;
  };
  absl::StatusOr<Mark> TimeReference();
  absl::Status Round(absl::Span<const SampledItem> items, const std::vector<size_t>& active,
                     std::vector<Series>& series);
  // Whether each item is stable, and by how much.
  void Judge(absl::Span<const SampledItem> items, const std::vector<Series>& series,
             std::vector<Sampled>& results) const;
  int64_t RunsPerBurst(double us) const;

  const Timer reference_;
  const SamplerOptions options_;
  const Clock* const clock_;
  Rng rng_;
  int64_t reference_runs_ = 0;
  std::vector<double> references_;
};

}  // namespace amc
