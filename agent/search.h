// The search loop: generations of candidates drawn, measured elsewhere, learnt in episode order.
//
//   while (!search->done()) {
//     AMC_ASSIGN_OR_RETURN(std::vector<Episode> generation, search->Draw());
//     ... evaluate, anywhere, in any order ...
//     AMC_RETURN_IF_ERROR(search->Commit(generation, measurements));
//     store->CommitGeneration(..., search->SaveState());
//   }
//
// Input and output stay with the caller, so that the same loop serves tests, `amc run` and the
// server's jobs. Draw after a restore gives the same generation again.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "agent/agent.h"
#include "agent/agent_registry.h"
#include "env/env.h"
#include "env/evaluator.h"
#include "env/reward.h"

namespace amc {

struct SearchOptions {
  std::string agent = "hybrid";
  AgentOptions agent_options;     // `evaluations` is set from `episodes`
  int64_t episodes = 200;         // what the search may cost, in full evaluations; agents that have
                                  // nothing more to say end earlier
  int64_t parallel_episodes = 2;  // a generation
  RewardOptions reward;
};

// An episode with its outcome, as the history keeps it. The reward of an infeasible one is 0 and
// means nothing.
struct EvaluatedEpisode {
  Episode episode;
  Measurement measurement;
  double reward = 0;
  double evaluations = 0;  // what it cost, in full evaluations
};

// Thread-compatible.
class Search {
 public:
  // InvalidArgument for options out of range, for what MakeAgent refuses, and for a reward whose
  // resource the environment has no cost of.
  static absl::StatusOr<std::unique_ptr<Search>> Create(std::unique_ptr<Environment> env,
                                                        const SearchOptions& options);

  bool done() const;
  int64_t next_episode() const { return next_; }
  // What the episodes up to here cost, in full evaluations; of options.episodes.
  double spent() const { return spent_; }
  // Measurement::work of one full evaluation: all images through a network that has the budget's
  // share of the original's MACs.
  int64_t evaluation_work() const { return evaluation_work_; }
  // Episodes that are results of their own beside the best (Agent::series).
  std::vector<int64_t> series() const;

  // The next generation: at most parallel_episodes, as many as the agent has to say and can be paid
  // for. Empty, and done() from then on, if that is none.
  absl::StatusOr<std::vector<Episode>> Draw();

  // Rewards and learns, in order; what was infeasible is skipped. InvalidArgument, with nothing
  // learnt, unless `generation` is what the last Draw gave, there is one measurement each, and
  // every reward is finite. Returns the evaluated episodes.
  absl::StatusOr<std::vector<EvaluatedEpisode>> Commit(absl::Span<const Episode> generation,
                                                       absl::Span<const Measurement> measurements);

  // Candidates that the caller wants measured beside the agent's, as when its winner turned out to
  // miss the budget: a generation like those of Draw that the search does not pay for. They can
  // become the best; the agent learns nothing of them. InvalidArgument, naming the episode, for a
  // policy that is not the environment's or exceeds the budget.
  absl::StatusOr<std::vector<Episode>> Append(absl::Span<const std::vector<int64_t>> kept,
                                              const std::string& note);

  // The best candidate by reward among those committed (the earlier on a tie); none at first, and
  // as long as all were infeasible.
  const std::optional<EvaluatedEpisode>& best() const { return best_; }

  // Teaches the agent what an earlier search of the same network measured, perhaps under another
  // budget and reward; feasible episodes alone. Before the first Draw, and not after RestoreState,
  // which brings it along.
  void Remember(const Episode& episode, const Measurement& measurement) {
    agent_->Remember(episode, Reward(episode.policy, measurement));
  }

  // Agent, counters and best. A restored search continues bit for bit; it must have been created
  // with the same options. InvalidArgument for bytes of another search, leaving this one as it was.
  std::string SaveState() const;
  absl::Status RestoreState(absl::string_view bytes);

 private:
  Search(std::unique_ptr<Environment> env, SearchOptions options, std::unique_ptr<Agent> agent,
         const CostFunction* weighed);

  // Of a feasible measurement of the policy.
  double Reward(const Policy& policy, const Measurement& measurement) const;
  // What an episode costs in full evaluations: at most, and as measured (at most where the work is
  // not known, as of an infeasible one).
  double Price(const Episode& episode) const;
  double Price(const Episode& episode, const Measurement& measurement) const;
  // Remembers what Commit has to be given.
  void Expect(absl::Span<const Episode> generation, bool appending);
  // The number that the agent knows the episode `number` by, and back: it does not count those that
  // were appended.
  int64_t ToAgent(int64_t number) const;
  int64_t FromAgent(int64_t number) const;

  std::unique_ptr<Environment> env_;
  SearchOptions options_;
  std::unique_ptr<Agent> agent_;
  const CostFunction* const weighed_;  // by the reward; the environment's, null if it weighs none
  const int64_t evaluation_work_;
  int64_t next_ = 0;
  double spent_ = 0;
  bool broke_ = false;             // what the agent wanted last could not be paid for
  std::vector<Policy> drawn_;      // what Draw or Append gave and Commit waits for
  bool appending_ = false;         // it was Append
  std::vector<int64_t> appended_;  // numbers of committed episodes that were appended, ascending
  std::optional<EvaluatedEpisode> best_;
};

}  // namespace amc
