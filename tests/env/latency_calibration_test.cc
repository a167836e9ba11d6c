// On a runtime whose times are made up, so that the right answer is known.
#include "env/latency_calibration.h"

#include <memory>
#include <utility>

#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/latency_fixture.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

// Takes what the table says, times 1.25, and 40 us more: found again from the loaded graph's
// shapes.
class MadeUpRuntime final : public Runtime {
 public:
  explicit MadeUpRuntime(const LatencyTable& table) : Runtime(table.setting), table_(table) {}

  absl::StatusOr<std::unique_ptr<LoadedNetwork>> Load(const Graph& graph) override {
    const Grouping grouping = *BuildGroups(graph);
    std::vector<int64_t> whole;
    for (const PruneGroup& group : grouping.groups) whole.push_back(group.channels);
    absl::StatusOr<LatencyModel> model = LatencyModel::Create(graph, grouping, table_, "");
    if (!model.ok()) return std::unique_ptr<LoadedNetwork>(new Loaded(10));  // the reference
    return std::unique_ptr<LoadedNetwork>(new Loaded(1.25 * model->SumOfLayersUs(whole) + 40));
  }

 private:
  class Loaded final : public LoadedNetwork {
   public:
    explicit Loaded(double us) : us_(us) {}
    absl::StatusOr<std::vector<double>> Time(int64_t runs) override {
      return std::vector<double>(static_cast<size_t>(runs), us_);
    }

   private:
    const double us_;
  };
  const LatencyTable table_;
};

struct Calibrated : ::testing::Test {
  Graph graph = *BuildNetwork("resnet20", {});
  Grouping grouping = *BuildGroups(graph);
  LatencyTable table = MadeUpTable(graph, 0);
  LatencyModel model = *LatencyModel::Create(graph, grouping, table, "");
};

TEST_F(Calibrated, SpreadsPoliciesOverTheRangeOfLatencies) {
  const auto policies = SpreadPolicies(grouping, model, 20, {.least = 0.5}, 7);
  ASSERT_EQ(policies.size(), 20U);
  std::vector<int64_t> whole;
  for (const PruneGroup& group : grouping.groups) whole.push_back(group.channels);
  const auto original = static_cast<double>(model.Evaluate(whole));
  for (size_t i = 0; i < policies.size(); ++i) {
    const double share = static_cast<double>(model.Evaluate(policies[i])) / original;
    EXPECT_NEAR(share, 0.5 + 0.5 * (static_cast<double>(i) + 0.5) / 20, 0.05) << i;
    for (size_t g = 0; g < whole.size(); ++g) {
      EXPECT_GE(policies[i][g], 1);
      EXPECT_LE(policies[i][g], whole[g]);
    }
  }
  EXPECT_NE(SpreadPolicies(grouping, model, 1, {}, 7), SpreadPolicies(grouping, model, 1, {}, 8));
}

TEST_F(Calibrated, KeepsToMultiples) {
  for (const auto& kept : SpreadPolicies(grouping, model, 10, {.channel_multiple = 8}, 1)) {
    for (size_t g = 0; g < kept.size(); ++g) EXPECT_EQ(kept[g] % 8, 0) << grouping.groups[g].name;
  }
}

TEST_F(Calibrated, FindsWhatLayersMiss) {
  MadeUpRuntime runtime(table);
  const absl::StatusOr<LatencyFit> fit =
      CalibrateLatency(runtime, graph, grouping, table, std::string(64, 'a'),
                       {.fitted = 8, .unseen = 5, .least = 0.4}, nullptr);
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_EQ(fit->model, std::string(64, 'a'));
  EXPECT_EQ(fit->networks, 5);
  EXPECT_LT(fit->median_error, 0.02);
  EXPECT_LT(fit->p95_error, 0.04);
  EXPECT_EQ(fit->repeatability, 0);
  // The fit is taken into account by a model of the extended table.
  const LatencyTable taught =
      *ExtendLatencyTable(table, {.setting = table.setting, .date = table.date, .fits = {*fit}});
  const LatencyModel better = *LatencyModel::Create(graph, grouping, taught, std::string(64, 'a'));
  std::vector<int64_t> half;
  for (const PruneGroup& group : grouping.groups) half.push_back(group.channels / 2);
  const double truth = 1000 * (1.25 * model.SumOfLayersUs(half) + 40);
  EXPECT_NEAR(static_cast<double>(better.Evaluate(half)) / truth, 1, 0.04);
}

TEST_F(Calibrated, RefusesTooFewNetworks) {
  MadeUpRuntime runtime(table);
  EXPECT_THAT(
      std::string(CalibrateLatency(runtime, graph, grouping, table, "", {.fitted = 2}, nullptr)
                      .status()
                      .message()),
      HasSubstr("calibration with 2 networks to fit to and 8 to judge by"));
}

}  // namespace
}  // namespace amc
