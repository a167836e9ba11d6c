// What a history says of an episode, on networks where some groups are never asked about.
#include "server/convert.h"

#include "agent/agent_registry.h"
#include "env/amc_env.h"
#include "env/graph/zoo.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

class EpisodeToProtoTest : public testing::TestWithParam<const char*> {};

TEST_P(EpisodeToProtoTest, EveryStepHasItsOwnGroupsActionAndObservation) {
  const Graph graph = *BuildNetwork("resnet20", {.height = 8, .width = 8, .weightless = true});
  EnvOptions options{.budget = {{.ratio = 0.6}}, .keep_residual = true};
  {
    const auto all = *AmcEnv::Create(graph, {});
    options.frozen = {all->grouping().groups[2].name};
  }
  const auto env = *AmcEnv::Create(graph, options);
  const auto agent = *MakeAgent(GetParam(), *env, {});
  const absl::StatusOr<Episode> drawn = agent->Propose(*env, 0, 1);
  ASSERT_TRUE(drawn.ok()) << drawn.status();
  const v1::Episode episode = ToProto(EvaluatedEpisode{*drawn, Measurement(), 0}, *env);
  ASSERT_EQ(episode.steps_size(), static_cast<int>(env->grouping().groups.size()));
  size_t asked = 0;
  for (int g = 0; g < episode.steps_size(); ++g) {
    const v1::Step& step = episode.steps(g);
    EXPECT_EQ(step.group(), env->grouping().groups[static_cast<size_t>(g)].name);
    if (env->lattice().choices(static_cast<size_t>(g)).size() < 2) {
      EXPECT_EQ(step.action(), 1);
      EXPECT_EQ(step.executed(), 1);
      EXPECT_EQ(step.observation_size(), 0);
      continue;
    }
    EXPECT_EQ(step.action(), drawn->actions[asked]) << step.group();
    EXPECT_EQ(step.executed(), drawn->executed[asked]) << step.group();
    if (!drawn->observations.empty()) {
      EXPECT_EQ(drawn->observations[asked].group, g);
      EXPECT_EQ(step.observation_size(), Observation::kSize);
      EXPECT_EQ(step.observation(0), drawn->observations[asked].features[0]);
    }
    ++asked;
  }
  EXPECT_EQ(asked, env->num_steps());
  EXPECT_EQ(asked, 8u);  // nine inner groups, one of them frozen
}

INSTANTIATE_TEST_SUITE_P(Agents, EpisodeToProtoTest,
                         testing::Values("ddpg-paper", "uniform", "random"));

}  // namespace
}  // namespace amc
