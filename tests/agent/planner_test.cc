// Plans against brute force, on the exact costs of real networks and on random small problems.
#include "agent/planner.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "agent/agent_registry.h"
#include "agent/sensitivity_agent.h"
#include "agent/starts.h"
#include "base/rng.h"
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

Choice RandomChoice(const PolicySpace& space, Rng& rng) {
  Choice choice;
  for (size_t g = 0; g < space.num_groups(); ++g) {
    choice.push_back(static_cast<int32_t>(rng.Below(space.num_choices(g))));
  }
  return choice;
}

// Convex falling losses that differ between groups by orders of magnitude.
GroupTables RandomLosses(const PolicySpace& space, Rng& rng) {
  GroupTables loss;
  for (size_t g = 0; g < space.num_groups(); ++g) {
    const double sensitivity = std::exp(1.5 * rng.Normal()), exponent = rng.Uniform(1, 2);
    loss.emplace_back();
    for (int32_t i = 0; i < space.num_choices(g); ++i) {
      loss[g].push_back(sensitivity * std::pow(1 / space.Ratio(g, i) - 1, exponent));
    }
  }
  return loss;
}

double Sum(const GroupTables& loss, const Choice& choice) {
  double sum = 0;
  for (size_t g = 0; g < choice.size(); ++g) sum += loss[g][choice[g]];
  return sum;
}

TEST(PolicySpaceTest, CountsWhatTheCostModelCounts) {
  Rng rng(1);
  for (const std::string& network : ZooNames()) {
    for (const Resource resource : {Resource::kMacs, Resource::kParams}) {
      const auto env = MakeEnv(network, {.budget = {{.resource = resource, .ratio = 0.7}}});
      const PolicySpace space(*env);
      PolicyCursor cursor(space, space.Whole());
      for (int i = 0; i < 30; ++i) {
        const Choice choice = i == 0 ? space.Whole() : RandomChoice(space, rng);
        const int64_t expected = env->cost().Evaluate(space.Kept(choice));
        EXPECT_EQ(space.Cost(choice), expected) << network;
        for (size_t g = 0; g < choice.size(); ++g) {
          const auto group = static_cast<int32_t>(g);
          const int64_t before = cursor.cost(), delta = cursor.Delta(group, choice[g]);
          cursor.Set(group, choice[g]);
          EXPECT_EQ(cursor.cost(), before + delta);
        }
        EXPECT_EQ(cursor.cost(), expected) << network;
        EXPECT_EQ(space.IndexOf(space.Kept(choice)), choice);
      }
    }
  }
}

// A problem of few groups; `chain`: costs are products of neighbours, else they are separable.
PolicySpace RandomSpace(bool chain, Rng& rng) {
  const size_t groups = 3 + rng.Below(3);
  std::vector<std::vector<int64_t>> units;
  CostForm form;
  form.constant = static_cast<int64_t>(rng.Below(1000));
  form.pairs.assign(groups, std::vector<int64_t>(groups, 0));
  int64_t least = form.constant, most = form.constant;
  std::vector<int64_t> low, high;
  for (size_t g = 0; g < groups; ++g) {
    const auto choices = static_cast<int64_t>(3 + rng.Below(6));
    units.emplace_back();
    for (int64_t i = 1; i <= choices; ++i) units[g].push_back(i);
    low.push_back(1);
    high.push_back(choices);
    form.linear.push_back(static_cast<int64_t>(1 + rng.Below(chain ? 20 : 200)));
    if (chain && g > 0) {
      form.pairs[g][g - 1] = form.pairs[g - 1][g] = static_cast<int64_t>(1 + rng.Below(100));
    }
  }
  for (size_t g = 0; g < groups; ++g) {
    least += form.linear[g] * low[g];
    most += form.linear[g] * high[g];
    if (g == 0) continue;
    least += form.pairs[g][g - 1] * low[g] * low[g - 1];
    most += form.pairs[g][g - 1] * high[g] * high[g - 1];
  }
  const double share = rng.Uniform(0.15, 0.8);
  const int64_t budget = least + static_cast<int64_t>(share * static_cast<double>(most - least));
  return PolicySpace(std::move(units), std::move(form), budget);
}

