#include "agent/exchange_agent.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "agent/agent_state.h"
#include "agent/fit.h"
#include "agent/outcomes.h"
#include "agent/planner.h"
#include "agent/policy_space.h"
#include "agent/probes.h"
#include "agent/starts.h"
#include "base/rng.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr int64_t kGeneration = 16;       // drawn at most before learning
constexpr double kScreeningPerLevel = 2;  // spent on a level, relative to the next
constexpr double kMostScreeningPrice =
    0.4;  // relative to a full evaluation; above it is not worth it
constexpr double kRounding = 1e-9;

// A policy drawn and not learnt yet, or measured: on which of the levels.
struct Drawn {
  Choice choice;
  size_t level = 0;
  std::string note;
};

class ExchangeAgent final : public Agent {
 public:
  ExchangeAgent(const Environment& env, const AgentOptions& options, ExchangeSettings settings,
                std::vector<Choice> starts)
      : progress_(settings.name, options.seed, env),
        options_(options),
        settings_(std::move(settings)),
        env_(env.Clone()),
        space_(env),
        starts_(std::move(starts)),
        all_(AllPolicies(space_, static_cast<size_t>(2 * options.evaluations) + 1)) {
    if (settings_.probes) probes_ = ProbePhase(env, options);
    SetLevels();
  }

  void Remember(const Episode& episode, double reward) override {
    probes_.Remember(*env_, episode, reward);
    std::optional<Outcome> outcome = OutcomeOf(space_, env_->grouping(), episode, reward);
    if (!outcome.has_value() || episode.kind == EpisodeKind::kProbe) return;
    outcome->remembered = true;
    outcomes_.push_back(*std::move(outcome));
  }

  absl::StatusOr<Episode> Propose(Environment& env, int64_t number, double left) override {
    AMC_RETURN_IF_ERROR(progress_.CheckShape(env));
    const int64_t ahead = number - progress_.done();
    if (number < 0 || ahead < 0 || ahead >= available()) {
      return absl::OutOfRangeError(absl::StrCat("agent ", settings_.name, ": episode ", number,
                                                " is not one of the ", available(), " from ",
                                                progress_.done(), " on"));
    }
    DropUnaffordableProbes();
    if (number < probes_.size()) return probes_.Propose(env, number);
    Prepare();
    while (static_cast<int64_t>(drawn_.size()) <= ahead) {
      const int64_t next = progress_.done() + static_cast<int64_t>(drawn_.size());
      AMC_ASSIGN_OR_RETURN(Drawn drawn, Next(next, left));
      drawn_.push_back(std::move(drawn));
    }
    const Drawn& drawn = drawn_[ahead];
    Episode episode = EpisodeOf(env, space_.Kept(drawn.choice), number);
    if (drawn.level + 1 < levels_.size()) {
      episode.kind = EpisodeKind::kScreening;
      episode.images = levels_[drawn.level];
    }
    episode.note = drawn.note;
    return episode;
  }

  absl::Status Learn(const Episode& episode, double reward) override {
    AMC_RETURN_IF_ERROR(progress_.CheckNext(episode.number, reward));
    return Take(episode, reward);
  }

  absl::Status Skip(const Episode& episode) override {
    AMC_RETURN_IF_ERROR(progress_.CheckNext(episode.number));
    return Take(episode, std::nullopt);
  }

  int64_t available() const override {
    if (!probes_.complete() && CanPayProbes()) return probes_.size() - probes_.measured();
    if (!all_.has_value()) return kGeneration;
    std::set<Choice> candidates;
    for (const Outcome& outcome : outcomes_) {
      const bool measured = !outcome.remembered && outcome.kind == EpisodeKind::kCandidate;
      if (measured) candidates.insert(outcome.choice);
    }
    const auto is_new = [&](const Choice& choice) {
      return candidates.find(choice) == candidates.end();
    };
    return std::min<int64_t>(kGeneration, std::count_if(all_->begin(), all_->end(), is_new));
  }

  std::string SaveState() const override {
    ByteWriter writer;
    progress_.Save(writer);
    probes_.Save(writer);
    SaveOutcomes(outcomes_, writer);
    return std::move(writer).bytes();
  }

