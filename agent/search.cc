#include "agent/search.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "agent/fit.h"
#include "base/bytes.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr absl::string_view kMagic = "AMCS";
// 3: none was appended; 2: no soft_kl; 1: every episode was a candidate and cost 1.
constexpr uint32_t kVersion = 4;
constexpr double kRounding = 1e-6;  // that sums of prices may be off

// MACs of a candidate at the budget; where that is not on MACs alone, of the uniform one.
double CandidateMacs(const Environment& env) {
  Fit fit(env);
  const Cost whole = env.cost_model().Evaluate(fit.kept());
  if (fit.fits()) return static_cast<double>(whole.macs);
  if (env.bounds().size() == 1 && env.bounds()[0].resource == Resource::kMacs)
    return static_cast<double>(env.budget());
  fit.ScaleToBudget(std::vector<double>(fit.kept().size(), 1.0));
  if (!fit.fits()) fit.Adopt(env.cheapest());
  return static_cast<double>(env.cost_model().Evaluate(fit.kept()).macs);
}

int64_t FullEvaluationWork(const Environment& env, int64_t images) {
  return std::max<int64_t>(1, std::llround(CandidateMacs(env) * static_cast<double>(images)));
}

void SaveCost(const Cost& cost, ByteWriter& writer) {
  writer.I64(cost.macs);
  writer.I64(cost.params);
}

Cost ReadCost(ByteReader& reader) {
  const int64_t macs = reader.I64();
  return {.macs = macs, .params = reader.I64()};
}

void SaveEpisode(const Episode& episode, ByteWriter& writer) {
  writer.I64(episode.number);
  writer.I64(episode.images);
  writer.U64(episode.observations.size());
  for (const Observation& observation : episode.observations) {
    writer.U32(static_cast<uint32_t>(observation.group));
    writer.Floats(observation.features);
  }
  writer.Doubles(episode.actions);
  writer.Doubles(episode.executed);
  writer.U64(episode.policy.decisions.size());
  for (const Decision& decision : episode.policy.decisions) {
    writer.String(decision.target);
    writer.U8(static_cast<uint8_t>(decision.granularity));
    writer.I64(decision.kept);
  }
  SaveCost(episode.cost, writer);
  writer.String(episode.note);
}

Episode ReadEpisode(ByteReader& reader, uint32_t version) {
  Episode episode;
  episode.number = reader.I64();
  if (version >= 2) episode.images = reader.I64();
  episode.observations.resize(reader.Count(12));
  for (Observation& observation : episode.observations) {
    observation.group = static_cast<int32_t>(reader.U32());
    observation.features = reader.Floats();
  }
  episode.actions = reader.Doubles();
  episode.executed = reader.Doubles();
  episode.policy.decisions.resize(reader.Count(17));
  for (Decision& decision : episode.policy.decisions) {
    decision.target = reader.String();
    decision.granularity = static_cast<Granularity>(reader.U8());
    decision.kept = reader.I64();
  }
  episode.cost = ReadCost(reader);
  episode.note = reader.String();
  return episode;
}

void SaveMeasurement(const Measurement& measurement, ByteWriter& writer) {
  for (const double value : {measurement.top1, measurement.top5, measurement.loss, measurement.kl,
                             measurement.soft_kl, measurement.seconds}) {
    writer.Double(value);
  }
  writer.I64(measurement.images);
  writer.I64(measurement.work);
  SaveCost(measurement.cost, writer);
}

Measurement ReadMeasurement(ByteReader& reader, uint32_t version) {
  Measurement measurement;
  for (double* value : {&measurement.top1, &measurement.top5, &measurement.loss, &measurement.kl}) {
    *value = reader.Double();
  }
  if (version >= 3) measurement.soft_kl = reader.Double();
  measurement.seconds = reader.Double();
  measurement.images = reader.I64();
  if (version >= 2) measurement.work = reader.I64();
  measurement.cost = ReadCost(reader);
  return measurement;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Search>> Search::Create(std::unique_ptr<Environment> env,
                                                       const SearchOptions& options) {
  if (options.episodes < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("episodes: ", options.episodes, " is not at least 1"));
  }
  if (options.parallel_episodes < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("parallel_episodes: ", options.parallel_episodes, " is not at least 1"));
  }
  if (options.agent_options.overhead_images < 0 || options.agent_options.reward_images < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("reward_images, overhead_images: ", options.agent_options.reward_images, ", ",
                     options.agent_options.overhead_images, " are not at least 0"));
  }
  SearchOptions complete = options;
  complete.agent_options.evaluations = static_cast<double>(options.episodes);
  const std::optional<Resource> weighed = WeighedResource(options.reward.kind);
  const CostFunction* cost = weighed ? env->resource_cost(*weighed) : nullptr;
  if (weighed && cost == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "reward: the environment does not know what a policy costs of ", ResourceName(*weighed),
        *weighed == Resource::kLatency ? ": it has no table that predicts it" : ""));
  }
  AMC_ASSIGN_OR_RETURN(auto agent, MakeAgent(options.agent, *env, complete.agent_options));
  return std::unique_ptr<Search>(new Search(std::move(env), complete, std::move(agent), cost));
}