double BruteForce(const PolicySpace& space, const GroupTables& loss) {
  double best = std::numeric_limits<double>::infinity();
  Choice choice = space.Minimum();
  while (true) {
    if (space.Fits(choice)) best = std::min(best, Sum(loss, choice));
    size_t g = 0;
    while (g < choice.size() && ++choice[g] == space.num_choices(g)) choice[g++] = 0;
    if (g == choice.size()) return best;
  }
}

TEST(PlannerTest, IsAsGoodAsBruteForceAndHardlyWorseWhereCostsAreProducts) {
  for (const bool chain : {false, true}) {
    Rng rng(chain ? 2 : 3);
    int exact = 0;
    double gap = 0, worst = 0;
    constexpr int kProblems = 3000;
    for (int i = 0; i < kProblems; ++i) {
      const PolicySpace space = RandomSpace(chain, rng);
      const GroupTables loss = RandomLosses(space, rng);
      const Choice plan = PlanPolicy(space, loss);
      ASSERT_TRUE(space.Fits(plan));
      const double best = BruteForce(space, loss), found = Sum(loss, plan);
      ASSERT_GE(found, best * (1 - 1e-9));
      const double over = best > 0 ? found / best - 1 : found;
      exact += over < 1e-9 ? 1 : 0;
      gap += over / kProblems;
      worst = std::max(worst, over);
    }
    std::printf("chain %d: exact %d of %d, mean gap %.4f, worst %.4f\n", chain, exact, kProblems,
                gap, worst);
    if (chain) {
      EXPECT_GE(exact, kProblems * 99 / 100);
      EXPECT_LE(gap, 0.001);
      EXPECT_LE(worst, 0.1);
    } else {
      EXPECT_EQ(exact, kProblems);
    }
  }
}

// Exact dynamic programming over cost, where costs are separable and small.
TEST(PlannerTest, EqualsDynamicProgrammingOnLargerSeparableProblems) {
  Rng rng(5);
  for (int i = 0; i < 10; ++i) {
    constexpr size_t kGroups = 20;
    constexpr int64_t kChoices = 16;
    CostForm form;
    form.pairs.assign(kGroups, std::vector<int64_t>(kGroups, 0));
    std::vector<std::vector<int64_t>> units(kGroups);
    int64_t whole = 0;
    for (size_t g = 0; g < kGroups; ++g) {
      for (int64_t c = 1; c <= kChoices; ++c) units[g].push_back(c);
      form.linear.push_back(static_cast<int64_t>(1 + rng.Below(30)));
      whole += form.linear[g] * kChoices;
    }
    const int64_t budget = whole / 2;
    const PolicySpace space(units, form, budget);
    const GroupTables loss = RandomLosses(space, rng);
    std::vector<double> best(budget + 1, 0);
    for (size_t g = 0; g < kGroups; ++g) {
      std::vector<double> next(budget + 1, std::numeric_limits<double>::infinity());
      for (int64_t b = 0; b <= budget; ++b) {
        for (int64_t c = 1; c <= kChoices && form.linear[g] * c <= b; ++c) {
          next[b] = std::min(next[b], best[b - form.linear[g] * c] + loss[g][c - 1]);
        }
      }
      best = next;
    }
    EXPECT_LE(Sum(loss, PlanPolicy(space, loss)), 1.002 * best[budget]);
  }
}

TEST(PlannerTest, LandsRightUnderOddBudgets) {
  Rng rng(7);
  for (const std::string& network : ZooNames()) {
    for (const double target : {0.437, 0.61}) {
      const auto env = MakeEnv(network, {.budget = {{.ratio = target}}});
      const PolicySpace space(*env);
      const Choice plan = PlanPolicy(space, RandomLosses(space, rng));
      EXPECT_LE(space.Cost(plan), env->budget());
      EXPECT_GE(static_cast<double>(space.Cost(plan)), 0.995 * static_cast<double>(env->budget()))
          << network << " " << target;
    }
  }
}

TEST(PlannerTest, BeatsEveryThresholdAndIsFast) {
  Rng rng(8);
  for (const char* network : {"resnet56", "vgg16", "mobilenetv2"}) {
    const auto env = MakeEnv(network, {.budget = {{.ratio = 0.5}}});
    const PolicySpace space(*env);
    const GroupTables loss = RandomLosses(space, rng);
    const auto begin = std::chrono::steady_clock::now();
    const Choice plan = PlanPolicy(space, loss);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const Choice threshold = ThresholdPolicy(space, loss);
    EXPECT_TRUE(space.Fits(threshold));
    EXPECT_LE(Sum(loss, plan), Sum(loss, threshold)) << network;
    std::printf("%s: %zu groups, planned in %.4f s\n", network, space.open().size(), seconds);
    EXPECT_LT(seconds, 2) << network;  // a tenth of a second is what is wanted, unloaded
  }
}

