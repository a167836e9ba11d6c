// Proposes new policies from what was measured: the thinking part of `evolution` and `hybrid`.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "agent/exchange.h"
#include "agent/outcomes.h"
#include "agent/policy_space.h"
#include "agent/surrogate.h"
#include "base/rng.h"

namespace amc {

enum class ProposalKind {
  kRandom,     // random exchanges from the best candidates: no surrogate
  kRanked,     // of many random exchanges from a population, what the surrogate likes best
  kMinimised,  // the exchanges that minimise a sample of the surrogate's belief
};

// What proposals start from when nothing was learnt yet.
struct ProposalGround {
  GroupTables curves;           // losses of single groups
  std::optional<double> whole;  // the reward of the whole network, where it was measured
  Choice typical;               // what is best before anything is measured
  std::vector<int64_t> levels;  // numbers of images that are measured on, ascending
};

// Its answers are functions of the ground and of the outcomes it was updated with; what it keeps
// besides saves work alone. Thread-compatible; `space` must outlive it.
class Proposer {
 public:
  Proposer(const PolicySpace& space, ProposalKind kind, ProposalGround ground);

  // All outcomes there are, in order; earlier ones are as they were.
  void Update(const std::vector<Outcome>& outcomes);

  // A policy within budget and not among `seen`; nothing if none was found. `temperature` is how
  // far to stray from what is expected to be best.
  std::optional<Choice> New(const std::set<Choice>& seen, double temperature, Rng& rng) const;
  // The one of `choices` that is expected to be best, strayed from likewise.
  const Choice& Best(const std::vector<Choice>& choices, double temperature, Rng& rng) const;

  // What a full evaluation is expected to lose, on a scale of its own: lower is better. Without a
  // surrogate, results on different numbers of images do not compare.
  double Score(const Outcome& outcome) const;

 private:
  Objective Target(double temperature, Rng& rng) const;
  Choice Mutate(const Choice& parent, Rng& rng) const;
  // Of the first outcomes: what no reward exceeds, and the surrogate before it is fitted.
  double Ceiling(size_t outcomes) const;
  std::unique_ptr<Surrogate> Believe(size_t outcomes) const;

  const PolicySpace& space_;
  const ProposalKind kind_;
  const ProposalGround ground_;

  std::vector<Outcome> outcomes_;
  double ceiling_ = 0;           // rewards are below it
  std::vector<Choice> parents_;  // best first
  std::unique_ptr<Surrogate> surrogate_;
  std::map<size_t, Surrogate::Deviations> deviations_;  // by the number of outcomes they are from
};

}  // namespace amc
