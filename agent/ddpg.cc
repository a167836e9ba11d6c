#include "agent/ddpg.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "agent/actor_critic.h"
#include "agent/agent_state.h"
#include "agent/outcomes.h"
#include "agent/planner.h"
#include "agent/policy_space.h"
#include "agent/probes.h"
#include "agent/returns.h"
#include "agent/walk_model.h"
#include "base/rng.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr double kWarmupShare = 0.05;   // of the search, at most
constexpr double kLeastNoise = 0.02;    // of actions
constexpr double kExplored = 0.3;       // of a walk's steps
constexpr int kDraws = 64;              // of an episode, ever wilder, until one is new
constexpr int64_t kGeneration = 64;     // drawn at most before learning
constexpr int kImaginedWalks = 32;      // for every candidate learnt
constexpr int kUpdates = 200;           // likewise
constexpr double kImaginedNoise = 0.1;  // of their actions
constexpr double kMeasuredShare = 0.5;  // of a batch, at most

// Rows for the critic.
struct Walks {
  std::vector<float> states, actions;
  std::vector<double> returns;

  size_t size() const { return actions.size(); }
  void Add(absl::Span<const float> state, float action, double value) {
    states.insert(states.end(), state.begin(), state.end());
    actions.push_back(action);
    returns.push_back(value);
  }
  void AddRow(const Walks& from, size_t row) {
    const absl::Span<const float> states_of_all = from.states;
    Add(states_of_all.subspan(row * WalkModel::kStateSize, WalkModel::kStateSize),
        from.actions[row], from.returns[row]);
  }
};

struct Exploration {
  double noise = 0, share = 0;  // of actions; of a walk's steps that have it
};

struct Drawn {
  Choice choice;
  Episode episode;
};

class Ddpg final : public Agent {
 public:
  Ddpg(const Environment& env, const AgentOptions& options, Rng init)
      : progress_("ddpg", options.seed, env),
        options_(options),
        env_(env.Clone()),
        space_(env),
        probes_(env, options),
        networks_(WalkModel::kStateSize, options_.ddpg, ActorCritic::Targets::kNone, init),
        warmup_(std::min(options.ddpg.warmup_episodes,
                         static_cast<int64_t>(kWarmupShare * options.evaluations))),
        probed_(probes_.plan().highest_cost + 1 <= options.evaluations) {
    if (!probed_) probes_ = {};
  }

  void Remember(const Episode& episode, double reward) override {
    if (episode.kind == EpisodeKind::kProbe) return probes_.Remember(*env_, episode, reward);
    std::optional<Outcome> outcome = OutcomeOf(space_, env_->grouping(), episode, reward);
    if (!outcome.has_value()) return;
    outcome->remembered = true;
    outcomes_.push_back(*std::move(outcome));
  }

  absl::StatusOr<Episode> Propose(Environment& env, int64_t number, double left) override {
    AMC_RETURN_IF_ERROR(progress_.CheckShape(env));
    const int64_t ahead = number - progress_.done();
    if (ahead < 0 || ahead >= available()) {
      return absl::OutOfRangeError(absl::StrCat("agent ddpg: episode ", number, ", with ",
                                                available(), " available from ", progress_.done(),
                                                " on"));
    }
    if (number < probes_.size()) return probes_.Propose(env, number);
    try {
      while (static_cast<int64_t>(drawn_.size()) <= ahead) {
        const int64_t next = progress_.done() + static_cast<int64_t>(drawn_.size());
        AMC_ASSIGN_OR_RETURN(Drawn drawn, Draw(env, next, Noise(left)));
        drawn_.push_back(std::move(drawn));
      }
      return drawn_[ahead].episode;
    } catch (const std::exception& e) {
      return absl::InternalError(
          absl::StrCat("agent ddpg: drawing episode ", number, ": ", e.what()));
    }
  }

  absl::Status Learn(const Episode& episode, double reward) override {
    AMC_RETURN_IF_ERROR(progress_.CheckNext(episode.number, reward));
    if (episode.number < probes_.size()) {
      probes_.Learn(reward);
      progress_.Advance();
      return absl::OkStatus();
    }
    AMC_RETURN_IF_ERROR(Note(episode, reward));
    if (episode.number - probes_.size() >= warmup_) {
      Rng rng(progress_.seed(), RandomStream(RandomPurpose::kLearn, episode.number));
      try {
        AMC_RETURN_IF_ERROR(Train(rng));
      } catch (const std::exception& e) {
        return absl::InternalError(
            absl::StrCat("agent ddpg: learning episode ", episode.number, ": ", e.what()));
      }
    }
    progress_.Advance();
    return absl::OkStatus();
  }

  absl::Status Skip(const Episode& episode) override {
    AMC_RETURN_IF_ERROR(progress_.CheckNext(episode.number));
    if (episode.number < probes_.size()) {
      probes_.Skip();
    } else {
      AMC_RETURN_IF_ERROR(Note(episode, std::nullopt));
    }
    progress_.Advance();
    return absl::OkStatus();
  }

  int64_t available() const override {
    return probes_.complete() ? kGeneration : probes_.size() - probes_.measured();
  }

