// Which points a table needs, and what is measured of them: on a runtime whose times are known, and
// on the real ones.
#include "env/measure/build_table.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "env/cost/cost_model.h"
#include "env/cost/latency_model.h"
#include "env/graph/zoo.h"
#include "env/measure/layer_network.h"
#include "env/measure/measure_networks.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"
#include "tests/require.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Graph SmallResNet() {
  ZooOptions options;
  options.height = options.width = 16;
  return BuildNetwork("resnet20", options).value();
}

std::vector<LatencyRow> RowsOf(const std::vector<TablePoint>& points) {
  std::vector<LatencyRow> rows;
  for (const TablePoint& point : points) {
    rows.push_back({point.layer.kind, point.in, point.out, 1, 0});
  }
  return rows;
}

LatencyTable TableOf(const std::vector<TablePoint>& points) {
  LatencyTable table;
  table.setting = {"device", "runtime", "1", 1, 1};
  table.date = "2026-11-21";
  table.rows = RowsOf(points);
  SortLatencyTable(table);
  return table;
}

TEST(PlanTableTest, GivesFullGridsThatPredictTheNetwork) {
  for (const char* const name : {"resnet20", "mobilenetv2", "vgg-small"}) {
    ZooOptions options;
    options.weightless = true;
    const Graph graph = BuildNetwork(name, options).value();
    const Grouping grouping = BuildGroups(graph).value();
    const auto points = PlanTable(graph, grouping, {});
    ASSERT_TRUE(points.ok()) << points.status();
    const LatencyTable table = TableOf(*points);
    EXPECT_TRUE(CheckLatencyTable(table).ok()) << CheckLatencyTable(table);
    const auto model = LatencyModel::Create(graph, grouping, table, "");
    EXPECT_TRUE(model.ok()) << model.status();
    // Nothing is missing then.
    EXPECT_THAT(PlanTable(graph, grouping, table).value(), IsEmpty());
  }
}

TEST(PlanTableTest, KeepsAxesThatNothingCutsAtTheirCount) {
  const Graph graph = BuildNetwork("mobilenetv1", {}).value();
  const auto points = PlanTable(graph, BuildGroups(graph).value(), {}).value();
  std::set<int64_t> images, classes;
  for (const TablePoint& point : points) {
    const Node& node = graph.node(point.layer.node);
    if (node.inputs[0] == graph.inputs[0]) images.insert(point.in);
    if (node.op == Op::kGemm) classes.insert(point.out);
  }
  EXPECT_EQ(images, std::set<int64_t>{3});
  EXPECT_EQ(classes, std::set<int64_t>{10});
}