TEST(ThresholdTest, NoGroupLosesMoreThanTheThresholdUnlessNothingFitsBelow) {
  Rng rng(9);
  const auto env = MakeEnv("resnet20", {.budget = {{.ratio = 0.5}}});
  const PolicySpace space(*env);
  const GroupTables loss = RandomLosses(space, rng);
  const Choice policy = ThresholdPolicy(space, loss);
  double threshold = 0;
  for (const int32_t g : space.open()) threshold = std::max(threshold, loss[g][policy[g]]);
  // With any lower threshold the smallest counts allowed do not fit.
  Choice lower = space.Whole();
  for (const int32_t g : space.open()) {
    while (lower[g] > 0 && loss[g][lower[g] - 1] < threshold) --lower[g];
  }
  EXPECT_GT(space.Cost(lower), space.budget() * 97 / 100);
  EXPECT_GE(space.Cost(policy), space.budget() * 995 / 1000);
}

TEST(PlanningAgentTest, AnInfeasiblePlanGivesWayToTheUniformPolicyOnce) {
  const auto env = MakeEnv("resnet20", {.budget = {{.ratio = 0.5}}});
  const PolicySpace space(*env);
  for (const char* name : {"dp", "sensitivity"}) {
    AgentOptions options{.evaluations = 40, .reward_images = 1000};
    options.probes.ratios = 2;
    const auto agent = MakeAgent(name, *env, options), restored = MakeAgent(name, *env, options);
    ASSERT_TRUE(agent.ok() && restored.ok());
    const int64_t probes = (*agent)->available();
    for (int64_t number = 0; number <= probes; ++number) {
      const auto episode = (*agent)->Propose(*env, number, 40);
      ASSERT_TRUE(episode.ok());
      const absl::Status taken =
          number < probes
              ? (*agent)->Learn(*episode, 0.9 - 0.01 * static_cast<double>(number * 7 % 11))
              : (*agent)->Skip(*episode);
      ASSERT_TRUE(taken.ok()) << taken;
    }
    ASSERT_TRUE((*restored)->RestoreState((*agent)->SaveState()).ok());
    ASSERT_EQ((*restored)->available(), 1) << name;
    const auto uniform = (*restored)->Propose(*env, probes + 1, 20);
    ASSERT_TRUE(uniform.ok());
    EXPECT_EQ(*KeptCounts(uniform->policy, env->grouping()), space.Kept(UniformStart(*env, space)));
    ASSERT_TRUE((*restored)->Skip(*uniform).ok());
    EXPECT_EQ((*restored)->available(), 0);
  }
}

TEST(PlanningAgentTest, SaysWhatHelpsWhereProbesCannotBePaidFor) {
  const auto env = MakeEnv("resnet56", {.budget = {{.ratio = 0.3}}});
  AgentOptions options{.evaluations = 2, .reward_images = 1000};
  const auto agent = MakeAgent("dp", *env, options);
  ASSERT_EQ(agent.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(agent.status().message()), testing::HasSubstr("lower probes.ratios"));
}

TEST(StartsTest, AllPoliciesAreThoseThatCannotGrow) {
  Rng rng(11);
  for (int i = 0; i < 50; ++i) {
    const PolicySpace space = RandomSpace(i % 2 == 0, rng);
    const auto all = AllPolicies(space, 100000);
    ASSERT_TRUE(all.has_value());
    std::vector<Choice> expected;
    Choice choice = space.Minimum();
    while (true) {
      bool full = space.Fits(choice);
      for (size_t g = 0; full && g < choice.size(); ++g) {
        Choice grown = choice;
        full = ++grown[g] == space.num_choices(g) || !space.Fits(grown);
      }
      if (full) expected.push_back(choice);
      size_t g = 0;
      while (g < choice.size() && ++choice[g] == space.num_choices(g)) choice[g++] = 0;
      if (g == choice.size()) break;
    }
    EXPECT_THAT(*all, testing::UnorderedElementsAreArray(expected));
    EXPECT_FALSE(AllPolicies(space, expected.size() - 1).has_value());
  }
}

}  // namespace
}  // namespace amc
