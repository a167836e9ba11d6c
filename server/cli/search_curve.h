// How good the best candidate of a search was after so much cost.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "amc/v1/model.pb.h"

namespace amc {

struct CurvePoint {
  double evaluations = 0;  // spent up to here, in full evaluations
  int64_t work = 0;        // multiply-accumulates forwarded up to here; backward counts twice
  double reward = 0;       // of the best candidate so far
};

// One search's episodes, added by number. Thread-compatible.
class SearchCurve {
 public:
  // `evaluation_work`, of a full evaluation, stands in for the work of what was not measured.
  explicit SearchCurve(int64_t evaluation_work) : evaluation_work_(evaluation_work) {}

  // Probes, screenings and what is infeasible cost, but are never best.
  void Add(const v1::Episode& episode);

  double evaluations() const { return evaluations_; }
  int64_t work() const { return work_; }
  // A point for each candidate that was better than all before it, and one for the end. Empty
  // without a candidate.
  std::vector<CurvePoint> Points() const;

 private:
  int64_t evaluation_work_;
  double evaluations_ = 0;
  int64_t work_ = 0;
  std::vector<CurvePoint> improvements_;
};

// The best reward for at most so many evaluations; none if the first candidate came later.
std::optional<double> RewardAt(const std::vector<CurvePoint>& curve, double evaluations);

}  // namespace amc
