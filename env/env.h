// The environment as a reinforcement-learning agent sees it.
//
//   AMC_ASSIGN_OR_RETURN(auto env, AmcEnv::Create(graph, options));
//   Observation o = env->Reset();
//   while (!env->done()) {
//     AMC_ASSIGN_OR_RETURN(StepResult r, env->Step(actor(o)));
//     o = r.observation;
//   }
//   Policy policy = env->policy();   // never over budget
//
// Stepping is arithmetic on integers: no weights, no torch, tens of thousands of steps a second.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/cost/cost_model.h"
#include "env/cost/lattice.h"
#include "env/cost/policy.h"
#include "env/graph/groups.h"

namespace amc {

// The paper's 11 features (section 3.1), scaled to [0, 1], in this order.
struct Observation {
  enum Feature { kT, kN, kC, kH, kW, kStride, kK, kFlops, kReduced, kRest, kLastAction, kSize };
  std::vector<float> features;  // kSize of them
  int32_t group = 0;            // which group is asked about
};

struct StepResult {
  Observation observation;  // of the next group; the last one repeats when done
  double executed = 0;      // preserve ratio carried out: kept / channels
  int64_t kept = 0;
  bool done = false;
};

// What a policy may cost of one resource.
struct CostBound {
  Resource resource = Resource::kMacs;
  const CostFunction* cost = nullptr;  // the environment's
  int64_t original = 0;                // of the whole network
  int64_t limit = 0;
};
// "macs", "macs and latency".
std::string BudgetName(const std::vector<CostBound>& bounds);

// One episode at a time: thread-compatible.
class Environment {
 public:
  virtual ~Environment() = default;
  virtual Observation Reset() = 0;
  // `action` is the preserve ratio asked for. InvalidArgument unless 0 < action <= 1 (NaN
  // included); FailedPrecondition after the last step or before Reset.
  virtual absl::StatusOr<StepResult> Step(double action) = 0;
  virtual bool done() const = 0;
  virtual size_t num_steps() const = 0;
  // The episode's policy; whole where not yet decided.
  virtual Policy policy() const = 0;

  // For agents that propose whole candidates instead of steps: what they choose from.
  virtual const Grouping& grouping() const = 0;
  virtual const CostModel& cost_model() const = 0;
  virtual const Lattice& lattice() const = 0;
  // What the budget is on, and its upper bound; INT64_MAX if there is none. Of several bounds that
  // which is used up most (env/cost/combined_cost.h).
  virtual const CostFunction& cost() const = 0;
  virtual int64_t budget() const = 0;
  // The bounds one by one; at least one, which without a budget has the limit INT64_MAX.
  virtual const std::vector<CostBound>& bounds() const = 0;
  // What policies cost of any resource, whatever the budget is on: for rewards. Null where that is
  // not known: latency without a table, activations of shapes that are not.
  virtual const CostFunction* resource_cost(Resource resource) const = 0;
  // A policy within budget, the cheapest that is known.
  virtual absl::Span<const int64_t> cheapest() const = 0;
  virtual std::unique_ptr<Environment> Clone() const = 0;  // a fresh one, not reset
};

}  // namespace amc
