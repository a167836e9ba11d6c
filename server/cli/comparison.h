// What `amc compare` concludes from finished jobs: each agent's figures on the report split, and
// how the first one differs from every other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "amc/v1/job.pb.h"
#include "server/cli/bootstrap.h"
#include "server/cli/compare_agents.h"
#include "server/cli/outcomes.h"
#include "server/cli/search_curve.h"

namespace amc {

// One finished search.
struct ComparedRun {
  uint64_t seed = 0;
  v1::Job job;
  Outcomes outcomes = {};
  std::vector<CurvePoint> curve = {};
  double evaluations = 0;  // spent
  int64_t work = 0;        // multiply-accumulates forwarded, of the whole search
};

struct ComparedSearches {
  ComparedAgent agent;
  std::vector<ComparedRun> runs = {};  // by seed
};

// Means over an agent's seeds; the intervals are those of bootstrap.h.
struct AgentFigures {
  double evaluations = 0, work = 0, reward = 0;
  Interval top1_drop;  // points of accuracy lost on the report split
  Interval kl;         // on the report split, nats
};

// The first agent's minus another's.
struct AgentDifference {
  Interval kl;    // below 0: the first is closer to the original
  Interval top1;  // points; above 0: the first has the higher accuracy
};

struct Comparison {
  std::vector<ComparedSearches> searches;
  std::vector<AgentFigures> figures;         // of each
  std::vector<AgentDifference> differences;  // of the first to the second, the third, ...
  int64_t images = 0;                        // of the report split
};

// Resamples with Rng(0). InvalidArgument if two runs were not measured on the same images (their
// numbers or labels differ); at least one agent, and of each at least one run.
absl::StatusOr<Comparison> Compare(std::vector<ComparedSearches> searches,
                                   int64_t resamples = kBootstrapResamples);

}  // namespace amc
