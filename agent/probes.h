// Sensitivity probes: the first episodes of agents that plan with losses of single groups.
//
// Episode 0 is the whole network, the reference; then, group by group in order (a worker can keep
// the activations before the group), `ratios` points of its lattice below the whole, the smallest
// choice among them and denser towards it being whole. Probing may cost about a fifth of the
// search: where it would cost more, first the images of a probe are lowered (to 100), then the
// points of a group (to 2).
//
//   ProbePhase probes(env, options);          // Remember(...) what earlier searches measured
//   number < probes.size() ? probes.Propose(env, number) : ...
//   probes.Learn(reward) / probes.Skip();     // in order
//   if (probes.complete()) LossCurves curves = probes.Curves(env.lattice());
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "agent/agent.h"
#include "agent/agent_registry.h"
#include "agent/loss_curves.h"
#include "base/bytes.h"
#include "env/env.h"

namespace amc {

struct ProbePoint {
  static constexpr int32_t kWholeNetwork = -1;
  int32_t group = kWholeNetwork;
  int64_t kept = 0;
  friend bool operator==(const ProbePoint&, const ProbePoint&) = default;
};

struct ProbePlan {
  int64_t images = 0;  // of each probe; 0: all
  std::vector<ProbePoint> points;
  double expected_cost = 0;  // of all, in full evaluations; 0 where reward_images is not known
  double highest_cost = 0;   // if nothing at all were shared between probes
};

// InvalidArgument for settings out of range.
absl::Status CheckProbeOptions(const ProbeOptions& options);
ProbePlan PlanProbes(const Environment& env, const AgentOptions& options);

// The first episodes of an agent and what came of them. Thread-compatible.
class ProbePhase {
 public:
  ProbePhase() = default;  // of no probes
  ProbePhase(const Environment& env, const AgentOptions& options);

  const ProbePlan& plan() const { return plan_; }
  int64_t size() const { return static_cast<int64_t>(plan_.points.size()); }
  int64_t measured() const { return static_cast<int64_t>(rewards_.size()); }
  bool complete() const { return measured() == size(); }
  // Whether a cut of any group has an outcome, of this search or an earlier one: else Curves says
  // nothing.
  bool informed() const;
  // Of what is left to measure, in full evaluations, if nothing were shared between probes.
  double highest_cost() const { return highest_price_ * static_cast<double>(size() - measured()); }

  // Takes a probe of an earlier search of the same network: a point that was measured on as many
  // images or more need not be measured again, so the plan loses it (the whole network only on as
  // many: points refer to it). Before the first Propose; anything but a point of the plan is left.
  void Remember(const Environment& env, const Episode& episode, double reward);

  // Gives up what is left to measure; what is known stays.
  void Drop() { plan_.points.resize(rewards_.size()); }

  // `number` is in [0, size()).
  Episode Propose(const Environment& env, int64_t number) const;
  // The outcome of probe number measured(); there is one more.
  void Learn(double reward) { rewards_.push_back(reward); }
  void Skip() { rewards_.push_back(std::nullopt); }

  // From what was measured so far.
  LossCurves Curves(const Lattice& lattice) const;
  // The reward of the whole network on the images of a probe; the best of all probes if that was
  // infeasible, 0 before there is any.
  double Reference() const { return ReferenceOn(plan_.images); }

  void Save(ByteWriter& writer) const;
  // Reads what Save of a phase of the same lattice wrote, its plan included: a search that is taken
  // up with more evaluations keeps the probes it has. InvalidArgument for anything else, and the
  // phase is then as it was. (Where more bytes follow that may prove bad, read into a copy.)
  absl::Status Read(ByteReader& reader);

 private:
  struct Remembered {
    ProbePoint point;
    int64_t images = 0;
    double reward = 0;
  };
  double ReferenceOn(int64_t images) const;

  std::vector<std::vector<int64_t>> choices_;   // of each group, ascending
  ProbePlan plan_;                              // what is measured here
  double highest_price_ = 0;                    // of one probe
  std::vector<std::optional<double>> rewards_;  // of its points; nothing: infeasible
  std::vector<Remembered> remembered_;
};

}  // namespace amc