Search::Search(std::unique_ptr<Environment> env, SearchOptions options,
               std::unique_ptr<Agent> agent, const CostFunction* weighed)
    : env_(std::move(env)),
      options_(std::move(options)),
      agent_(std::move(agent)),
      weighed_(weighed),
      evaluation_work_(FullEvaluationWork(
          *env_, options_.agent_options.reward_images + options_.agent_options.overhead_images)) {}

double Search::Reward(const Policy& policy, const Measurement& measurement) const {
  const int64_t amount = weighed_ == nullptr ? 0 : CostOf(*env_, *weighed_, policy);
  return RewardOf(options_.reward, measurement, amount);
}

// Whatever its MACs, a policy within budget costs its share of the images.
double Search::Price(const Episode& episode) const {
  const int64_t all = options_.agent_options.reward_images;
  if (episode.kind == EpisodeKind::kCandidate || all == 0) return 1;
  const int64_t more = options_.agent_options.overhead_images;
  const int64_t images = episode.images > 0 ? std::min(episode.images, all) : all;
  if (BudgetedCost(*env_, episode.policy) <= env_->budget()) {
    return static_cast<double>(images + more) / static_cast<double>(all + more);
  }
  return static_cast<double>(images + more) * static_cast<double>(episode.cost.macs) /
         static_cast<double>(evaluation_work_);
}

double Search::Price(const Episode& episode, const Measurement& measurement) const {
  const double most = Price(episode);
  if (episode.kind == EpisodeKind::kCandidate || measurement.work <= 0) return most;
  return std::min(most,
                  static_cast<double>(measurement.work) / static_cast<double>(evaluation_work_));
}

int64_t Search::ToAgent(int64_t number) const {
  return number -
         (std::lower_bound(appended_.begin(), appended_.end(), number) - appended_.begin());
}

int64_t Search::FromAgent(int64_t number) const {
  for (const int64_t appended : appended_) {
    if (appended <= number) ++number;
  }
  return number;
}

std::vector<int64_t> Search::series() const {
  std::vector<int64_t> series = agent_->series();
  for (int64_t& number : series) number = FromAgent(number);
  return series;
}

bool Search::done() const {
  return broke_ || agent_->available() == 0 || spent_ >= static_cast<double>(options_.episodes);
}

absl::StatusOr<std::vector<Episode>> Search::Draw() {
  const int64_t most = std::min(options_.parallel_episodes, agent_->available());
  double left = static_cast<double>(options_.episodes) - spent_;
  std::vector<Episode> generation;
  for (int64_t i = 0; i < most && left > 0; ++i) {
    absl::StatusOr<Episode> proposed = agent_->Propose(*env_, ToAgent(next_) + i, left);
    if (absl::IsNotFound(proposed.status())) break;  // it has nothing new to say
    AMC_ASSIGN_OR_RETURN(Episode episode, std::move(proposed));
    episode.number = next_ + i;
    const double price = Price(episode);
    if (price > left + kRounding) break;
    left -= price;
    generation.push_back(std::move(episode));
  }
  broke_ = generation.empty();
  Expect(generation, /*appending=*/false);
  return generation;
}

absl::StatusOr<std::vector<Episode>> Search::Append(absl::Span<const std::vector<int64_t>> kept,
                                                    const std::string& note) {
  std::vector<Episode> generation;
  for (const std::vector<int64_t>& counts : kept) {
    const int64_t number = next_ + static_cast<int64_t>(generation.size());
    const std::string what = absl::StrCat("appended episode ", number);
    if (counts.size() != env_->grouping().groups.size()) {
      return absl::InvalidArgumentError(absl::StrCat(what, " has ", counts.size(), " counts, want ",
                                                     env_->grouping().groups.size()));
    }
    Episode episode = EpisodeOf(*env_, counts, number);
    AMC_RETURN_IF_ERROR(Annotate(KeptCounts(episode.policy, env_->grouping()).status(), what));
    if (const int64_t cost = env_->cost().Evaluate(counts); cost > env_->budget()) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, " costs ", cost, " of a budget of ", env_->budget()));
    }
    episode.note = note;
    generation.push_back(std::move(episode));
  }
  Expect(generation, /*appending=*/true);
  return generation;
}

void Search::Expect(absl::Span<const Episode> generation, bool appending) {
  appending_ = appending;
  drawn_.clear();
  for (const Episode& episode : generation) drawn_.push_back(episode.policy);
}

