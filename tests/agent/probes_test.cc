// Which probes are planned, what they cost, and the curves that are fitted to them.
#include "agent/probes.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "env/amc_env.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::ElementsAre;

std::unique_ptr<Environment> MakeEnv(const std::string& network, EnvOptions options) {
  const auto graph = BuildNetwork(network, {.weightless = true});
  EXPECT_TRUE(graph.ok()) << graph.status();
  auto env = AmcEnv::Create(*graph, options);
  EXPECT_TRUE(env.ok()) << env.status();
  return *std::move(env);
}

std::vector<int64_t> CountsOf(const ProbePlan& plan, int32_t group) {
  std::vector<int64_t> counts;
  for (const ProbePoint& point : plan.points) {
    if (point.group == group) counts.push_back(point.kept);
  }
  return counts;
}

TEST(ProbePlanTest, BeginsWithTheWholeNetworkAndGoesGroupByGroup) {
  const auto env = MakeEnv("resnet56", {.budget = {{.ratio = 0.5}}, .keep_residual = true});
  const ProbePlan plan = PlanProbes(*env, {.evaluations = 200, .reward_images = 5000});
  EXPECT_EQ(plan.images, 500);
  ASSERT_EQ(plan.points.size(), 1 + 4 * env->num_steps());
  EXPECT_EQ(plan.points[0].group, ProbePoint::kWholeNetwork);
  EXPECT_TRUE(
      std::is_sorted(plan.points.begin(), plan.points.end(),
                     [](const ProbePoint& a, const ProbePoint& b) { return a.group < b.group; }));
  for (size_t g = 0; g < env->lattice().num_groups(); ++g) {
    const std::vector<int64_t> counts = CountsOf(plan, static_cast<int32_t>(g));
    if (env->lattice().choices(g).size() < 2) {
      EXPECT_TRUE(counts.empty());
      continue;
    }
    EXPECT_EQ(counts.front(), env->lattice().choices(g).front());
    EXPECT_LT(counts.back(), env->lattice().choices(g).back());
    for (const int64_t kept : counts) EXPECT_TRUE(env->lattice().Contains(g, kept));
  }
}

TEST(ProbePlanTest, LowersImagesFirstAndThenRatiosToAFifthOfTheSearch) {
  const auto env = MakeEnv("resnet56", {.budget = {{.ratio = 0.5}}, .keep_residual = true});
  const auto plan = [&](double evaluations, int64_t reward_images) {
    return PlanProbes(*env, {.evaluations = evaluations, .reward_images = reward_images});
  };
  const ProbePlan rich = plan(200, 5000), poor = plan(40, 5000), poorer = plan(20, 2000);
  EXPECT_LE(rich.expected_cost, 40);
  EXPECT_LE(poor.expected_cost, 8);
  EXPECT_GE(poor.expected_cost, 7.5);
  EXPECT_LT(poor.images, 500);
  EXPECT_EQ(poor.points.size(), rich.points.size());
  EXPECT_EQ(poorer.images, 100);
  EXPECT_LT(poorer.points.size(), rich.points.size());
  // What every probe forwards besides its images is paid for too.
  const ProbePlan heavy =
      PlanProbes(*env, {.evaluations = 40, .reward_images = 5000, .overhead_images = 200});
  EXPECT_LT(heavy.images, poor.images);
  EXPECT_LE(heavy.expected_cost, 8);
  // Where every episode costs one evaluation images say nothing, ratios do.
  const ProbePlan unknown = plan(200, 0);
  EXPECT_EQ(unknown.images, 500);
  EXPECT_EQ(unknown.points.size(), 1 + 2 * env->num_steps());
  EXPECT_EQ(unknown.highest_cost, static_cast<double>(unknown.points.size()));
}

TEST(ProbePlanTest, TakesWhatALatticeHas) {
  const auto env = MakeEnv("resnet20", {.budget = {{.ratio = 0.5}}, .channel_multiple = 8});
  const ProbePlan plan = PlanProbes(*env, {.evaluations = 1000, .reward_images = 5000});
  for (size_t g = 0; g < env->lattice().num_groups(); ++g) {
    if (env->lattice().choices(g).back() == 16) {
      EXPECT_THAT(CountsOf(plan, static_cast<int32_t>(g)), ElementsAre(8));
    }
  }
}

TEST(ProbePlanTest, RefusesSettingsOutOfRange) {
  EXPECT_FALSE(CheckProbeOptions({.images = -1}).ok());
  EXPECT_FALSE(CheckProbeOptions({.ratios = 0}).ok());
  EXPECT_TRUE(CheckProbeOptions({}).ok());
}

class ProbePhaseTest : public testing::Test {
 protected:
  std::unique_ptr<Environment> env_ = MakeEnv("resnet20", {.budget = {{.ratio = 0.5}}});
  AgentOptions options_{.evaluations = 200, .reward_images = 5000};

  // 0.9 for the whole network, less for what is cut.
  double Reward(const Episode& episode) const {
    const auto kept = KeptCounts(episode.policy, env_->grouping());
    EXPECT_TRUE(kept.ok());
    double reward = 0.9;
    for (size_t g = 0; g < kept->size(); ++g) {
      const auto whole = static_cast<double>(env_->lattice().choices(g).back());
      const double u = whole / static_cast<double>((*kept)[g]) - 1;
      reward -= 0.01 * static_cast<double>(g + 1) * std::pow(u, 1.5);
    }
    return reward;
  }
};

