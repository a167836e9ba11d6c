// How far NetAdapt's iterations go, and what its groups propose.
#include "agent/netadapt_steps.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "env/amc_env.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

TEST(NetAdaptStepsTest, WhereNoGroupReachesTheTargetAloneTheOthersGiveTheRest) {
  const auto graph = BuildNetwork("vgg-small", {.weightless = true});
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto created = AmcEnv::Create(*graph, {.budget = {{.ratio = 0.3}}, .channel_multiple = 4});
  ASSERT_TRUE(created.ok()) << created.status();
  const Environment* env = created->get();
  const std::vector<int64_t> whole = env->lattice().Maximum();
  const auto proposals = ProposeCuts(*env, whole, env->budget(), env->budget());
  ASSERT_EQ(proposals.size(), env->num_steps());
  for (size_t i = 0; i < proposals.size(); ++i) {
    const Proposal& proposal = proposals[i];
    EXPECT_LE(proposal.cost, env->budget());
    EXPECT_EQ(proposal.cost, env->cost().Evaluate(proposal.kept));
    if (i > 0) {
      EXPECT_LE(proposal.cost, proposals[i - 1].cost);
    }
  }
  // The first one's cost as the target gives the same again.
  const auto again = ProposeCuts(*env, whole, proposals.front().cost, env->budget());
  ASSERT_EQ(again.size(), proposals.size());
  for (size_t i = 0; i < again.size(); ++i) EXPECT_EQ(again[i].kept, proposals[i].kept);
}

TEST(NetAdaptStepsTest, TheScheduleArrives) {
  for (const auto& [step, decay] : {std::pair(0.05, 0.96), {0.5, 0.5}, {0.01, 1.0}, {1.0, 0.9}}) {
    const NetAdaptOptions options{.step = step, .decay = decay};
    double rest = 1, planned = step;
    int64_t iteration = 0;
    for (; rest > 1e-6 && iteration < 2000; ++iteration) {
      const double after = RestAfter(options, iteration, rest, kMostIterations);
      EXPECT_NEAR(rest - after, std::min(planned, rest), 1e-6);
      rest = after;
      planned *= decay;
    }
    EXPECT_LT(iteration, 1001);
  }
  // Three iterations instead of 40: their steps keep the ratio of the decay.
  const NetAdaptOptions options;
  const double one = RestAfter(options, 0, 1, 3), two = RestAfter(options, 1, one, 2);
  EXPECT_NEAR((one - two) / (1 - one), options.decay, 1e-9);
  EXPECT_NEAR(two / (one - two), options.decay, 1e-9);
  EXPECT_EQ(RestAfter(options, 2, two, 1), 0);
  EXPECT_EQ(IterationsLeft(options, 0, 1), 40);  // 1.25 * (1 - 0.96^40) = 1.006, of 39: 0.996
}

TEST(NetAdaptStepsTest, RefusesSchedulesThatNeverArrive) {
  const auto message = [](double step, double decay) {
    const absl::Status status = CheckNetAdaptOptions({.step = step, .decay = decay});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message(0.02, 0.9), HasSubstr("a step of at least 0.1 arrives"));
  EXPECT_THAT(message(0, 0.9), HasSubstr("netadapt.step: 0"));
  EXPECT_THAT(message(0.1, 1.5), HasSubstr("netadapt.decay: 1.5"));
  EXPECT_TRUE(CheckNetAdaptOptions({}).ok());
}

}  // namespace
}  // namespace amc