  absl::Status RestoreState(absl::string_view bytes) override {
    ByteReader reader(bytes);
    AMC_ASSIGN_OR_RETURN(const int64_t done, progress_.Read(reader));
    ProbePhase probes = probes_;
    AMC_RETURN_IF_ERROR(probes.Read(reader));
    AMC_ASSIGN_OR_RETURN(std::vector<Outcome> outcomes, ReadOutcomes(space_, reader));
    AMC_RETURN_IF_ERROR(reader.Finish());
    int64_t learnt = probes.measured();
    for (const Outcome& outcome : outcomes) learnt += outcome.remembered ? 0 : 1;
    if (learnt != done) {
      return absl::InvalidArgumentError(
          absl::StrCat("agent ", settings_.name, ": ", learnt, " outcomes of ", done, " episodes"));
    }
    progress_.set_done(done);
    probes_ = std::move(probes);
    outcomes_ = std::move(outcomes);
    proposer_.reset();
    drawn_.clear();
    return absl::OkStatus();
  }

 private:
  // Screening needs to know how many images there are, and pays where there are more policies than
  // can be measured.
  void SetLevels() {
    const int64_t all = options_.reward_images, first = options_.evolution.screening_images;
    levels_ = {std::max<int64_t>(all, 1)};
    if (settings_.levels < 2 || all_.has_value() || first <= 0 || first >= all) return;
    const int64_t more = options_.overhead_images;
    if (static_cast<double>(first + more) > kMostScreeningPrice * static_cast<double>(all + more)) {
      return;
    }
    if (settings_.levels > 2) {
      const auto between =
          static_cast<int64_t>(std::sqrt(static_cast<double>(first) * static_cast<double>(all)));
      if (between > first && between < all) levels_.insert(levels_.begin(), between);
    }
    levels_.insert(levels_.begin(), first);
  }

  // Of one policy on a level, in full evaluations.
  double Price(size_t level) const {
    const int64_t more = options_.overhead_images;
    return static_cast<double>(levels_[level] + more) / static_cast<double>(levels_.back() + more);
  }

  // Only a candidate was measured on all images. Nothing for what is below the lowest level: levels
  // may change when a search is taken up with more evaluations.
  std::optional<size_t> LevelOf(const Outcome& outcome) const {
    if (outcome.kind == EpisodeKind::kCandidate) return levels_.size() - 1;
    const auto above = std::upper_bound(levels_.begin(), levels_.end() - 1, outcome.images);
    if (above == levels_.begin()) return std::nullopt;
    return static_cast<size_t>(above - levels_.begin()) - 1;
  }

  // Probes that were begun are completed. Else they must leave a candidate's worth of the search,
  // whatever they come to.
  bool CanPayProbes() const {
    return probes_.measured() > 0 || probes_.highest_cost() + 1 <= options_.evaluations;
  }

  void DropUnaffordableProbes() {
    if (!CanPayProbes()) probes_.Drop();
  }

  absl::Status Take(const Episode& episode, std::optional<double> reward) {
    DropUnaffordableProbes();
    if (!probes_.complete()) {
      if (reward.has_value()) {
        probes_.Learn(*reward);
      } else {
        probes_.Skip();
      }
    } else {
      std::optional<Outcome> outcome = OutcomeOf(space_, env_->grouping(), episode, reward);
      if (!outcome.has_value()) {
        return absl::InvalidArgumentError(absl::StrCat("agent ", settings_.name, ": episode ",
                                                       episode.number,
                                                       " has a policy off the lattice"));
      }
      outcomes_.push_back(*std::move(outcome));
    }
    progress_.Advance();
    drawn_.clear();
    return absl::OkStatus();
  }

  // Once probes are complete: what they say, and where to begin.
  void Prepare() {
    if (proposer_ == nullptr) {
      const LossCurves curves =
          probes_.informed() ? probes_.Curves(env_->lattice()) : LossCurves::Prior(env_->lattice());
      ProposalGround ground{.curves = {}, .whole = {}, .typical = {}, .levels = levels_};
      for (size_t g = 0; g < space_.num_groups(); ++g) {
        ground.curves.emplace_back(curves.losses(g).begin(), curves.losses(g).end());
      }
      if (probes_.informed()) ground.whole = probes_.Reference();
      beginnings_ = starts_;
      if (settings_.start_plan) beginnings_.push_back(PlanPolicy(space_, ground.curves));
      if (settings_.start_uniform) beginnings_.push_back(UniformStart(*env_, space_));
      ground.typical = beginnings_.front();
      proposer_ = std::make_unique<Proposer>(space_, settings_.proposals, std::move(ground));
    }
    proposer_->Update(outcomes_);
  }