TEST_F(ProbePhaseTest, FindsTheCurvesThatAreThere) {
  ProbePhase probes(*env_, options_);
  while (!probes.complete()) {
    const Episode episode = probes.Propose(*env_, probes.measured());
    EXPECT_EQ(episode.kind, EpisodeKind::kProbe);
    EXPECT_EQ(episode.number, probes.measured());
    probes.Learn(Reward(episode));
  }
  EXPECT_DOUBLE_EQ(probes.Reference(), 0.9);
  const LossCurves curves = probes.Curves(env_->lattice());
  for (size_t g = 0; g < curves.num_groups(); ++g) {
    const absl::Span<const int64_t> choices = env_->lattice().choices(g);
    if (choices.size() < 2) continue;
    for (const int64_t kept : choices) {
      const double u = static_cast<double>(choices.back()) / static_cast<double>(kept) - 1;
      const double expected = 0.01 * static_cast<double>(g + 1) * std::pow(u, 1.5);
      EXPECT_NEAR(curves.Loss(g, kept), expected, 0.1 * expected + 0.002 * u) << g << " " << kept;
    }
    EXPECT_EQ(curves.Loss(g, choices.back()), 0);
  }
}

TEST_F(ProbePhaseTest, DoesNotMeasureWhatEarlierSearchesDid) {
  ProbePhase earlier(*env_, options_), probes(*env_, options_);
  while (!earlier.complete()) {
    const Episode episode = earlier.Propose(*env_, earlier.measured());
    if (earlier.measured() != 3) probes.Remember(*env_, episode, Reward(episode));
    earlier.Learn(Reward(episode));
  }
  ASSERT_EQ(probes.size(), 1);
  EXPECT_TRUE(probes.informed());
  EXPECT_FALSE(ProbePhase(*env_, options_).informed());
  const ProbePlan& plan = earlier.plan();
  EXPECT_DOUBLE_EQ(probes.highest_cost(),
                   plan.highest_cost / static_cast<double>(plan.points.size()));
  EXPECT_EQ(probes.Reference(), 0.9);
  const Episode episode = probes.Propose(*env_, 0);
  probes.Learn(Reward(episode));
  ProbePhase restored(*env_, options_);
  ByteWriter writer;
  probes.Save(writer);
  ByteReader reader(writer.bytes());
  ASSERT_TRUE(restored.Read(reader).ok());
  ASSERT_TRUE(reader.Finish().ok());
  const Lattice& lattice = env_->lattice();
  for (size_t g = 0; g < lattice.num_groups(); ++g) {
    EXPECT_EQ(probes.Curves(lattice).losses(g), earlier.Curves(lattice).losses(g));
    EXPECT_EQ(restored.Curves(lattice).losses(g), earlier.Curves(lattice).losses(g));
  }
}

TEST_F(ProbePhaseTest, AnInfeasibleProbeIsVeryBad) {
  ProbePhase probes(*env_, options_);
  while (!probes.complete()) {
    const Episode episode = probes.Propose(*env_, probes.measured());
    if (probes.measured() == 1) {
      probes.Skip();
    } else {
      probes.Learn(Reward(episode));
    }
  }
  const int32_t group = probes.plan().points[1].group;
  const LossCurves curves = probes.Curves(env_->lattice());
  double most = 0;
  for (size_t g = 0; g < curves.num_groups(); ++g) {
    if (static_cast<int32_t>(g) != group) most = std::max(most, curves.losses(g).front());
  }
  EXPECT_GT(curves.losses(group).front(), 5 * most);
}

TEST(LossCurvesTest, AreMonotoneAndPositiveUnderNoise) {
  const auto env = MakeEnv("vgg-small", {.budget = {{.ratio = 0.5}}});
  std::vector<LossPoint> points;
  for (size_t g = 0; g < env->lattice().num_groups(); ++g) {
    const absl::Span<const int64_t> choices = env->lattice().choices(g);
    double sign = 1;
    for (size_t i = 0; i + 1 < choices.size(); i += 5) {  // up and down, also below 0
      points.push_back(
          {.group = static_cast<int32_t>(g), .kept = choices[i], .loss = 0.01 + 0.02 * sign});
      sign = -sign;
    }
  }
  const LossCurves curves = LossCurves::Fit(env->lattice(), points);
  for (size_t g = 0; g < curves.num_groups(); ++g) {
    const absl::Span<const double> losses = curves.losses(g);
    for (size_t i = 1; i < losses.size(); ++i) EXPECT_LT(losses[i], losses[i - 1]) << g;
    EXPECT_EQ(losses.back(), 0);
  }
}

// Worked by hand: 3, 1, 2, 6 pool to 2, 2, 2, 6.
TEST(LossCurvesTest, PoolsAdjacentViolators) {
  const auto env = MakeEnv("resnet20", {.budget = {{.ratio = 0.5}}});
  int32_t group = 0;
  while (env->lattice().choices(group).back() != 64) ++group;
  std::vector<LossPoint> points;
  for (const auto& [kept, loss] : {std::pair(50, 3.0), {40, 1.0}, {30, 2.0}, {20, 6.0}}) {
    points.push_back({.group = group, .kept = kept, .loss = loss});
  }
  const LossCurves curves = LossCurves::Fit(env->lattice(), points);
  for (const int64_t kept : {50, 40, 30}) EXPECT_NEAR(curves.Loss(group, kept), 2, 0.15) << kept;
  EXPECT_NEAR(curves.Loss(group, 20), 6, 0.2);
}

}  // namespace
}  // namespace amc