absl::StatusOr<std::vector<EvaluatedEpisode>> Search::Commit(
    absl::Span<const Episode> generation, absl::Span<const Measurement> measurements) {
  if (generation.size() != measurements.size()) {
    return absl::InvalidArgumentError(absl::StrCat("a generation of ", generation.size(),
                                                   " episodes has ", measurements.size(),
                                                   " measurements"));
  }
  if (generation.empty() || generation.size() != drawn_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("a generation of ", generation.size(),
                                                   " episodes was committed, ", drawn_.size(),
                                                   " were drawn"));
  }
  std::vector<EvaluatedEpisode> evaluated;
  for (size_t i = 0; i < generation.size(); ++i) {
    const int64_t expected = next_ + static_cast<int64_t>(i);
    if (generation[i].number != expected || generation[i].policy != drawn_[i]) {
      return absl::InvalidArgumentError(absl::StrCat("episode ", generation[i].number,
                                                     " was committed where episode ", expected,
                                                     " was drawn, or its policy differs"));
    }
    const bool feasible = measurements[i].infeasible.empty();
    const double reward = feasible ? Reward(generation[i].policy, measurements[i]) : 0;
    if (!std::isfinite(reward)) {
      return absl::InvalidArgumentError(
          absl::StrCat("episode ", expected, " was measured to a reward of ", reward));
    }
    evaluated.push_back(
        {generation[i], measurements[i], reward, Price(generation[i], measurements[i])});
  }
  for (const EvaluatedEpisode& episode : evaluated) {
    if (!appending_) spent_ += episode.evaluations;
    const bool feasible = episode.measurement.infeasible.empty();
    if (appending_) {
      appended_.push_back(episode.episode.number);
    } else {
      Episode known = episode.episode;
      known.number = ToAgent(known.number);
      AMC_RETURN_IF_ERROR(feasible ? agent_->Learn(known, episode.reward) : agent_->Skip(known));
    }
    if (!feasible) continue;
    if (episode.episode.kind != EpisodeKind::kCandidate) continue;
    if (!best_.has_value() || episode.reward > best_->reward) best_ = episode;
  }
  next_ += static_cast<int64_t>(evaluated.size());
  drawn_.clear();
  return evaluated;
}

// "AMCS", version u32, next episode i64, evaluations spent f64, u8 whether there is a best, that
// candidate with measurement and reward, how many were appended and their numbers, the agent's
// state. The best was measured, so Measurement::infeasible is not there.
std::string Search::SaveState() const {
  ByteWriter writer;
  writer.String(kMagic);
  writer.U32(kVersion);
  writer.I64(next_);
  writer.Double(spent_);
  writer.U8(best_.has_value());
  if (best_.has_value()) {
    SaveEpisode(best_->episode, writer);
    SaveMeasurement(best_->measurement, writer);
    writer.Double(best_->reward);
  }
  writer.U64(appended_.size());
  for (const int64_t number : appended_) writer.I64(number);
  writer.String(agent_->SaveState());
  return std::move(writer).bytes();
}

absl::Status Search::RestoreState(absl::string_view bytes) {
  ByteReader reader(bytes);
  if (reader.String() != kMagic) {
    return absl::InvalidArgumentError("search state: these bytes are no search's");
  }
  const uint32_t version = reader.U32();
  if (version < 1 || version > kVersion) {
    return absl::InvalidArgumentError(
        absl::StrCat("search state: version ", version, ", expected ", kVersion));
  }
  const int64_t next = reader.I64();
  const double spent = version >= 2 ? reader.Double() : static_cast<double>(next);
  std::optional<EvaluatedEpisode> best;
  if (reader.U8() != 0) {
    best.emplace();
    best->episode = ReadEpisode(reader, version);
    best->measurement = ReadMeasurement(reader, version);
    best->reward = reader.Double();
    best->evaluations = 1;
  }
  std::vector<int64_t> appended;
  if (version >= 4) {
    appended.resize(reader.Count(8));
    for (int64_t& number : appended) number = reader.I64();
  }
  const std::string agent_state = reader.String();
  AMC_RETURN_IF_ERROR(Annotate(reader.Finish(), "search state"));
  if (next < 0 || !(spent >= 0 && std::isfinite(spent)) ||
      (best.has_value() && best->episode.number >= next) ||
      !std::is_sorted(appended.begin(), appended.end()) ||
      (!appended.empty() && (appended.front() < 0 || appended.back() >= next))) {
    return absl::InvalidArgumentError(absl::StrCat(
        "search state: ", next, " episodes cost ", spent, " evaluations, ",
        best.has_value() ? absl::StrCat("episode ", best->episode.number) : "none", " is best"));
  }
  AMC_RETURN_IF_ERROR(agent_->RestoreState(agent_state));
  next_ = next;
  spent_ = spent;
  broke_ = false;
  best_ = std::move(best);
  appended_ = std::move(appended);
  drawn_.clear();
  return absl::OkStatus();
}

}  // namespace amc
