#include "agent/netadapt.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "agent/agent_state.h"
#include "agent/fit.h"
#include "agent/netadapt_steps.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr int64_t kNotOpen = -1;
constexpr double kLeastScale = 0.01;  // of a price that was measured to one that was expected

class NetAdapt final : public Agent {
 public:
  NetAdapt(const Environment& env, const AgentOptions& options)
      : progress_("netadapt", options.seed, env),
        options_(options),
        env_(env.Clone()),
        has_budget_(env.budget() < std::numeric_limits<int64_t>::max()) {
    const std::vector<int64_t> whole = env.lattice().Maximum();
    whole_macs_ = env.cost_model().Evaluate(whole).macs;
    whole_cost_ = CostOf(whole);
    goal_ = std::min(whole_cost_, has_budget_ ? env.budget() : CostOf(env.lattice().Minimum()));
    const int64_t screening = options.evolution.screening_images;
    if (has_budget_ && screening < options.reward_images) screening_images_ = screening;
    state_.network = whole;
  }

  absl::StatusOr<Episode> Propose(Environment& env, int64_t number, double left) override {
    AMC_RETURN_IF_ERROR(progress_.CheckShape(env));
    if (landing_.has_value() && number > *landing_) {
      return absl::NotFoundError(absl::StrCat("agent netadapt: episode ", number,
                                              ": the search lands with episode ", *landing_));
    }
    const int64_t ahead = number - progress_.done();
    if (ahead < 0 || ahead >= available()) {
      return absl::OutOfRangeError(absl::StrCat("agent netadapt: episode ", number,
                                                " is not among the ", available(), " from ",
                                                progress_.done(), " on"));
    }
    if (arrived()) return Whole(state_.network, number, "the last winner on all images");
    if (state_.stranded) return Land(number);
    if (state_.opening == kNotOpen) return Open(number, left);
    const Proposal& proposal = proposals_[number - state_.opening];
    Episode episode = Draw(proposal, number, state_.images);
    if (CanLandAfter(episode, left)) return episode;
    landing_ = number;
    return Land(number);
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
    if (state_.finished) return 0;
    if (arrived() || state_.stranded || state_.opening == kNotOpen) return 1;
    if (landing_.has_value()) return *landing_ - progress_.done() + 1;
    return static_cast<int64_t>(proposals_.size()) - (progress_.done() - state_.opening);
  }

  std::vector<int64_t> series() const override { return state_.series; }

  // After the common header, the state in the order of its members: counts as u64 and i64s, bools
  // as u8; the best with a u8 in front that says whether there is one.
  std::string SaveState() const override {
    ByteWriter writer;
    progress_.Save(writer);
    SaveCounts(state_.network, writer);
    writer.I64(state_.iteration);
    writer.I64(state_.opening);
    writer.I64(state_.target);
    writer.I64(state_.images);
    writer.U8(state_.best.has_value());
    if (state_.best.has_value()) {
      SaveCounts(state_.best->kept, writer);
      writer.I64(state_.best->number);
      writer.Double(state_.best->reward);
      writer.U8(state_.best->candidate);
    }
    SaveCounts(state_.series, writer);
    writer.U8(state_.stranded);
    writer.U8(state_.finished);
    writer.I64(state_.candidates);
    writer.Double(state_.expected);
    return std::move(writer).bytes();
  }

  absl::Status RestoreState(absl::string_view bytes) override {
    ByteReader reader(bytes);
    AMC_ASSIGN_OR_RETURN(const int64_t done, progress_.Read(reader));
    State state;
    state.network = ReadCounts(reader);
    state.iteration = reader.I64();
    state.opening = reader.I64();
    state.target = reader.I64();
    state.images = reader.I64();
    if (reader.U8() != 0) {
      Winner best;
      best.kept = ReadCounts(reader);
      best.number = reader.I64();
      best.reward = reader.Double();
      best.candidate = reader.U8() != 0;
      state.best = std::move(best);
    }
    state.series = ReadCounts(reader);
    state.stranded = reader.U8() != 0;
    state.finished = reader.U8() != 0;
    state.candidates = reader.I64();
    state.expected = reader.Double();
    AMC_RETURN_IF_ERROR(reader.Finish());
    AMC_RETURN_IF_ERROR(CheckNetwork(state.network));
    if (state.best.has_value()) AMC_RETURN_IF_ERROR(CheckNetwork(state.best->kept));
    std::vector<Proposal> proposals;
    if (state.opening != kNotOpen) {
      proposals = ProposeCuts(*env_, state.network, state.target, goal_);
      const int64_t end = state.opening + static_cast<int64_t>(proposals.size());
      if (state.opening < 0 || done <= state.opening || done >= end) {
        return absl::InvalidArgumentError(absl::StrCat("agent state: ", done,
                                                       " episodes done in an iteration from ",
                                                       state.opening, " to ", end));
      }
    }
    progress_.set_done(done);
    landing_.reset();
    state_ = std::move(state);
    proposals_ = std::move(proposals);
    return absl::OkStatus();
  }

