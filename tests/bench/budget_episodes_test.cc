// The budget experiment (budget_episodes.cc) in small: same cells, fewer episodes.
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "env/amc_env.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/bench/budget_cell.h"

namespace amc {
namespace {

Graph Zoo(const std::string& name, int64_t size, bool weightless) {
  auto graph = BuildNetwork(name, {.height = size, .width = size, .weightless = weightless});
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

class BudgetEpisodesTest
    : public testing::TestWithParam<std::tuple<std::pair<const char*, int64_t>, int64_t>> {};

TEST_P(BudgetEpisodesTest, NoExecutedPolicyExceedsItsBudget) {
  const auto& [network, multiple] = GetParam();
  const auto& [name, size] = network;
  const Graph graph = Zoo(name, size, /*weightless=*/true);
  const auto minimum = BruteForceMinimum(graph, multiple);
  ASSERT_TRUE(minimum.ok()) << minimum.status();
  for (const double target : {0.7, 0.5, 0.3, 0.2}) {
    const auto result = RunBudgetCell(
        graph, nullptr,
        {.target = target, .multiple = multiple, .random_episodes = 100, .agent_episodes = 40});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->over, 0) << name << " at " << target;
    EXPECT_EQ(result->disagreeing, 0) << name << " at " << target;
    if (result->refusal.empty()) {
      EXPECT_EQ(result->episodes, 140);
      EXPECT_LE(result->worst, target);
      EXPECT_GE(result->least, target - 0.03);  // landed, as the last groups' steps allow
    } else {
      EXPECT_THAT(result->refusal, testing::HasSubstr(absl::StrCat(" is ", *minimum, " (")));
    }
  }
}

TEST_P(BudgetEpisodesTest, TheSmallestReachableCostIsAcceptedAndOneLessRefusedWithIt) {
  const auto& [network, multiple] = GetParam();
  const auto& [name, size] = network;
  const Graph graph = Zoo(name, size, /*weightless=*/true);
  const auto minimum = BruteForceMinimum(graph, multiple);
  ASSERT_TRUE(minimum.ok()) << minimum.status();
  EXPECT_TRUE(
      AmcEnv::Create(graph, {.budget = {{.absolute = *minimum}}, .channel_multiple = multiple})
          .ok());
  const auto refused =
      AmcEnv::Create(graph, {.budget = {{.absolute = *minimum - 1}}, .channel_multiple = multiple});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(refused.status().message()),
              testing::HasSubstr(absl::StrCat(" is ", *minimum, " (")));
}

INSTANTIATE_TEST_SUITE_P(Networks, BudgetEpisodesTest,
                         testing::Combine(testing::Values(std::pair("resnet56", 32),
                                                          std::pair("mobilenetv2", 224),
                                                          std::pair("vgg16", 224)),
                                          testing::Values(1, 8)),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param).first, "_multiple",
                                               std::get<1>(info.param));
                         });

TEST(BudgetExportTest, ExportedFilesCostWhatTheGraphsDo) {
  for (const char* name : {"resnet20", "mobilenetv2"}) {
    const Graph weightless = Zoo(name, 32, true), weights = Zoo(name, 32, false);
    const auto result = RunBudgetCell(
        weightless, &weights,
        {.target = 0.4, .multiple = 8, .random_episodes = 4, .agent_episodes = 4, .exported = 4});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->exported, 8);
    EXPECT_EQ(result->over, 0);
    EXPECT_EQ(result->disagreeing, 0);
  }
}

}  // namespace
}  // namespace amc
