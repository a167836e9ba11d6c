#include "tests/bench/budget_cell.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "agent/agent_registry.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "env/amc_env.h"
#include "env/graph/onnx_export.h"
#include "env/graph/onnx_import.h"
#include "env/prune/surgery.h"

namespace amc {
namespace {

absl::StatusOr<int64_t> CountShrunk(const Graph& graph, const Grouping& grouping,
                                    absl::Span<const int64_t> kept) {
  AMC_ASSIGN_OR_RETURN(const Graph shrunk, Shrink(graph, grouping, KeepFirst(grouping, kept)));
  AMC_ASSIGN_OR_RETURN(const Cost cost, CountCost(shrunk));
  return cost.macs;
}

absl::StatusOr<int64_t> CountExported(const Graph& graph, const Grouping& grouping,
                                      absl::Span<const int64_t> kept) {
  AMC_ASSIGN_OR_RETURN(const Graph shrunk, Shrink(graph, grouping, KeepFirst(grouping, kept)));
  AMC_ASSIGN_OR_RETURN(const std::string file, ExportOnnx(shrunk));
  AMC_ASSIGN_OR_RETURN(const Graph read_back, ImportOnnx(file));
  AMC_ASSIGN_OR_RETURN(const Cost cost, CountCost(read_back));
  return cost.macs;
}

// What a group may keep, from the definition: multiples of lcm(multiple, cells) at least a fifth of
// its channels, and all of them.
std::vector<int64_t> ChoicesOf(const PruneGroup& group, int64_t multiple) {
  std::vector<int64_t> choices;
  for (int64_t kept = 1; kept <= group.channels; ++kept) {
    const bool on_lattice = kept % multiple == 0 && kept % group.cells == 0;
    if (kept == group.channels || (on_lattice && 5 * kept >= group.channels)) {
      choices.push_back(kept);
    }
  }
  return choices;
}

// Up to 16 of them: the smallest two, the largest, and evenly spaced ones between.
std::vector<int64_t> Thinned(const std::vector<int64_t>& choices) {
  constexpr size_t kMost = 16;
  if (choices.size() <= kMost) return choices;
  std::vector<int64_t> thinned{choices[0]};
  for (size_t i = 0; i + 1 < kMost; ++i) {
    thinned.push_back(choices[1 + i * (choices.size() - 2) / (kMost - 2)]);
  }
  return thinned;
}

class Cell {
 public:
  Cell(const Graph& weightless, const Graph* weights, const BudgetCellOptions& options)
      : weightless_(weightless), weights_(weights), options_(options) {}

  absl::StatusOr<BudgetCellResult> Run() {
    AMC_ASSIGN_OR_RETURN(const Cost original, CountCost(weightless_));
    original_ = original.macs;
    limit_ = options_.target * static_cast<double>(original_);
    auto env = AmcEnv::Create(weightless_, {.budget = {{.ratio = options_.target}},
                                            .channel_multiple = options_.multiple});
    if (env.status().code() == absl::StatusCode::kOutOfRange) {
      result_.refusal = std::string(env.status().message());
      return result_;
    }
    AMC_RETURN_IF_ERROR(env.status());
    result_.least = 1;
    AMC_RETURN_IF_ERROR(WalkRandomly(**env));
    AMC_RETURN_IF_ERROR(WalkWithAgent(**env));
    return result_;
  }

 private:
  absl::Status WalkRandomly(Environment& env) {
    Rng rng(options_.seed);
    for (int64_t episode = 0; episode < options_.random_episodes; ++episode) {
      env.Reset();
      while (!env.done()) AMC_RETURN_IF_ERROR(env.Step(1 - rng.Uniform()).status());
      AMC_RETURN_IF_ERROR(Count(env, env.policy(), episode < options_.exported));
    }
    return absl::OkStatus();
  }

