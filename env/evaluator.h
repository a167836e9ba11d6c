// Policy in, measurement out: what the search pays for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/cost/cost_model.h"
#include "env/cost/policy.h"

namespace amc {

// What is asked of an evaluator.
struct Candidate {
  Policy policy;
  int64_t images = 0;  // of the reward split, from its beginning; 0: as many as it is set to
};

// What was measured of one candidate on the reward split. Every field but `seconds` is a
// deterministic function of the job's spec and its numerics id. An infeasible candidate is an
// outcome like any other, but none that a reward could be made of: it has a cost, images and no
// quality.
struct Measurement {
  double top1 = 0, top5 = 0;  // fractions in [0, 1]
  double loss = 0;            // mean cross entropy, nats
  double kl = 0;              // mean KL(original || candidate), nats
  double soft_kl = 0;         // the same of softened outputs (env/exec/evaluate.h)
  int64_t images = 0;
  Cost cost;           // counted on the shrunk network
  int64_t work = 0;    // multiply-accumulates of all that was forwarded for this candidate alone
                       // (images times MACs of the layers they passed; backward counts twice)
  double seconds = 0;  // wall time of the evaluation; stands outside canonical history
  std::string infeasible = {};  // why there is no measurement: empty for one that is
};

// Thread-safety is the implementation's; the search calls from one thread.
class Evaluator {
 public:
  virtual ~Evaluator() = default;

  // Measures a generation, results in order. The first error ends it: a candidate that cannot be
  // evaluated is an error of the job, one whose results are not finite is infeasible; neither gets
  // a made-up reward. Cancelled by an InterruptScope (base/interrupt.h).
  virtual absl::StatusOr<std::vector<Measurement>> Evaluate(
      absl::Span<const Candidate> candidates) = 0;
};

}  // namespace amc