  // After the common header: hidden i64, warm-up i64, whether it probes u8, the probes, the
  // outcomes, the networks.
  std::string SaveState() const override {
    ByteWriter writer;
    progress_.Save(writer);
    writer.I64(options_.ddpg.hidden);
    writer.I64(warmup_);
    writer.U8(probed_);
    probes_.Save(writer);
    SaveOutcomes(outcomes_, writer);
    networks_.Save(writer);
    return std::move(writer).bytes();
  }

  absl::Status RestoreState(absl::string_view bytes) override {
    ByteReader reader(bytes);
    AMC_ASSIGN_OR_RETURN(const int64_t done, progress_.Read(reader));
    if (const int64_t hidden = reader.I64(); hidden != options_.ddpg.hidden) {
      return absl::InvalidArgumentError(absl::StrCat("agent state: hidden layers of ", hidden,
                                                     ", expected ", options_.ddpg.hidden));
    }
    const int64_t warmup = reader.I64();
    const bool probed = reader.U8() != 0;
    ProbePhase probes = probes_;
    AMC_RETURN_IF_ERROR(probes.Read(reader));
    AMC_ASSIGN_OR_RETURN(std::vector<Outcome> outcomes, ReadOutcomes(space_, reader));
    ActorCritic networks = networks_;
    AMC_RETURN_IF_ERROR(networks.Read(reader));
    AMC_RETURN_IF_ERROR(reader.Finish());
    int64_t learnt = probes.measured();
    for (const Outcome& outcome : outcomes) learnt += outcome.remembered ? 0 : 1;
    if (learnt != done) {
      return absl::InvalidArgumentError(
          absl::StrCat("agent state: ", learnt, " outcomes of ", done, " episodes"));
    }
    progress_.set_done(done);
    warmup_ = warmup;
    probed_ = probed;
    probes_ = std::move(probes);
    outcomes_ = std::move(outcomes);
    networks_ = std::move(networks);
    model_.reset();
    measured_walks_.clear();
    drawn_.clear();
    return absl::OkStatus();
  }

