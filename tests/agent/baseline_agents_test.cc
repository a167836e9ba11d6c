// `uniform` and `random`: what makes them fair opponents.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "agent/agent_registry.h"
#include "env/amc_env.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

std::unique_ptr<Environment> MakeEnv(const std::string& network, EnvOptions options) {
  const auto graph = BuildNetwork(network, {.weightless = true});
  EXPECT_TRUE(graph.ok()) << graph.status();
  auto env = AmcEnv::Create(*graph, options);
  EXPECT_TRUE(env.ok()) << env.status();
  return *std::move(env);
}

std::unique_ptr<Agent> Make(const std::string& name, const Environment& env) {
  auto agent = MakeAgent(name, env, {});
  EXPECT_TRUE(agent.ok()) << agent.status();
  return *std::move(agent);
}

std::vector<int64_t> Kept(const Environment& env, const Episode& episode) {
  auto kept = KeptCounts(episode.policy, env.grouping());
  EXPECT_TRUE(kept.ok()) << kept.status();
  return *kept;
}

// Whether some group among `open` could keep its next larger count.
bool AnyStepFits(const Environment& env, std::vector<int64_t> kept, bool inner_only) {
  for (size_t g = 0; g < kept.size(); ++g) {
    if (inner_only && env.grouping().groups[g].producers.size() != 1) continue;
    const auto choices = env.lattice().choices(g);
    const auto next = std::upper_bound(choices.begin(), choices.end(), kept[g]);
    if (next == choices.end()) continue;
    const int64_t before = std::exchange(kept[g], *next);
    if (env.cost().Evaluate(kept) <= env.budget()) return true;
    kept[g] = before;
  }
  return false;
}

TEST(UniformAgentTest, InnerGroupsLeaveTheResidualPathWhole) {
  auto env = MakeEnv("resnet56", {.budget = {{.ratio = 0.5}}});
  auto agent = Make("uniform", *env);
  ASSERT_EQ(agent->available(), 2);
  const auto inner = agent->Propose(*env, 0, 1), all = agent->Propose(*env, 1, 1);
  ASSERT_TRUE(inner.ok() && all.ok());
  EXPECT_EQ(inner->note, "inner groups");
  EXPECT_EQ(all->note, "all groups");
  const std::vector<int64_t> kept = Kept(*env, *inner);
  int whole = 0;
  for (size_t g = 0; g < kept.size(); ++g) {
    const PruneGroup& group = env->grouping().groups[g];
    if (group.producers.size() == 1) {
      EXPECT_LT(kept[g], group.channels);
    } else {
      EXPECT_EQ(kept[g], group.channels);
      ++whole;
    }
  }
  EXPECT_EQ(whole, 3);  // 16, 16 and 32 channels
  for (const auto& [episode, inner_only] : {std::pair(&*inner, true), {&*all, false}}) {
    EXPECT_FALSE(AnyStepFits(*env, Kept(*env, *episode), inner_only));
    const double ratio = static_cast<double>(episode->cost.macs) / 125485696;
    EXPECT_LE(ratio, 0.5);
    EXPECT_GE(ratio, 0.498);
  }
}

TEST(UniformAgentTest, RatiosDifferByOneLatticeStepAtMost) {
  auto env = MakeEnv("vgg16", {.budget = {{.ratio = 0.5}}});
  auto agent = Make("uniform", *env);
  ASSERT_EQ(agent->available(), 1);  // no residual path: both candidates are the same
  const auto episode = agent->Propose(*env, 0, 1);
  ASSERT_TRUE(episode.ok());
  const auto [least, most] =
      std::minmax_element(episode->executed.begin(), episode->executed.end());
  EXPECT_LE(*most - *least, 1.0 / 64 + 1e-9);  // its narrowest groups have 64 channels
}

TEST(UniformAgentTest, ACandidateThatCannotReachTheBudgetIsLeftOut) {
  // With the residual path whole ResNet-56 keeps at least about 0.22 of its MACs.
  auto env = MakeEnv("resnet56", {.budget = {{.ratio = 0.15}}});
  auto agent = Make("uniform", *env);
  ASSERT_EQ(agent->available(), 1);
  const auto episode = agent->Propose(*env, 0, 1);
  ASSERT_TRUE(episode.ok());
  EXPECT_EQ(episode->note, "all groups");
}

// ResNet-56 has three resolutions: 5^3 shares, less the 4^3 without one of 1.
TEST(StagesAgentTest, WalksTheGridFromUniformOutwards) {
  auto env = MakeEnv("resnet56", {.budget = {{.ratio = 0.5}}, .keep_residual = true});
  auto agent = Make("stages", *env), uniform = Make("uniform", *env);
  EXPECT_EQ(agent->available(), 61);
  EXPECT_EQ(agent->Propose(*env, 0, 1)->policy, uniform->Propose(*env, 0, 1)->policy);
  for (int64_t number = 0; number < 61; ++number) {
    const auto episode = agent->Propose(*env, number, 1);
    ASSERT_TRUE(episode.ok());
    EXPECT_FALSE(AnyStepFits(*env, Kept(*env, *episode), false));
    // Nine blocks of a stage have one inner group each, of nearly one ratio: what is left at the
    // end may not fit all.
    for (size_t stage = 0; stage < 3; ++stage) {
      const auto first = episode->executed.begin() + static_cast<int64_t>(9 * stage);
      const auto [least, most] = std::minmax_element(first, first + 9);
      EXPECT_LE(*most - *least, 2.0 / (16 << stage) + 1e-9) << number;
    }
  }
}

TEST(StagesAgentTest, ManyResolutionsShareRatios) {
  auto env =
      MakeEnv("vgg16", {.budget = {{.ratio = 0.5}}});  // five resolutions and the linear layers
  EXPECT_LE(Make("stages", *env)->available(), 5 * 5 * 5 * 5 - 4 * 4 * 4 * 4);
}

TEST(RandomAgentTest, CandidatesAreSpreadAndNoStepIsLeft) {
  auto env = MakeEnv("resnet56", {.budget = {{.ratio = 0.5}}});
  auto agent = Make("random", *env);
  std::vector<double> mean(env->num_steps(), 0);
  for (int64_t number = 0; number < 200; ++number) {
    const auto episode = agent->Propose(*env, number, 1);
    ASSERT_TRUE(episode.ok());
    EXPECT_FALSE(AnyStepFits(*env, Kept(*env, *episode), false));
    const auto [least, most] =
        std::minmax_element(episode->executed.begin(), episode->executed.end());
    EXPECT_GT(*most - *least, 0.4);
    for (size_t i = 0; i < mean.size(); ++i) mean[i] += episode->executed[i] / 200;
  }
  // Scaling treats early and late groups alike.
  const auto [least, most] = std::minmax_element(mean.begin(), mean.end());
  EXPECT_LT(*most - *least, 0.12);
}

}  // namespace
}  // namespace amc
