// The end of a search by predicted latency: its best candidates are measured whole on the table's
// runtime, and the best of those that keep the budget in reality wins. They keep it if they are
// within it by kMargin, so that measuring them once more does not refute it.
//
// Round by round. A round takes the best by reward that were not measured yet and are predicted
// within the round's limit, at first the budget's. When none of those measured keeps the budget,
// the next round's limit is what the prediction has to be for the measurement to fit, by how far
// off it was; the best candidates, cut to that limit, are evaluated and take part.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "amc/v1/job.pb.h"
#include "amc/v1/latency.pb.h"
#include "amc/v1/worker.pb.h"

namespace amc {

// What a latency budget allows, by prediction and by measurement.
struct LatencyTarget {
  double ratio = 0;      // of the original's latency; 0: the budget is absolute, or none
  int64_t limit_ns = 0;  // predicted; 0: none
  int64_t predicted_original_ns = 0;
};

// A candidate as the history has it.
struct FinalistEntry {
  v1::Episode episode;  // with its policy
  int64_t predicted_ns = 0;
};

// Which candidates to measure, what a measurement says of them, and when it is enough. Pure: no
// store, no workers. One thread.
class FinalistRounds {
 public:
  static constexpr int64_t kMostRounds = 5;
  static constexpr double kMargin = 0.01;  // what a median may be off by

  FinalistRounds(const LatencyTarget& target, int64_t at_a_time)
      : target_(target), at_a_time_(at_a_time), limit_ns_(target.limit_ns) {}

  // The next ones of `history`, which is sorted by reward, the best first: at most as many as are
  // measured at a time, each policy once, none that was measured before, all predicted within
  // limit_ns().
  std::vector<FinalistEntry> Next(const std::vector<FinalistEntry>& history) const;

  // What the round's candidates came to; tightens the limit if none keeps the budget.
  void Add(const std::vector<FinalistEntry>& measured, const v1::TimingReport& report);

  // What the candidates of the next round have to be predicted at, in nanoseconds; 0: no limit.
  int64_t limit_ns() const { return limit_ns_; }
  int64_t rounds() const { return rounds_; }

  // The best by reward of those that keep the budget; of the earlier measured on a tie.
  std::optional<FinalistEntry> winner() const;
  // Everything that was measured, with the winner's own figures where there is one.
  v1::LatencyCheck check() const;
  // "the nearest took 5.31 ms of 5 ms", of the measured.
  std::string Nearest() const;

 private:
  struct Measured {
    FinalistEntry entry;
    v1::Finalist finalist;
    double original_us = 0;
    double limit_us = 0;  // infinite without one
  };
  const Measured* Best() const;

  const LatencyTarget target_;
  const int64_t at_a_time_;
  int64_t limit_ns_;
  int64_t rounds_ = 0;
  std::vector<Measured> measured_;
};

}  // namespace amc
