// Policies to kept counts and back.
#include "env/cost/policy.h"

#include <tuple>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Grouping TwoGroups() {
  Grouping grouping;
  for (const auto& [name, channels, cells] : {std::tuple("a", 8, 1), std::tuple("b", 12, 4)}) {
    PruneGroup& group = grouping.groups.emplace_back();
    group.name = name;
    group.channels = channels;
    group.cells = cells;
  }
  return grouping;
}

TEST(PolicyTest, GroupsThatAreNotListedStayWhole) {
  const absl::StatusOr<std::vector<int64_t>> kept =
      KeptCounts({.decisions = {{.target = "b", .kept = 4}}}, TwoGroups());
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_THAT(*kept, ElementsAre(8, 4));
}

TEST(PolicyTest, MakePolicyIsTheInverse) {
  const std::vector<int64_t> counts = {3, 8};
  const Policy policy = MakePolicy(TwoGroups(), counts);
  EXPECT_EQ(policy.decisions.size(), 2);
  const absl::StatusOr<std::vector<int64_t>> kept = KeptCounts(policy, TwoGroups());
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(*kept, counts);
}

TEST(PolicyTest, RefusesWhatDoesNotFitTheGroups) {
  const std::vector<std::pair<Policy, std::string>> bad = {
      {{{{.target = "c", .kept = 1}}}, "group c: no such group"},
      {{{{.target = "a", .kept = 1}, {.target = "a", .kept = 2}}}, "group a: listed twice"},
      {{{{.target = "a", .kept = 0}}}, "group a: 0 channels kept of 8"},
      {{{{.target = "a", .kept = 9}}}, "group a: 9 channels kept of 8"},
      {{{{.target = "b", .kept = 6}}}, "group b: 6 channels kept of 12 do not divide into its 4"},
      {{{{.target = "a", .granularity = static_cast<Granularity>(7), .kept = 1}}}, "granularity 7"},
  };
  for (const auto& [policy, message] : bad) {
    const absl::StatusOr<std::vector<int64_t>> kept = KeptCounts(policy, TwoGroups());
    EXPECT_EQ(kept.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(kept.status().message()), HasSubstr(message));
  }
}

}  // namespace
}  // namespace amc
