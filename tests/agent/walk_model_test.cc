// The state that ddpg sees agrees with the environment's, and its actions mean what they should.
#include "agent/walk_model.h"

#include <cmath>
#include <memory>
#include <vector>

#include "agent/fit.h"
#include "agent/planner.h"
#include "agent/policy_space.h"
#include "agent/returns.h"
#include "base/rng.h"
#include "env/amc_env.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

std::unique_ptr<Environment> MakeEnv(double target_ratio = 0.5) {
  const auto graph = BuildNetwork("resnet20", {.weightless = true});
  EXPECT_TRUE(graph.ok()) << graph.status();
  auto env = AmcEnv::Create(*graph, {.budget = {{.ratio = target_ratio}}});
  EXPECT_TRUE(env.ok()) << env.status();
  return *std::move(env);
}

GroupTables TablesOf(const LossCurves& curves) {
  GroupTables tables;
  for (size_t g = 0; g < curves.num_groups(); ++g) {
    tables.emplace_back(curves.losses(g).begin(), curves.losses(g).end());
  }
  return tables;
}

struct Problem {
  explicit Problem(double target_ratio = 0.5)
      : env(MakeEnv(target_ratio)),
        space(*env),
        curves(LossCurves::Prior(env->lattice())),
        plan(PlanPolicy(space, TablesOf(curves))),
        model(*env, curves, space.Kept(plan)) {}

  std::unique_ptr<Environment> env;
  PolicySpace space;
  LossCurves curves;
  Choice plan;
  WalkModel model;
};

TEST(WalkModelTest, OpensWithTheEnvironmentsObservations) {
  Problem p;
  Rng rng(4);
  std::vector<int64_t> kept = p.env->lattice().Maximum();
  Observation observation = p.env->Reset();
  for (size_t s = 0; s < p.model.steps(); ++s) {
    ASSERT_EQ(observation.group, p.model.group(s));
    const WalkModel::View view = p.model.Look(s, kept, p.env->budget());
    ASSERT_EQ(static_cast<int64_t>(view.state.size()), WalkModel::kStateSize);
    for (size_t f = 0; f < Observation::kSize; ++f) {
      EXPECT_NEAR(view.state[f], observation.features[f], 1e-6) << "step " << s << " feature " << f;
    }
    auto result = p.env->Step(rng.Uniform(0.3, 1));
    ASSERT_TRUE(result.ok());
    kept[p.model.group(s)] = result->kept;
    observation = result->observation;
  }
}

TEST(WalkModelTest, TheMiddleOfTheActionWalksThePlan) {
  for (const double ratio : {0.7, 0.5, 0.3}) {
    Problem p(ratio);
    std::vector<int64_t> kept = p.env->lattice().Maximum();
    p.env->Reset();
    for (size_t s = 0; s < p.model.steps(); ++s) {
      const WalkModel::View view = p.model.Look(s, kept, p.env->budget());
      const auto result = p.env->Step(WalkModel::RatioOf(view, 0.5));
      ASSERT_TRUE(result.ok());
      kept[p.model.group(s)] = result->kept;
    }
    // To land on the budget the environment may move a channel from one group to another.
    const Choice walked = p.space.IndexOf(kept);
    for (size_t g = 0; g < walked.size(); ++g) {
      EXPECT_LE(std::abs(walked[g] - p.plan[g]), 1) << ratio << " group " << g;
    }
  }
}

// Where the first steps keep more than planned, the centres of the later ones are lower, and what
// they lead to lands just below the budget.
TEST(WalkModelTest, CentresMakeUpForWhatWasDone) {
  Problem p;
  std::vector<int64_t> kept = p.env->lattice().Maximum();
  for (size_t s = 2; s < p.model.steps(); ++s) {
    const int32_t g = p.model.group(s);
    const WalkModel::View view = p.model.Look(s, kept, p.env->budget());
    const auto channels = static_cast<double>(p.env->lattice().choices(g).back());
    EXPECT_LE(view.centre, static_cast<double>(p.model.plan()[g]) / channels + 1e-9);
    kept[g] = std::lround(view.centre * channels);
  }
  const int64_t cost = p.env->cost().Evaluate(kept);
  EXPECT_LE(cost, p.env->budget());
  EXPECT_GE(static_cast<double>(cost), 0.97 * static_cast<double>(p.env->budget()));
}

TEST(WalkModelTest, ActionsAndRatiosAreInverse) {
  const WalkModel::View view{.state = {}, .centre = 0.5, .least = 0.2};
  EXPECT_DOUBLE_EQ(WalkModel::RatioOf(view, 0.5), 0.5);
  EXPECT_DOUBLE_EQ(WalkModel::RatioOf(view, 1), 1);
  EXPECT_DOUBLE_EQ(WalkModel::RatioOf(view, 0), 0.25);
  for (const double action : {0.05, 0.3, 0.5, 0.8, 1.0}) {
    EXPECT_NEAR(WalkModel::ActionOf(view, WalkModel::RatioOf(view, action)), action, 1e-9);
  }
  const WalkModel::View low{.state = {}, .centre = 0.3, .least = 0.2};
  EXPECT_DOUBLE_EQ(WalkModel::RatioOf(low, 0), 0.2);
  EXPECT_DOUBLE_EQ(WalkModel::ActionOf(low, 1.0), 1.0);  // beyond the reach of an action
}