TEST(PlanTableTest, HoldsMultiplesWhereOnlyThoseAreKept) {
  const Graph graph = BuildNetwork("mobilenetv1", {}).value();
  const Grouping grouping = BuildGroups(graph).value();
  const auto points = PlanTable(graph, grouping, {}, 8, 8).value();
  for (const TablePoint& point : points) {
    EXPECT_TRUE(point.in % 8 == 0 || point.in == 3) << point.layer.kind;
    EXPECT_TRUE(point.out % 8 == 0 || point.out == 10) << point.layer.kind;
  }
  EXPECT_THAT(PlanTable(graph, grouping, TableOf(points), 8, 8).value(), IsEmpty());
  EXPECT_FALSE(PlanTable(graph, grouping, TableOf(points)).value().empty());
  EXPECT_EQ(PlanTable(graph, grouping, {}, 1).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(PlanTable(graph, grouping, {}, 8, 0).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(SplitPlanTest, CutsKindsBetweenInputCounts) {
  const Graph graph = BuildNetwork("mobilenetv1", {}).value();
  const auto points = PlanTable(graph, BuildGroups(graph).value(), {}).value();
  for (const size_t most : {size_t{1}, size_t{20}, points.size()}) {
    const TablePoint* next = points.data();
    for (const auto part : SplitPlan(points, most)) {
      ASSERT_EQ(part.data(), next);  // nothing is left out, nothing twice
      next += part.size();
      for (const TablePoint& point : part) EXPECT_EQ(point.layer.kind, part[0].layer.kind);
      // What follows is another kind, or another input count and the part is full.
      if (next == points.data() + points.size()) break;
      if (next->layer.kind != part[0].layer.kind) continue;
      EXPECT_NE(next->in, part.back().in);
      EXPECT_GE(part.size(), most);
    }
    EXPECT_EQ(next, points.data() + points.size());
  }
  EXPECT_THAT(SplitPlan({}, 8), IsEmpty());
}

TEST(PlanTableTest, GrowsGridsOfOtherNetworks) {
  const auto network = [](int64_t channels) {
    GraphBuilder builder;
    TensorId x = builder.Input({kDynamic, 3, 8, 8});
    for (int i = 0; i < 3; ++i) x = builder.Op("Relu", {builder.Conv(x, channels)});
    builder.Head(x);
    return builder.graph;
  };
  const Graph small = network(16), large = network(24);
  const Grouping small_grouping = BuildGroups(small).value();
  const Grouping large_grouping = BuildGroups(large).value();
  LatencyTable table = TableOf(PlanTable(small, small_grouping, {}).value());
  const auto more = PlanTable(large, large_grouping, table).value();
  EXPECT_FALSE(more.empty());
  for (const LatencyRow& row : RowsOf(more)) {
    for (const LatencyRow& old : table.rows) {
      EXPECT_FALSE(old.layer == row.layer && old.in == row.in && old.out == row.out);
    }
    table.rows.push_back(row);
  }
  SortLatencyTable(table);
  EXPECT_TRUE(CheckLatencyTable(table).ok()) << CheckLatencyTable(table);
  EXPECT_TRUE(LatencyModel::Create(large, large_grouping, table, "").ok());
  EXPECT_THAT(PlanTable(small, small_grouping, table).value(), IsEmpty());
}

TEST(PlanTableTest, TakesMultiplesOfGroups) {
  GraphBuilder builder;
  const TensorId x = builder.Conv(builder.Input({kDynamic, 3, 9, 9}), 80);
  builder.Head(builder.Conv(builder.Conv(x, 40, 3, 4), 8));
  const auto points = PlanTable(builder.graph, BuildGroups(builder.graph).value(), {}).value();
  bool seen = false;
  for (const TablePoint& point : points) {
    if (!absl::StrContains(point.layer.kind, " g4 ")) continue;
    seen = true;
    EXPECT_EQ(point.in % 4, 0);
    EXPECT_EQ(point.out % 4, 0);
    EXPECT_TRUE(point.in >= 4 && point.in <= 80 && point.out >= 4 && point.out <= 40);
  }
  EXPECT_TRUE(seen);
}

// Takes a nanosecond per MAC and 30 us for the call, with 1% noise; remembers how many networks it
// held at once.
class FakeRuntime : public Runtime {
 public:
  FakeRuntime() : Runtime({"device", "fake", "1", 1, 1}) {}

  absl::StatusOr<std::unique_ptr<LoadedNetwork>> Load(const Graph& graph) override {
    if (!refused.empty() && absl::StrContains(graph.name, refused)) {
      return absl::InvalidArgumentError("cannot");
    }
    const double us = 30 + static_cast<double>(CountCost(graph).value().macs) / 1000;
    return std::make_unique<Loaded>(this, us);
  }

  size_t most_loaded() const { return most_; }
  std::string refused;  // networks with this in their names
  double slowness = 1;  // of the machine

 private:
  class Loaded : public LoadedNetwork {
   public:
    Loaded(FakeRuntime* runtime, double us) : runtime_(runtime), us_(us) {
      runtime_->most_ = std::max(runtime_->most_, ++runtime_->loaded_);
    }
    ~Loaded() override { --runtime_->loaded_; }
    absl::StatusOr<std::vector<double>> Time(int64_t runs) override {
      std::vector<double> times;
      for (int64_t i = 0; i < runs; ++i) {
        times.push_back(us_ * runtime_->slowness * (1 + 0.01 * runtime_->rng_.Normal()));
      }
      return times;
    }

   private:
    FakeRuntime* const runtime_;
    const double us_;
  };
  size_t loaded_ = 0, most_ = 0;
  Rng rng_{5};
};

TEST(MeasurePointsTest, SubtractsTheBaselineAndBoundsWhatIsLoaded) {
  const Graph graph = SmallResNet();
  const Grouping grouping = BuildGroups(graph).value();
  const std::vector<TablePoint> points = PlanTable(graph, grouping, {}, 6).value();
  ASSERT_GT(points.size(), 60U);
  FakeRuntime runtime;
  MeasureOptions options;
  options.max_networks = 12;
  std::vector<size_t> done;
  const auto measured =
      MeasurePoints(runtime, graph, points, options, [&](size_t so_far, size_t total) {
        EXPECT_EQ(total, points.size());
        done.push_back(so_far);
      });
  ASSERT_TRUE(measured.ok()) << measured.status();
  ASSERT_EQ(measured->rows.size(), points.size());
  EXPECT_EQ(measured->unstable, 0);
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_EQ(done.back(), points.size());
  EXPECT_LE(runtime.most_loaded(), 13U) << "the reference comes on top";
  for (size_t i = 0; i < points.size(); ++i) {
    const LatencyRow& row = measured->rows[i];
    EXPECT_EQ(row.layer, points[i].layer.kind);
    EXPECT_EQ(row.in, points[i].in);
    EXPECT_EQ(row.out, points[i].out);
    const Graph layer = MakeLayerNetwork(graph, points[i].layer, row.in, row.out).value();
    const Graph baseline = MakeBaselineNetwork(graph, points[i].layer, row.in).value();
    const auto with = static_cast<double>(CountCost(layer)->macs) / 1000;
    const auto without = static_cast<double>(CountCost(baseline)->macs) / 1000;
    const double want = std::max(with - without, kLeastMicroseconds);
    EXPECT_NEAR(row.median_us, want, 0.01 * (30 + with) + 0.05 * want) << row.layer;
  }
}

TEST(MeasurePointsTest, KeepsItsScaleWhenTheMachineSlowsDown) {
  const Graph graph = SmallResNet();
  const auto points = PlanTable(graph, BuildGroups(graph).value(), {}, 2).value();
  FakeRuntime runtime;
  const auto before = MeasurePoints(runtime, graph, points, {}, nullptr);
  runtime.slowness = 1.7;
  const auto after = MeasurePoints(runtime, graph, points, {}, nullptr);
  const auto network = MeasureNetworks(runtime, {graph}, {}, nullptr);
  ASSERT_TRUE(before.ok() && after.ok() && network.ok());
  for (size_t i = 0; i < points.size(); ++i) {
    const double us = before->rows[i].median_us;
    EXPECT_NEAR(after->rows[i].median_us, us, 0.1 * us + 3) << points[i].layer.kind;
  }
  const double want = 30 + static_cast<double>(CountCost(graph)->macs) / 1000;
  EXPECT_NEAR((*network)[0].median_us / want, 1, 0.03);
}

TEST(MeasurePointsTest, TimesAgainstTheNetworkOrAConvolution) {
  const Graph graph = SmallResNet();
  const auto points = PlanTable(graph, BuildGroups(graph).value(), {}, 2).value();
  const auto some = absl::MakeConstSpan(points).first(2);
  FakeRuntime runs_it;
  ASSERT_TRUE(MeasurePoints(runs_it, graph, some, {}, nullptr).ok());
  EXPECT_EQ(runs_it.reference().graph->name, "resnet20");
  EXPECT_NEAR(runs_it.reference().us, 30 + static_cast<double>(CountCost(graph)->macs) / 1000, 100);
  FakeRuntime refuses_it;
  refuses_it.refused = "resnet20";
  ASSERT_TRUE(MeasurePoints(refuses_it, graph, some, {}, nullptr).ok());
  EXPECT_EQ(refuses_it.reference().graph->name, "reference");
}

TEST(MeasurePointsTest, NamesTheLayerThatTheRuntimeRefuses) {
  const Graph graph = SmallResNet();
  const auto points = PlanTable(graph, BuildGroups(graph).value(), {}, 4).value();
  FakeRuntime runtime;
  runtime.refused = points[5].layer.kind;
  const absl::Status refused = MeasurePoints(runtime, graph, points, {}, nullptr).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(points[5].layer.kind));
}

TEST(MeasureNetworksTest, TimesThemInTheirOrderInSets) {
  std::vector<Graph> networks;
  for (const int64_t size : {32, 16, 24}) {
    ZooOptions options;
    options.height = options.width = size;
    networks.push_back(BuildNetwork("resnet20", options).value());
  }
  FakeRuntime runtime;
  MeasureOptions options;
  options.max_networks = 2;
  const auto times = MeasureNetworks(runtime, networks, options, nullptr);
  ASSERT_TRUE(times.ok()) << times.status();
  ASSERT_EQ(times->size(), 3U);
  EXPECT_EQ(runtime.most_loaded(), 3U);
  for (size_t i = 0; i < 3; ++i) {
    const double want = 30 + static_cast<double>(CountCost(networks[i])->macs) / 1000;
    EXPECT_NEAR((*times)[i].median_us / want, 1, 0.03);
    EXPECT_LT((*times)[i].repeatability, 0.05);
    EXPECT_TRUE((*times)[i].stable);
  }
}

class MeasureOnTest : public ::testing::TestWithParam<std::string> {};

TEST_P(MeasureOnTest, MoreChannelsTakeLonger) {
  RuntimeOptions runtime_options;
  runtime_options.helpers = AMC_HELPERS;
  if (std::getenv("AMC_ONNXRUNTIME_DIR") == nullptr) runtime_options.onnxruntime = AMC_ONNXRUNTIME;
  const auto runtime = CreateRuntime(GetParam(), runtime_options);
  if (runtime.status().code() == absl::StatusCode::kFailedPrecondition) {
    AMC_SKIP_WITHOUT(runtime.status());
  }
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  GraphBuilder builder;
  TensorId x = builder.Conv(builder.Input({kDynamic, 3, 28, 28}), 64);
  for (const int64_t groups : {1, 64}) x = builder.Op("Relu", {builder.Conv(x, 64, 3, groups)});
  builder.Head(x);
  const Graph& graph = builder.graph;
  const auto points = PlanTable(graph, BuildGroups(graph).value(), {}, 2).value();
  MeasureOptions options;
  options.sampler.max_time = absl::Seconds(3);
  options.sampler.burst_us = 1000;
  const auto measured = MeasurePoints(**runtime, graph, points, options, nullptr);
  ASSERT_TRUE(measured.ok()) << measured.status();
  ASSERT_EQ(measured->rows.size(), points.size());
  std::map<std::pair<int64_t, int64_t>, double> us;  // of the layer in the middle
  for (const LatencyRow& row : measured->rows) {
    EXPECT_GE(row.median_us, kLeastMicroseconds) << row.layer;
    if (absl::StartsWith(row.layer, "conv 3x3") && row.in != 3)
      us[{row.in, row.out}] = row.median_us;
  }
  ASSERT_EQ(us.size(), 4U);
  EXPECT_GT((us[{64, 64}]), (4 * us[{1, 1}]));  // 4096 times the MACs
}

INSTANTIATE_TEST_SUITE_P(All, MeasureOnTest, ::testing::ValuesIn(RuntimeNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace amc