 private:
  struct Winner {
    std::vector<int64_t> kept;
    int64_t number = 0;
    double reward = 0;
    bool candidate = false;  // measured as one
  };
  struct State {
    std::vector<int64_t> network;  // that this iteration starts from
    int64_t iteration = 0;         // from 0
    int64_t opening = kNotOpen;    // number of its first proposal, once that was learnt
    int64_t target = 0, images = 0;
    std::optional<Winner> best;  // among its proposals up to now
    std::vector<int64_t> series;
    bool stranded = false;  // no proposal of an iteration had an outcome
    bool finished = false;
    int64_t candidates = 0;  // learnt or skipped; they cost 1 each
    double expected = 0;     // price of the other episodes
  };

  static void SaveCounts(absl::Span<const int64_t> counts, ByteWriter& writer) {
    writer.U64(counts.size());
    for (const int64_t count : counts) writer.I64(count);
  }

  static std::vector<int64_t> ReadCounts(ByteReader& reader) {
    std::vector<int64_t> counts(reader.Count(8));
    for (int64_t& count : counts) count = reader.I64();
    return counts;
  }

  absl::Status CheckNetwork(absl::Span<const int64_t> kept) const {
    bool good = kept.size() == progress_.groups();
    for (size_t g = 0; good && g < kept.size(); ++g) good = env_->lattice().Contains(g, kept[g]);
    if (good) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("agent state: a network of ", kept.size(),
                                                   " counts is not on the lattice of ",
                                                   progress_.groups(), " groups"));
  }

  int64_t CostOf(absl::Span<const int64_t> kept) const { return env_->cost().Evaluate(kept); }

  // Whether the network is on the budget, if perhaps not measured as a candidate yet.
  bool arrived() const { return CostOf(state_.network) <= goal_; }

  // What an episode is expected to cost in full evaluations, before anything was measured: its
  // share of the images, times its MACs relative to those of a network on the budget.
  double Expected(int64_t macs, int64_t images) const {
    if (options_.reward_images == 0) return 1;
    const double budget = static_cast<double>(whole_macs_) * static_cast<double>(goal_) /
                          static_cast<double>(whole_cost_);
    return Share(images) * static_cast<double>(macs) / std::max(1.0, budget);
  }

  double Share(int64_t images) const {
    if (images == 0) return 1;
    return static_cast<double>(images + options_.overhead_images) /
           static_cast<double>(options_.reward_images + options_.overhead_images);
  }

  // What was paid for what was expected to cost 1.
  double Scale(double left) const {
    const double paid = options_.evaluations - left - static_cast<double>(state_.candidates);
    if (state_.expected <= 0 || paid <= 0) return 1;
    return std::max(kLeastScale, paid / state_.expected);
  }

  // Whether the search can still pay for a candidate after this episode. Any candidate will do.
  bool CanLandAfter(const Episode& episode, double left) const {
    if (episode.kind == EpisodeKind::kCandidate) return true;
    const double price = Scale(left) * Expected(episode.cost.macs, episode.images);
    return left - price >= 1;
  }

  Episode Whole(absl::Span<const int64_t> kept, int64_t number, std::string note) const {
    Episode episode = EpisodeOf(*env_, kept, number);
    episode.note = std::move(note);
    return episode;
  }

  Episode Draw(const Proposal& proposal, int64_t number, int64_t images) const {
    Episode episode = EpisodeOf(*env_, proposal.kept, number);
    episode.images = images;
    if (images > 0 || proposal.cost > env_->budget()) episode.kind = EpisodeKind::kScreening;
    const std::string& name = env_->grouping().groups[proposal.group].name;
    episode.note = absl::StrCat("iteration ", state_.iteration + 1, ": ", name, " keeps ",
                                proposal.kept[proposal.group]);
    return episode;
  }

  Episode Land(int64_t number) const {
    const std::vector<int64_t>& from = state_.best ? state_.best->kept : state_.network;
    return Whole(CostOf(from) <= goal_ ? from : ScaleAll(*env_, from, goal_).kept, number,
                 "landing on the budget");
  }

  // The first proposal of an iteration, which says how far it goes.
  Episode Open(int64_t number, double left) const {
    const int64_t macs = env_->cost_model().Evaluate(state_.network).macs;
    const int64_t cost = CostOf(state_.network);
    const auto way = static_cast<double>(whole_cost_ - goal_);
    const double rest = static_cast<double>(cost - goal_) / way;
    // An iteration is paid at the mean of where it starts and the budget.
    const double price =
        Scale(left) * (Expected(macs, screening_images_) + Share(screening_images_)) / 2;
    const auto groups = static_cast<double>(env_->num_steps());
    auto affordable = static_cast<int64_t>(
        std::min(static_cast<double>(kMostIterations), (left - 1) / (groups * price)));
    if (affordable < 1) {
      if (has_budget_) return Land(number);
      affordable = kMostIterations;  // everything is a candidate: the search may end anywhere
    }
    const double rest_after = RestAfter(options_.netadapt, state_.iteration, rest, affordable);
    const int64_t target =
        std::min(cost - 1, goal_ + static_cast<int64_t>(std::floor(rest_after * way)));
    const std::vector<Proposal> proposals = ProposeCuts(*env_, state_.network, target, goal_);
    const bool pays_for_all = left >= static_cast<double>(proposals.size());
    const int64_t images = target == goal_ && pays_for_all ? 0 : screening_images_;
    Episode episode = Draw(proposals.front(), number, images);
    return CanLandAfter(episode, left) ? episode : Land(number);
  }

  absl::Status Take(const Episode& episode, std::optional<double> reward) {
    AMC_ASSIGN_OR_RETURN(std::vector<int64_t> kept, KeptCounts(episode.policy, env_->grouping()));
    AMC_RETURN_IF_ERROR(CheckNetwork(kept));
    landing_.reset();
    if (!state_.finished) Note(episode, std::move(kept), reward);
    progress_.Advance();
    return absl::OkStatus();
  }

  void Note(const Episode& episode, std::vector<int64_t> kept, std::optional<double> reward) {
    const bool candidate = episode.kind == EpisodeKind::kCandidate;
    if (candidate) {
      ++state_.candidates;
    } else {
      state_.expected += Expected(episode.cost.macs, episode.images);
    }
    if (arrived()) {
      // The winner's number gives way to that of its measurement on all images.
      if (!state_.series.empty()) state_.series.pop_back();
      return Finish(episode, reward);
    }
    if (state_.opening == kNotOpen && !state_.stranded) {
      proposals_ = ProposeCuts(*env_, state_.network, CostOf(kept), goal_);
      if (!proposals_.empty() && proposals_.front().kept == kept) {
        state_.opening = episode.number;
        state_.target = CostOf(kept);
        state_.images = episode.images;
      }
    }
    const bool proposed =
        state_.opening != kNotOpen && proposals_[episode.number - state_.opening].kept == kept;
    if (!proposed) return Finish(episode, reward);  // it landed
    if (reward.has_value() && (!state_.best || *reward > state_.best->reward)) {
      state_.best = Winner{std::move(kept), episode.number, *reward, candidate};
    }
    const int64_t end = state_.opening + static_cast<int64_t>(proposals_.size());
    if (episode.number + 1 == end) Close();
  }

  void Finish(const Episode& episode, std::optional<double> reward) {
    if (reward.has_value()) state_.series.push_back(episode.number);
    state_.opening = kNotOpen;
    state_.best.reset();
    state_.finished = true;
    proposals_.clear();
  }

  void Close() {
    if (state_.best.has_value()) {
      state_.network = std::move(state_.best->kept);
      state_.series.push_back(state_.best->number);
      state_.finished = state_.best->candidate && arrived();
    }
    state_.stranded = !state_.best.has_value();
    state_.opening = kNotOpen;
    state_.best.reset();
    ++state_.iteration;
    proposals_.clear();
  }

  AgentProgress progress_;
  const AgentOptions options_;
  const std::unique_ptr<Environment> env_;
  const bool has_budget_;
  int64_t whole_macs_ = 0, whole_cost_ = 0;
  int64_t goal_ = 0;              // the budget, or the cost of the smallest network
  int64_t screening_images_ = 0;  // 0: all
  State state_;
  std::vector<Proposal> proposals_;  // of the open iteration; follow from the state
  std::optional<int64_t> landing_;   // what was drawn in this generation to land with
};

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> MakeNetAdapt(const Environment& env,
                                                    const AgentOptions& options) {
  AMC_RETURN_IF_ERROR(CheckNetAdaptOptions(options.netadapt));
  return std::make_unique<NetAdapt>(env, options);
}

}  // namespace amc