  // NotFound if no policy is left that is new.
  absl::StatusOr<Drawn> Next(int64_t number, double left) const {
    // On which level a policy was measured or drawn last, and what was spent on each level.
    std::map<Choice, size_t> reached;
    std::vector<double> spent(levels_.size(), 0);
    const auto count = [&](const Choice& choice, size_t level) {
      const auto [at, is_new] = reached.emplace(choice, level);
      at->second = std::max(at->second, level);
      spent[level] += Price(level);
    };
    for (const Outcome& outcome : outcomes_) {
      const std::optional<size_t> level = LevelOf(outcome);
      if (!outcome.remembered && level.has_value()) count(outcome.choice, *level);
    }
    for (const Drawn& drawn : drawn_) count(drawn.choice, drawn.level);

    const size_t full = levels_.size() - 1;
    for (size_t i = 0; i < beginnings_.size(); ++i) {
      const auto at = reached.find(beginnings_[i]);
      if (at == reached.end()) return Drawn{beginnings_[i], full, "start"};
    }
    for (const Choice& beginning : std::set<Choice>(beginnings_.begin(), beginnings_.end())) {
      spent[full] -= Price(full);  // they took no part in the halving
      reached.at(beginning) = full;
    }

    Rng rng(progress_.seed(), RandomStream(RandomPurpose::kPropose, number));
    const double temperature =
        settings_.temperature * std::sqrt(std::clamp(left / options_.evaluations, 0.0, 1.0));
    if (all_.has_value()) {
      std::vector<Choice> unseen;
      for (const Choice& choice : *all_) {
        if (reached.find(choice) == reached.end()) unseen.push_back(choice);
      }
      if (!unseen.empty()) return Drawn{proposer_->Best(unseen, temperature, rng), full, ""};
    } else {
      std::set<Choice> seen;
      for (const auto& [choice, level] : reached) seen.insert(choice);
      const bool last = full > 0 && left < 1 + Price(0) - kRounding;
      for (size_t level = full; level > 0; --level) {
        const bool due =
            spent[level - 1] + kRounding >= kScreeningPerLevel * (spent[level] + Price(level));
        if (!due && !(last && level == full)) continue;
        if (const Choice* best = BestOf(reached, last ? 0 : level - 1, level); best != nullptr) {
          return Drawn{*best, level, level == full ? "promoted" : "screened again"};
        }
      }
      if (std::optional<Choice> choice = proposer_->New(seen, last ? 0 : temperature, rng)) {
        return Drawn{*std::move(choice), last ? full : 0, ""};
      }
      for (size_t level = full; level > 0; --level) {
        if (const Choice* best = BestOf(reached, 0, level); best != nullptr) {
          return Drawn{*best, level, "promoted"};
        }
      }
    }
    return absl::NotFoundError(absl::StrCat("agent ", settings_.name, ": episode ", number,
                                            ": no policy within the budget of ", space_.budget(),
                                            " was found that is new"));
  }

  // The best of the policies that were measured on `from` or more, but not on `level` or more.
  const Choice* BestOf(const std::map<Choice, size_t>& reached, size_t from, size_t level) const {
    const Choice* best = nullptr;
    double lowest = std::numeric_limits<double>::infinity();
    for (const Outcome& outcome : outcomes_) {
      if (outcome.remembered || LevelOf(outcome) < from) continue;
      if (reached.at(outcome.choice) >= level) continue;
      if (const double score = proposer_->Score(outcome); score < lowest) {
        lowest = score;
        best = &outcome.choice;
      }
    }
    return best;
  }

  AgentProgress progress_;
  const AgentOptions options_;
  const ExchangeSettings settings_;
  const std::unique_ptr<Environment> env_;
  const PolicySpace space_;
  const std::vector<Choice> starts_;              // asked for by the job
  const std::optional<std::vector<Choice>> all_;  // where there are few
  std::vector<int64_t> levels_;                   // images, ascending; the last: all
  ProbePhase probes_;
  std::vector<Outcome> outcomes_;

  // Follow from the above.
  std::vector<Choice> beginnings_;
  std::unique_ptr<Proposer> proposer_;
  std::vector<Drawn> drawn_;  // in this generation
};

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> MakeExchangeAgent(const Environment& env,
                                                         const AgentOptions& options,
                                                         const ExchangeSettings& settings) {
  AMC_RETURN_IF_ERROR(CheckProbeOptions(options.probes));
  if (options.evolution.screening_images < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "evolution.screening_images: ", options.evolution.screening_images, " is not at least 0"));
  }
  std::vector<Choice> starts;
  ExchangeSettings complete = settings;
  if (const Policy& policy = options.evolution.start_policy; !policy.decisions.empty()) {
    auto kept = KeptCounts(policy, env.grouping());
    if (!kept.ok()) return Annotate(kept.status(), "evolution.start_policy");
    starts.push_back(FittedStart(env, PolicySpace(env), *kept));
    complete.start_uniform = false;
  }
  return std::make_unique<ExchangeAgent>(env, options, std::move(complete), std::move(starts));
}

}  // namespace amc