  // The reward likes some groups more than others, so that the agent learns to push against the
  // budget from both sides.
  absl::Status WalkWithAgent(Environment& env) {
    const AgentOptions agent_options{
        .seed = options_.seed,
        .ddpg = {.hidden = 64, .batch = 32, .warmup_episodes = options_.agent_episodes / 20}};
    AMC_ASSIGN_OR_RETURN(auto agent, MakeAgent("ddpg-paper", env, agent_options));
    for (int64_t number = 0; number < options_.agent_episodes; ++number) {
      AMC_ASSIGN_OR_RETURN(const Episode episode, agent->Propose(env, number, 1));
      AMC_RETURN_IF_ERROR(Count(env, episode.policy, number < options_.exported));
      double reward = 0;
      for (size_t i = 0; i < episode.executed.size(); ++i) {
        reward += std::cos(static_cast<double>(i)) * episode.executed[i];
      }
      AMC_RETURN_IF_ERROR(
          agent->Learn(episode, reward / static_cast<double>(episode.executed.size())));
    }
    return absl::OkStatus();
  }

  absl::Status Count(const Environment& env, const Policy& policy, bool exported) {
    AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> kept, KeptCounts(policy, env.grouping()));
    AMC_ASSIGN_OR_RETURN(const int64_t macs, CountShrunk(weightless_, env.grouping(), kept));
    bool over = static_cast<double>(macs) > limit_;
    bool disagrees = macs != env.cost_model().Evaluate(kept).macs;
    if (exported && weights_ != nullptr) {
      AMC_ASSIGN_OR_RETURN(const int64_t of_file, CountExported(*weights_, env.grouping(), kept));
      over |= static_cast<double>(of_file) > limit_;
      disagrees |= of_file != macs;
      ++result_.exported;
    }
    const double ratio = static_cast<double>(macs) / static_cast<double>(original_);
    result_.least = std::min(result_.least, ratio);
    result_.worst = std::max(result_.worst, ratio);
    result_.over += over;
    result_.disagreeing += disagrees;
    ++result_.episodes;
    return absl::OkStatus();
  }

  const Graph& weightless_;
  const Graph* weights_;
  const BudgetCellOptions options_;
  int64_t original_ = 0;
  double limit_ = 0;
  BudgetCellResult result_;
};

}  // namespace

absl::StatusOr<int64_t> BruteForceMinimum(const Graph& graph, int64_t multiple) {
  AMC_ASSIGN_OR_RETURN(const Grouping grouping, BuildGroups(graph));
  AMC_ASSIGN_OR_RETURN(const CostModel model, CostModel::Create(graph, grouping));
  std::vector<std::vector<int64_t>> choices;
  std::vector<int64_t> kept;
  for (const PruneGroup& group : grouping.groups) {
    choices.push_back(Thinned(ChoicesOf(group, multiple)));
    kept.push_back(choices.back().front());
  }
  AMC_ASSIGN_OR_RETURN(const int64_t minimum, CountShrunk(graph, grouping, kept));
  for (size_t a = 0; a < kept.size(); ++a) {
    for (size_t b = a; b < kept.size(); ++b) {
      const std::vector<int64_t> smallest = kept;
      for (const int64_t at_a : choices[a]) {
        for (const int64_t at_b : choices[b]) {
          kept[a] = at_a;
          kept[b] = at_b;
          if (const int64_t macs = model.Evaluate(kept).macs; macs < minimum) {
            return absl::InternalError(absl::StrCat(macs, " MACs are less than the minimum of ",
                                                    minimum, " with groups ", a, " and ", b, " at ",
                                                    at_a, " and ", at_b));
          }
        }
      }
      kept = smallest;
    }
  }
  return minimum;
}

absl::StatusOr<BudgetCellResult> RunBudgetCell(const Graph& weightless, const Graph* weights,
                                               const BudgetCellOptions& options) {
  return Cell(weightless, weights, options).Run();
}

}  // namespace amc