TEST(WalkModelTest, WithoutABudgetActionsReachEveryRatioEvenly) {
  Problem p(0);
  const WalkModel::View view = p.model.Look(0, p.env->lattice().Maximum(), p.env->budget());
  EXPECT_LT(view.least, 0.5);
  EXPECT_DOUBLE_EQ(WalkModel::RatioOf(view, 0), view.least);
  EXPECT_DOUBLE_EQ(WalkModel::RatioOf(view, 0.5), (1 + view.least) / 2);
  EXPECT_DOUBLE_EQ(WalkModel::RatioOf(view, 1), 1);
  for (const double action : {0.0, 0.3, 0.9}) {
    EXPECT_NEAR(WalkModel::ActionOf(view, WalkModel::RatioOf(view, action)), action, 1e-9);
  }
}

TEST(OutcomesTest, PoliciesOfAnotherLatticeAreNotTakenForThoseOfThisOne) {
  Problem p;
  const std::vector<int64_t> whole = p.env->lattice().Maximum();
  Episode episode = EpisodeOf(*p.env, whole, 0);
  const Grouping& grouping = p.env->grouping();
  ASSERT_TRUE(OutcomeOf(p.space, grouping, episode, 0.5).has_value());
  EXPECT_TRUE(OutcomeOf(p.space, grouping, episode, std::nullopt)->infeasible);
  int64_t off = 0;
  for (int64_t count = 1; count < whole[0]; ++count) {
    if (!p.env->lattice().Contains(0, count)) off = count;
  }
  ASSERT_GT(off, 0);
  std::vector<int64_t> kept = whole;
  kept[0] = off;
  EXPECT_FALSE(OutcomeOf(p.space, grouping, EpisodeOf(*p.env, kept, 0), 0.5).has_value());
}

TEST(WalkModelTest, PoliciesOfAnyBudgetAreWalks) {
  Problem p;
  const std::vector<int64_t> least = p.env->lattice().Minimum();  // far below this budget
  const int64_t cost = p.env->cost().Evaluate(least);
  const auto walk = p.model.WalkTo(least, cost);
  ASSERT_EQ(walk.size(), p.model.steps());
  const double whole = static_cast<double>(p.env->cost().Evaluate(p.env->lattice().Maximum()));
  for (const WalkModel::Transition& t : walk) {
    EXPECT_NEAR(t.state.back(), static_cast<double>(cost) / whole, 1e-6);
    EXPECT_NEAR(t.action, 0.5, 1e-6);  // under that budget there is no other policy
  }
}

TEST(ReturnsTest, RankOutcomesAmongThoseOfTheirBudget) {
  Problem p(0.5), q(0.3);
  std::vector<Outcome> outcomes;
  const ReturnGround ground{.curves = TablesOf(p.curves), .whole = 0.9, .plan = p.plan};
  for (int i = 0; i < 9; ++i) {
    outcomes.push_back({.choice = p.plan, .reward = 0.80 + 0.001 * i});
    outcomes.push_back({.choice = q.plan, .reward = 0.60 + 0.001 * i, .remembered = true});
  }
  outcomes.push_back({.choice = p.plan, .reward = 0.1});
  outcomes.push_back({.choice = p.plan, .infeasible = true});
  outcomes.push_back({.choice = p.plan, .images = 100, .reward = 0.82});
  const ReturnGround full{ground.curves, ground.whole, ground.plan, 5000};
  const Returns returns(p.space, full, outcomes);
  for (size_t i = 2; i < 18; ++i) {
    ASSERT_TRUE(returns.Measured(i).has_value());
    EXPECT_GT(*returns.Measured(i), *returns.Measured(i - 2));
  }
  EXPECT_NEAR(*returns.Measured(9), 0, 1e-9);  // the median under the other budget
  EXPECT_EQ(*returns.Measured(18), -3);        // an outlier is cut off
  EXPECT_FALSE(returns.Measured(19).has_value());
  EXPECT_FALSE(returns.Measured(20).has_value());
}

// What the surrogate was taught it gives back for policies in between.
TEST(ReturnsTest, ExpectMoreOfPoliciesLikeThoseThatDidWell) {
  Problem p;
  const ReturnGround ground{TablesOf(p.curves), 0.9, p.plan, 5000};
  Rng rng(3);
  std::vector<Outcome> outcomes;
  const auto draw = [&] {
    PolicyCursor cursor(p.space, p.space.Minimum());
    for (const int64_t i : rng.Permutation(static_cast<int64_t>(p.space.open().size()))) {
      const int32_t g = p.space.open()[i];
      cursor.Set(g, static_cast<int32_t>(rng.Below(cursor.LargestThatFits(g) + 1)));
    }
    cursor.TopUp();
    return cursor.choice();
  };
  const int32_t first = p.space.open().front();
  const auto reward = [&](const Choice& choice) {
    return 0.8 - 0.3 * (1 - p.space.Ratio(first, choice[first]));  // one group alone matters
  };
  for (int i = 0; i < 80; ++i) {
    const Choice choice = draw();
    outcomes.push_back({.choice = choice, .reward = reward(choice)});
  }
  const Returns returns(p.space, ground, outcomes);
  int right = 0;
  for (int i = 0; i < 50; ++i) {
    const Choice a = draw(), b = draw();
    const bool better = reward(a) > reward(b);
    if (reward(a) == reward(b)) {
      ++right;
    } else {
      right += (returns.Expected(a) > returns.Expected(b)) == better;
    }
  }
  EXPECT_GE(right, 44);
}

}  // namespace
}  // namespace amc
