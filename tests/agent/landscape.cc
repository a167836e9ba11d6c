#include "tests/agent/landscape.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "agent/exchange.h"
#include "agent/fit.h"
#include "agent/planner.h"
#include "agent/search.h"
#include "base/rng.h"

namespace amc {
namespace {

constexpr double kTypicalKl = 0.15;  // of a good policy
constexpr double kBaseline = 0.9;    // top-1 of the whole network
constexpr double kTop1PerKl = 0.25;
constexpr double kProbeWork = 0.6;

[[noreturn]] void Fail(const absl::Status& status) {
  std::fprintf(stderr, "landscape: %s\n", status.ToString().c_str());
  std::abort();
}

// A standard normal number that hangs on what is hashed alone.
double Hashed(uint64_t seed, uint64_t purpose, absl::Span<const int64_t> kept, int64_t images) {
  uint64_t hash = 0xcbf29ce484222325 ^ purpose;
  const auto mix = [&](uint64_t value) { hash = (hash ^ value) * 0x100000001b3; };
  for (const int64_t count : kept) mix(static_cast<uint64_t>(count));
  mix(static_cast<uint64_t>(images));
  return Rng(seed, hash).Normal();
}

}  // namespace

Landscape::Landscape(const Environment& env, const LandscapeOptions& options) : options_(options) {
  Rng rng(options.seed, 77);
  const PolicySpace space(env);
  for (const int64_t channels : env.lattice().Maximum()) {
    channels_.push_back(channels);
    sensitivity_.push_back(std::exp(options.spread * rng.Normal()));
    exponent_.push_back(rng.Uniform(1.0, 1.6));
    context_.push_back(std::exp(options.context * rng.Normal()));
    interaction_.push_back(options.interaction * rng.Normal());
  }
  // A plan with the sensitivities in context, improved as if interactions were not there; then by
  // trying, so that they count.
  GroupTables loss(space.num_groups());
  for (size_t g = 0; g < space.num_groups(); ++g) {
    for (const int64_t kept : env.lattice().choices(g)) {
      loss[g].push_back(context_[g] * Solo(g, kept));
    }
  }
  Choice best = PlanPolicy(space, loss);
  scale_ = kTypicalKl / std::max(1e-12, TrueKl(space.Kept(best)));
  best_ = TrueKl(space.Kept(best));
  for (int round = 0; round < 20000; ++round) {
    PolicyCursor cursor(space, best);
    const absl::Span<const int32_t> open = space.open();
    const int32_t g = open[rng.Below(open.size())], h = open[rng.Below(open.size())];
    if (g == h || cursor.at(g) == 0) continue;
    cursor.Set(
        g, cursor.at(g) - 1 -
               static_cast<int32_t>(rng.Below(static_cast<uint64_t>(std::min(4, cursor.at(g))))));
    cursor.Set(h, cursor.LargestThatFits(h));
    cursor.TopUp();
    if (const double kl = TrueKl(space.Kept(cursor.choice())); kl < best_) {
      best_ = kl;
      best = cursor.choice();
    }
  }
}

double Landscape::Solo(size_t group, int64_t kept) const {
  const double u = static_cast<double>(channels_[group]) / static_cast<double>(kept) - 1;
  return sensitivity_[group] * std::pow(u, exponent_[group]);
}

double Landscape::TrueKl(absl::Span<const int64_t> kept) const {
  std::vector<double> solo;
  int cut = 0;
  for (size_t g = 0; g < kept.size(); ++g) {
    solo.push_back(Solo(g, kept[g]));
    cut += kept[g] < channels_[g] ? 1 : 0;
  }
  double sum = 0;
  for (size_t g = 0; g < kept.size(); ++g) {
    // Alone, a group is as its probe says; the context grows with what else is cut.
    const double others = static_cast<double>(cut) / static_cast<double>(kept.size());
    sum += std::pow(context_[g], others) * solo[g];
    if (g > 0) sum += interaction_[g] * std::min(solo[g], solo[g - 1]);
  }
  const double quirk = options_.quirk * Hashed(options_.seed, 1, kept, 0);
  return scale_ * std::pow(std::max(sum, 0.0), options_.power) * std::exp(quirk);
}

Measurement Landscape::Measure(const Environment& env, const Policy& policy, int64_t images,
                               bool probe) const {
  const auto kept = KeptCounts(policy, env.grouping());
  if (!kept.ok()) Fail(kept.status());
  if (images == 0) images = options_.images;
  const double deviation = options_.noise / std::sqrt(static_cast<double>(images));
  Measurement measurement;
  measurement.images = images;
  measurement.cost = env.cost_model().Evaluate(*kept);
  measurement.work = static_cast<int64_t>((probe ? kProbeWork : 1) * static_cast<double>(images) *
                                          static_cast<double>(measurement.cost.macs));
  measurement.kl = TrueKl(*kept) * std::exp(deviation * (Hashed(options_.seed, 2, *kept, images) +
                                                         2 * Hashed(options_.seed, 3, {}, images)));
  // Images whose answer changed, some of them to the right one.
  const double drop = kTop1PerKl * TrueKl(*kept);
  const double noise = std::sqrt(std::max(drop, 1e-4) / static_cast<double>(images));
  measurement.top1 =
      std::clamp(kBaseline - drop + noise * Hashed(options_.seed, 4, *kept, images), 0.0, 1.0);
  return measurement;
}

LandscapeRun SearchLandscape(const Landscape& landscape, const Environment& env,
                             const std::string& agent, const AgentOptions& options,
                             int64_t evaluations, int64_t parallel, bool top1) {
  SearchOptions search_options;
  search_options.agent = agent;
  search_options.agent_options = options;
  search_options.episodes = evaluations;
  search_options.parallel_episodes = parallel;
  search_options.reward.metric = top1 ? QualityMetric::kTop1 : QualityMetric::kNegativeKl;
  auto search = Search::Create(env.Clone(), search_options);
  if (!search.ok()) Fail(search.status());
  LandscapeRun run;
  while (!(*search)->done()) {
    const auto generation = (*search)->Draw();
    if (!generation.ok()) Fail(generation.status());
    if (generation->empty()) break;
    std::vector<Measurement> measurements;
    for (const Episode& episode : *generation) {
      ++(episode.kind == EpisodeKind::kCandidate   ? run.candidates
         : episode.kind == EpisodeKind::kScreening ? run.screenings
                                                   : run.probes);
      measurements.push_back(landscape.Measure(env, episode.policy, episode.images,
                                               episode.kind == EpisodeKind::kProbe));
    }
    const auto evaluated = (*search)->Commit(*generation, measurements);
    if (!evaluated.ok()) Fail(evaluated.status());
    run.episodes += static_cast<int64_t>(generation->size());
  }
  run.spent = (*search)->spent();
  if (!(*search)->best().has_value()) {
    run.regret = std::numeric_limits<double>::infinity();
    return run;
  }
  const Policy& best = (*search)->best()->episode.policy;
  const auto kept = KeptCounts(best, env.grouping());
  run.regret = std::log(landscape.TrueKl(*kept) / landscape.BestKl());
  run.share = static_cast<double>(BudgetedCost(env, (*search)->best()->episode.policy)) /
              static_cast<double>(env.budget());
  return run;
}

}  // namespace amc