 private:
  absl::Status Note(const Episode& episode, std::optional<double> reward) {
    std::optional<Outcome> outcome = OutcomeOf(space_, env_->grouping(), episode, reward);
    if (!outcome.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("agent ddpg: the policy of episode ",
                                                     episode.number, " is not on the lattice"));
    }
    outcomes_.push_back(*std::move(outcome));
    drawn_.clear();
    return absl::OkStatus();
  }

  double Noise(double left) const {
    const double spent = std::clamp(1 - left / options_.evaluations, 0.0, 1.0);
    return std::max(kLeastNoise,
                    options_.ddpg.noise * std::pow(options_.ddpg.noise_decay, 100 * spent));
  }

  // What follows from the probes, once they are complete.
  const WalkModel& Model() {
    if (model_ != nullptr) return *model_;
    const LossCurves curves =
        probed_ ? probes_.Curves(env_->lattice()) : LossCurves::Prior(env_->lattice());
    ground_ = ReturnGround();
    ground_.reward_images = options_.reward_images;
    for (size_t g = 0; g < curves.num_groups(); ++g) {
      ground_.curves.emplace_back(curves.losses(g).begin(), curves.losses(g).end());
    }
    if (probed_) ground_.whole = probes_.Reference();
    ground_.plan = PlanPolicy(space_, ground_.curves);
    model_ = std::make_unique<WalkModel>(*env_, curves, space_.Kept(ground_.plan));
    return *model_;
  }

  double Act(const WalkModel::View& view, const Exploration& exploration, Rng& rng) {
    const double mean = networks_.Actions(view.state)[0];
    if (exploration.noise <= 0 || rng.Uniform() >= exploration.share) return mean;
    return rng.TruncatedNormal(mean, exploration.noise, 0, 1);
  }

  // A walk to a policy that this search has neither measured nor drawn yet. (One that is remembered
  // has to be measured here too to be a result.) The first candidate is tried without noise.
  absl::StatusOr<Drawn> Draw(Environment& env, int64_t number, double noise) {
    std::set<Choice> seen;
    for (const Outcome& outcome : outcomes_) {
      if (!outcome.remembered) seen.insert(outcome.choice);
    }
    for (const Drawn& drawn : drawn_) seen.insert(drawn.choice);
    Rng rng(progress_.seed(), RandomStream(RandomPurpose::kPropose, number));
    for (int draw = 0; draw < kDraws; ++draw) {
      const double wild = std::pow(static_cast<double>(draw) / (kDraws - 1), 2);
      Exploration exploration{std::lerp(noise, 1.0, wild), std::lerp(kExplored, 1.0, wild)};
      if (draw == 0 && number == probes_.size()) exploration.noise = 0;
      AMC_ASSIGN_OR_RETURN(Drawn drawn, Walk(env, number, exploration, rng));
      if (seen.find(drawn.choice) == seen.end()) return drawn;
    }
    return absl::NotFoundError(absl::StrCat("agent ddpg: episode ", number, ": ", kDraws,
                                            " draws led to none but the ", seen.size(),
                                            " policies that were drawn before"));
  }

  absl::StatusOr<Drawn> Walk(Environment& env, int64_t number, const Exploration& exploration,
                             Rng& rng) {
    const WalkModel& model = Model();
    Episode episode;
    episode.number = number;
    if (number - probes_.size() < warmup_) episode.note = "warm-up";
    std::vector<int64_t> kept = env.lattice().Maximum();
    Observation observation = env.Reset();
    for (size_t s = 0; s < model.steps(); ++s) {
      const WalkModel::View view = model.Look(s, kept, env.budget());
      const double ratio = WalkModel::RatioOf(view, Act(view, exploration, rng));
      AMC_ASSIGN_OR_RETURN(StepResult result, env.Step(ratio));
      kept[model.group(s)] = result.kept;
      episode.observations.push_back(std::move(observation));
      episode.actions.push_back(ratio);
      episode.executed.push_back(result.executed);
      observation = std::move(result.observation);
    }
    episode.policy = env.policy();
    episode.cost = env.cost_model().Evaluate(kept);
    return Drawn{space_.IndexOf(kept), std::move(episode)};
  }

  // The walks that were measured, with their returns as they stand now.
  Walks Measured(const WalkModel& model, const Returns& returns) {
    for (size_t i = measured_walks_.size(); i < outcomes_.size(); ++i) {
      const Choice& choice = outcomes_[i].choice;
      // What another search measured was on its budget, within a step or so.
      const bool elsewhere = space_.has_budget() && outcomes_[i].remembered;
      const int64_t budget = elsewhere ? space_.Cost(choice) : env_->budget();
      measured_walks_.push_back(model.WalkTo(space_.Kept(choice), budget));
    }
    Walks walks;
    for (size_t i = 0; i < outcomes_.size(); ++i) {
      const std::optional<double> value = returns.Measured(i);
      if (!value.has_value()) continue;
      for (const WalkModel::Transition& t : measured_walks_[i])
        walks.Add(t.state, t.action, *value);
    }
    return walks;
  }

  // Walks of the actor as it is now, with their expected returns.
  absl::StatusOr<Walks> Imagined(const WalkModel& model, const Returns& returns, Rng& rng) {
    Walks walks;
    for (int w = 0; w < kImaginedWalks; ++w) {
      std::vector<int64_t> kept = env_->lattice().Maximum();
      std::vector<std::pair<WalkModel::View, float>> steps;
      env_->Reset();
      for (size_t s = 0; s < model.steps(); ++s) {
        WalkModel::View view = model.Look(s, kept, env_->budget());
        const double action = Act(view, {kImaginedNoise, kExplored}, rng);
        AMC_ASSIGN_OR_RETURN(const StepResult result, env_->Step(WalkModel::RatioOf(view, action)));
        kept[model.group(s)] = result.kept;
        const double executed = WalkModel::ActionOf(view, result.executed);
        steps.emplace_back(std::move(view), static_cast<float>(executed));
      }
      const double value = returns.Expected(space_.IndexOf(kept));
      for (const auto& [view, action] : steps) walks.Add(view.state, action, value);
    }
    return walks;
  }

  absl::Status Train(Rng& rng) {
    const WalkModel& model = Model();
    const Returns returns(space_, ground_, outcomes_);
    const Walks measured = Measured(model, returns);
    AMC_ASSIGN_OR_RETURN(const Walks imagined, Imagined(model, returns, rng));
    const auto batch = static_cast<size_t>(options_.ddpg.batch);
    const size_t from_measured =
        std::min(measured.size(), static_cast<size_t>(kMeasuredShare * options_.ddpg.batch));
    for (int update = 0; update < kUpdates; ++update) {
      Walks rows;
      for (size_t i = 0; i < batch; ++i) {
        const Walks& from = i < from_measured ? measured : imagined;
        rows.AddRow(from, rng.Below(from.size()));
      }
      networks_.FitCritic(rows.states, rows.actions, rows.returns);
      networks_.ImproveActor(rows.states);
    }
    return absl::OkStatus();
  }

  AgentProgress progress_;
  const AgentOptions options_;
  const std::unique_ptr<Environment> env_;
  const PolicySpace space_;
  ProbePhase probes_;
  std::vector<Outcome> outcomes_;
  ActorCritic networks_;
  int64_t warmup_;  // candidates; stays the same where a search goes on with more evaluations
  bool probed_;     // there are probes, or an earlier search made them

  // Derived.
  ReturnGround ground_;
  std::unique_ptr<WalkModel> model_;
  std::vector<std::vector<WalkModel::Transition>> measured_walks_;  // by outcome
  std::vector<Drawn> drawn_;                                        // in this generation
};

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> MakeDdpg(const Environment& env,
                                                const AgentOptions& options) {
  AMC_RETURN_IF_ERROR(CheckDdpgOptions(options.ddpg));
  AMC_RETURN_IF_ERROR(CheckProbeOptions(options.probes));
  return std::make_unique<Ddpg>(env, options,
                                Rng(options.seed, RandomStream(RandomPurpose::kInit)));
}

}  // namespace amc
