// A made-up network's losses, to judge searches by without measuring networks.
//
// What it has in common with measured ones: losses of single groups grow like (1/r - 1)^e and
// differ by one to two orders of magnitude between groups; they add up only roughly, because a
// group matters more or less once others are cut, neighbours help or hurt each other, and every
// policy has a quirk of its own; results on fewer images are noisier and off by a common factor.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "agent/agent_registry.h"
#include "agent/policy_space.h"
#include "env/env.h"
#include "env/evaluator.h"

namespace amc {

struct LandscapeOptions {
  uint64_t seed = 0;
  double spread = 1.0;       // of the logarithms of the groups' sensitivities
  double context = 0.4;      // of the logarithms of what the others change about them
  double interaction = 0.3;  // of neighbours, relative to their own losses
  double power = 1.2;        // of the sum
  double quirk = 0.01;       // of log losses
  double noise = 0.5;        // of log losses on a single image
  int64_t images = 5000;     // of a full evaluation
};

// Immutable, thread-safe.
class Landscape {
 public:
  Landscape(const Environment& env, const LandscapeOptions& options);

  // KL of a policy, free of noise.
  double TrueKl(absl::Span<const int64_t> kept) const;
  // Close to the least there is within budget.
  double BestKl() const { return best_; }
  // The evaluator's answer: KL, top-1 that falls with it, and work, of which a probe has 60%.
  Measurement Measure(const Environment& env, const Policy& policy, int64_t images,
                      bool probe) const;

 private:
  double Solo(size_t group, int64_t kept) const;

  LandscapeOptions options_;
  std::vector<int64_t> channels_;
  std::vector<double> sensitivity_, exponent_, context_, interaction_;
  double scale_ = 1;
  double best_ = 0;
};

// Runs agent `name` for `evaluations` and returns log(true KL of its best / the least).
struct LandscapeRun {
  double regret = 0;
  int64_t episodes = 0, candidates = 0, screenings = 0, probes = 0;
  double spent = 0;
  double share = 0;  // of the budget that the best uses
};
LandscapeRun SearchLandscape(const Landscape& landscape, const Environment& env,
                             const std::string& agent, const AgentOptions& options,
                             int64_t evaluations, int64_t parallel, bool top1 = false);

}  // namespace amc
