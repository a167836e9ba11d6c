// Predictions against tables read by hand and against a recomputation without any of the model's
// machinery.
#include "env/cost/latency_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "env/graph/op_params.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/cost/random_latency_table.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::EmptyLatencyTable;
using ::amc::testing::GraphBuilder;
using ::amc::testing::RandomLatencyTable;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kConv[] = "conv 3x3 s1x1 p1x1x1x1 d1x1 g1 8x8 bias relu";
constexpr char kDepthwise[] = "depthwise 3x3 s1x1 p1x1x1x1 d1x1 m1 8x8 bias";
constexpr char kLinear[] = "linear r1 bias";
const std::string kOwn(64, 'b');    // NOLINT
const std::string kOther(64, 'c');  // NOLINT

struct Network {
  Graph graph;
  Grouping grouping;
};

Network Analyse(Graph graph) {
  absl::StatusOr<Grouping> grouping = BuildGroups(graph);
  EXPECT_TRUE(grouping.ok()) << grouping.status();
  return {std::move(graph), *std::move(grouping)};
}

// Conv 3 -> 16, depthwise 16, pool, Flatten, linear 16 -> 2; one group of 16.
Network Small() {
  GraphBuilder b;
  const TensorId conv = b.Op("Relu", {b.Conv(b.Input({kDynamic, 3, 8, 8}), 16, 3, 1, "conv")});
  b.Head(b.Conv(conv, 16, 3, 16, "depthwise"));
  return Analyse(b.graph);
}

// What the pool moves.
int64_t SmallBytes(int64_t kept) { return 4 * (64 * kept + kept); }

LatencyTable SmallTable() {
  LatencyTable table = EmptyLatencyTable();
  table.rows = {{kConv, 1, 4, 10},  {kConv, 1, 8, 30},   {kConv, 1, 16, 60}, {kConv, 5, 4, 20},
                {kConv, 5, 8, 50},  {kConv, 5, 16, 100}, {kLinear, 8, 1, 1}, {kLinear, 16, 1, 3},
                {kLinear, 8, 2, 2}, {kLinear, 16, 2, 4}};
  for (const int64_t c : {4, 8, 16}) table.rows.push_back({kDepthwise, c, c, c + 0.25});
  return table;
}

LatencyModel Create(const Network& net, const LatencyTable& table, const std::string& model = "") {
  absl::StatusOr<LatencyModel> created =
      LatencyModel::Create(net.graph, net.grouping, table, model);
  EXPECT_TRUE(created.ok()) << created.status();
  return *std::move(created);
}

TEST(LatencyModelTest, InterpolatesBetweenGridPointsAndIsConstantBelow) {
  const Network net = Small();
  const LatencyModel model = Create(net, SmallTable());
  // The convolution reads 3 channels, in the middle of 1 and 5.
  EXPECT_EQ(model.SumOfLayersUs({16}), (60 + 100) / 2.0 + 16.25 + 4);
  EXPECT_EQ(model.SumOfLayersUs({8}), (30 + 50) / 2.0 + 8.25 + 2);
  EXPECT_EQ(model.SumOfLayersUs({6}), (20 + 35) / 2.0 + 6.25 + 2);  // linear: below its 8
  EXPECT_EQ(model.SumOfLayersUs({10}), (37.5 + 62.5) / 2 + 10.25 + 2.5);
  EXPECT_EQ(model.SumOfLayersUs({4}), 15 + 4.25 + 2);
  EXPECT_EQ(model.SumOfLayersUs({1}), 15 + 4.25 + 2);  // all below
}

TEST(LatencyModelTest, LayersTellChannelsAndTimes) {
  const Network net = Small();
  const LatencyModel model = Create(net, SmallTable());
  const std::vector<LatencyModel::LayerTime> layers = model.Layers({6});
  ASSERT_EQ(layers.size(), 3);
  EXPECT_EQ(net.graph.node(layers[0].node).name, "conv");
  EXPECT_EQ(layers[0].in, 3);
  EXPECT_EQ(layers[0].out, 6);
  EXPECT_EQ(layers[0].us, 27.5);
  EXPECT_EQ(net.graph.node(layers[1].node).name, "depthwise");
  EXPECT_EQ(layers[1].in, 6);
  EXPECT_EQ(layers[1].out, 6);
  EXPECT_EQ(layers[1].us, 6.25);
  EXPECT_EQ(layers[2].in, 6);
  EXPECT_EQ(layers[2].out, 2);
  EXPECT_EQ(layers[2].us, 2);
}

TEST(LatencyModelTest, PredictionOnGridPointsIsTheTableToTheNanosecond) {
  const Network net = Small();
  LatencyTable table = SmallTable();
  for (LatencyRow& row : table.rows) row.in = row.layer == kConv && row.in == 1 ? 3 : row.in;
  table.rows[2].median_us = 12.3;  // conv 3 -> 16
  EXPECT_EQ(Create(net, table).Evaluate({16}), 12'300 + 16'250 + 4'000);
  EXPECT_EQ(Create(net, table).Evaluate({8}), 30'000 + 8'250 + 2'000);
  EXPECT_EQ(Create(net, table).Evaluate({4}), 10'000 + 4'250 + 2'000);
}

TEST(LatencyModelTest, RoundsNanosecondsUp) {
  const Network net = Small();
  LatencyTable table = SmallTable();
  table.fits = {{.constant_us = 0.0001}};  // a tenth of a nanosecond
  EXPECT_EQ(Create(net, table).Evaluate({16}), 100'250 + 1);
  table.fits = {{.constant_us = -0.0001}};
  EXPECT_EQ(Create(net, table).Evaluate({16}), 100'250);
}

TEST(LatencyModelTest, PredictionsAreInRangeWhateverTheFit) {
  const Network net = Small();
  const auto evaluate = [&net](LatencyFit fit) {
    LatencyTable table = SmallTable();
    table.fits = {std::move(fit)};
    return Create(net, table).Evaluate({16});
  };
  EXPECT_EQ(evaluate({.layers = 0}), 1);
  EXPECT_EQ(evaluate({.constant_us = -1e9}), 1);
  EXPECT_EQ(evaluate({.constant_us = 1e300}), int64_t{1} << 62);
  EXPECT_EQ(evaluate({.layers = 1e308, .byte_us = -1e308}), 1);  // infinity less infinity
}

TEST(LatencyModelTest, FitOfTheModelWinsOverTheGeneralOne) {
  const Network net = Small();
  LatencyTable table = SmallTable();
  EXPECT_EQ(Create(net, table, kOwn).fit(), LatencyFit{});
  const LatencyFit general = {.layers = 1.5, .byte_us = 0.001, .constant_us = 7};
  const LatencyFit own = {.model = kOwn, .layers = 2, .byte_us = 0.002, .constant_us = 3};
  table.fits = {own, {.model = kOther, .layers = 9}, general};
  for (int order = 0; order < 2; ++order) {
    EXPECT_EQ(Create(net, table, kOwn).fit(), own);
    EXPECT_EQ(Create(net, table, "").fit(), general);
    EXPECT_EQ(Create(net, table, std::string(64, 'd')).fit(), general);
    std::reverse(table.fits.begin(), table.fits.end());
  }
  const LatencyModel model = Create(net, table, kOwn);
  EXPECT_EQ(model.OtherBytes({16}), SmallBytes(16));
  EXPECT_EQ(model.OtherBytes({5}), SmallBytes(5));
  EXPECT_EQ(model.Evaluate({16}),
            2 * 100'250 + 2 * SmallBytes(16) + 3'000);  // 0.002 us a byte are 2 ns
  table.fits = {{.model = kOther, .layers = 9}};
  EXPECT_EQ(Create(net, table, kOwn).fit(), LatencyFit{});
}

TEST(LatencyModelTest, FunctionIsThePredictionAndNotMonotone) {
  const Network net = Small();
  LatencyTable table = SmallTable();
  table.rows[1].median_us = 500;  // more than with twice the channels
  const LatencyModel model = Create(net, table);
  const std::unique_ptr<CostFunction> function = model.Function();
  EXPECT_FALSE(function->monotone());
  for (const int64_t kept : {1, 8, 11, 16}) {
    EXPECT_EQ(function->Evaluate({kept}), model.Evaluate({kept}));
  }
  EXPECT_GT(function->Evaluate({8}), function->Evaluate({16}));
}

// Exchanges ask for changes by the million: they must neither be slow nor below the truth.
TEST(LatencyModelTest, AChangeIsThePredictionOrANanosecondMore) {
  for (const char* name : {"resnet20", "mobilenetv2"}) {
    const Graph graph = *BuildNetwork(name, {.weightless = true});
    const Grouping grouping = *BuildGroups(graph);
    LatencyTable table = RandomLatencyTable(*ListLatencyLayers(graph, grouping), 5);
    table.fits = {{.layers = 1.07, .byte_us = 1e-5, .channel_us = 0.37, .constant_us = 12.34}};
    const LatencyModel model = *LatencyModel::Create(graph, grouping, table, "");
    const std::unique_ptr<CostFunction> cost = model.Function();
    Rng rng(6);
    std::vector<int64_t> kept;
    for (const PruneGroup& group : grouping.groups) {
      kept.push_back(group.cells *
                     (1 + static_cast<int64_t>(rng.Below(group.channels / group.cells))));
    }
    for (int i = 0; i < 3000; ++i) {
      const auto g = static_cast<size_t>(rng.Below(kept.size()));
      const PruneGroup& group = grouping.groups[g];
      const int64_t count =
          group.cells * (1 + static_cast<int64_t>(rng.Below(group.channels / group.cells)));
      const int64_t changed =
          cost->EvaluateChange(kept, cost->Evaluate(kept), static_cast<int32_t>(g), count);
      kept[g] = count;
      EXPECT_GE(changed, cost->Evaluate(kept)) << name << " group " << g;
      EXPECT_LE(changed, cost->Evaluate(kept) + 1) << name << " group " << g;
    }
  }
}

TEST(LatencyModelTest, LayersThatTheTableLacksAreNotFound) {
  const Network net = Small();
  LatencyTable table = SmallTable();
  table.rows.erase(table.rows.begin(), table.rows.begin() + 6);
  absl::Status status = LatencyModel::Create(net.graph, net.grouping, table, "").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(std::string(status.message()),
            absl::StrCat("the latency table of libtorch 1.13.1 on Test CPU, 2 cores, 1 thread, "
                         "batch 1 lacks the kinds of 1 of 3 layers: Conv conv (",
                         kConv, ")"));

  GraphBuilder b;
  TensorId x = b.Input({kDynamic, 3, 8, 8});
  for (int i = 1; i <= 7; ++i) x = b.Conv(x, 4, 1, 1, absl::StrCat("conv", i));
  b.Output(x);
  const Network deep = Analyse(b.graph);
  status = LatencyModel::Create(deep.graph, deep.grouping, table, "").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("lacks the kinds of 7 of 7 layers: Conv"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("Conv conv5 ("));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("conv6")));
  EXPECT_THAT(std::string(status.message()), HasSubstr("; and 2 more"));
}

TEST(LatencyModelTest, LayersWiderThanTheGridAreOutOfRange) {
  const Network net = Small();
  const auto message = [&net](auto drop) {
    LatencyTable table = SmallTable();
    table.rows.erase(std::remove_if(table.rows.begin(), table.rows.end(), drop), table.rows.end());
    const absl::Status status = LatencyModel::Create(net.graph, net.grouping, table, "").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
    return std::string(status.message());
  };
  EXPECT_THAT(
      message([](const LatencyRow& row) { return row.layer == kConv && row.out == 16; }),
      HasSubstr(absl::StrCat("ends below the channels of 1 of 3 layers: Conv conv has in 3, "
                             "out 16 of at most 5, 8 (",
                             kConv, ")")));
  EXPECT_THAT(message([](const LatencyRow& row) { return row.layer == kConv && row.in == 5; }),
              HasSubstr("Conv conv has in 3, out 16 of at most 1, 16"));
  EXPECT_THAT(message([](const LatencyRow& row) { return row.in == 16; }),
              HasSubstr("of 2 of 3 layers: Conv depthwise has in 16, out 16 of at most 8, 8"));
}

TEST(LatencyModelTest, BadTablesAndGraphsAreInvalid) {
  Network net = Small();
  LatencyTable table = SmallTable();
  table.rows[2].median_us = -1;
  absl::Status status = LatencyModel::Create(net.graph, net.grouping, table, "").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("latency table: row 3: conv 3x3"));
  net.graph.tensor(net.graph.nodes[0].outputs[0]).shape_known = false;
  status = LatencyModel::Create(net.graph, net.grouping, SmallTable(), "").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("Conv conv: the shape of conv_out0"));
}

TEST(LatencyModelTest, OrderOfRowsDoesNotMatter) {
  const Network net = Small();
  LatencyTable table = SmallTable();
  const LatencyModel model = Create(net, table);
  std::reverse(table.rows.begin(), table.rows.end());
  for (int64_t kept = 1; kept <= 16; ++kept) {
    EXPECT_EQ(Create(net, table).Evaluate({kept}), model.Evaluate({kept}));
  }
}

TEST(LatencyModelTest, CountsTooLargeToPrepareAreSearchedFor) {
  GraphBuilder b;
  b.Output(b.Linear(b.Linear(b.Input({kDynamic, 2}), 10000), 2));
  const Network net = Analyse(b.graph);
  LatencyTable table = EmptyLatencyTable();
  for (const int64_t in : {2, 1000, 10000}) {
    for (const int64_t out : {2, 6000, 20000}) {
      table.rows.push_back({kLinear, in, out, 1.0 * static_cast<double>(in * out)});
    }
  }
  const LatencyModel model = Create(net, table);
  for (const int64_t kept : {1, 2, 999, 4096, 4097, 6000, 9999, 10000}) {
    const auto times = model.Layers({kept});  // in * out is bilinear: interpolation is exact
    EXPECT_DOUBLE_EQ(times[0].us, static_cast<double>(2 * std::max<int64_t>(kept, 2))) << kept;
    EXPECT_DOUBLE_EQ(times[1].us, static_cast<double>(2 * std::max<int64_t>(kept, 2))) << kept;
  }
}

// ---- Everything again, by brute force.

// Slots of an axis that are left when every group keeps its first channels.
int64_t SlotsLeft(const Grouping& grouping, TensorId tensor, int dim,
                  const std::vector<int64_t>& kept, int64_t otherwise) {
  for (const ChannelAxis& axis : grouping.axes) {
    if (axis.tensor != tensor || axis.dim != dim) continue;
    return std::count_if(axis.slots.begin(), axis.slots.end(), [&kept](const ChannelRef& slot) {
      return slot.group == ChannelRef::kWhole || slot.index < kept[slot.group];
    });
  }
  return otherwise;
}

// Elements per image of what is left of an activation.
int64_t ElementsLeft(const Network& net, TensorId id, const std::vector<int64_t>& kept) {
  const Shape& shape = net.graph.tensor(id).shape;
  int64_t elements = 1;
  for (size_t d = 1; d < shape.size(); ++d) {
    elements *= SlotsLeft(net.grouping, id, static_cast<int>(d), kept, shape[d]);
  }
  return elements;
}

double Interpolated(const LatencyTable& table, const std::string& kind, int64_t in, int64_t out) {
  std::map<std::pair<int64_t, int64_t>, double> us;
  std::set<int64_t> ins, outs;
  for (const LatencyRow& row : table.rows) {
    if (row.layer != kind) continue;
    us[{row.in, row.out}] = row.median_us;
    ins.insert(row.in);
    outs.insert(row.out);
  }
  const auto around = [](const std::set<int64_t>& points, int64_t count) {
    const auto high = points.lower_bound(count);
    return std::pair(*high == count || high == points.begin() ? *high : *std::prev(high), *high);
  };
  const auto share = [](std::pair<int64_t, int64_t> ends, int64_t count) {
    return ends.first == ends.second ? 0.0
                                     : static_cast<double>(count - ends.first) /
                                           static_cast<double>(ends.second - ends.first);
  };
  const auto i = around(ins, in);
  const double p = share(i, in);
  if (kind.rfind("depthwise ", 0) == 0) {
    return (1 - p) * us.at({i.first, i.first}) + p * us.at({i.second, i.second});
  }
  const auto o = around(outs, out);
  const double q = share(o, out);
  return (1 - p) * (1 - q) * us.at({i.first, o.first}) + p * (1 - q) * us.at({i.second, o.first}) +
         (1 - p) * q * us.at({i.first, o.second}) + p * q * us.at({i.second, o.second});
}

void ExpectAgreesWithBruteForce(const Network& net) {
  const absl::StatusOr<LatencyLayers> listed = ListLatencyLayers(net.graph, net.grouping);
  ASSERT_TRUE(listed.ok()) << listed.status();
  LatencyTable table = RandomLatencyTable(*listed, 11);
  table.fits = {{.layers = 1.25, .byte_us = 0.001, .channel_us = 0.03, .constant_us = 17}};
  const LatencyModel model = Create(net, table);
  const Graph& graph = net.graph;

  Rng rng(5);
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<int64_t> kept;
    for (const PruneGroup& group : net.grouping.groups) {
      const auto steps = static_cast<uint64_t>(group.channels / group.cells);
      kept.push_back(trial == 0 ? group.channels
                                : group.cells * static_cast<int64_t>(1 + rng.Below(steps)));
    }
    // Layers: what they are comes from the listing, how large they are from slots.
    double layers_us = 0;
    int64_t channels = 0;
    std::set<NodeId> in_layers;
    const std::vector<LatencyModel::LayerTime> times = model.Layers(kept);
    ASSERT_EQ(times.size(), listed->layers.size());
    for (size_t l = 0; l < times.size(); ++l) {
      const LatencyLayer& layer = listed->layers[l];
      const Node& node = graph.node(layer.node);
      in_layers.insert({layer.node, layer.batch_norm, layer.activation});
      const TensorId weight = node.inputs[1];
      const Shape& shape = graph.tensor(weight).shape;
      int64_t in = 0, out = 0;
      if (node.op == Op::kConv) {
        const int64_t groups = GetConvParams(graph, node)->groups;
        out = SlotsLeft(net.grouping, weight, 0, kept, shape[0]);
        in = layer.depthwise ? SlotsLeft(net.grouping, node.inputs[0], 1, kept, shape[0])
                             : SlotsLeft(net.grouping, weight, 1, kept, shape[1] * groups);
        if (layer.depthwise) out = in;
      } else {
        const int in_dim = GetGemmParams(graph, node)->trans_b ? 1 : 0;
        in = SlotsLeft(net.grouping, weight, in_dim, kept, shape[in_dim]);
        out = SlotsLeft(net.grouping, weight, 1 - in_dim, kept, shape[1 - in_dim]);
      }
      EXPECT_EQ(times[l].node, layer.node);
      EXPECT_EQ(times[l].in, in) << NodeLabel(graph, node);
      EXPECT_EQ(times[l].out, out) << NodeLabel(graph, node);
      const double us = Interpolated(table, layer.kind, in, out);
      EXPECT_NEAR(times[l].us, us, 1e-9 * us) << layer.kind;
      layers_us += us;
      channels += out;
    }
    int64_t bytes = 0;
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      const Node& node = graph.nodes[n];
      if (in_layers.count(graph.node_id(n)) != 0 || node.op == Op::kFlatten) continue;
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (!graph.tensor(node.inputs[i]).is_constant) {
          bytes += 4 * ElementsLeft(net, node.inputs[i], kept);
        }
      }
      for (const TensorId id : node.outputs) bytes += 4 * ElementsLeft(net, id, kept);
    }
    EXPECT_EQ(model.OtherBytes(kept), bytes);
    EXPECT_EQ(model.ChannelsMade(kept), channels);
    EXPECT_NEAR(model.SumOfLayersUs(kept), layers_us, 1e-9 * layers_us);
    const double us = 1.25 * layers_us + 0.001 * static_cast<double>(bytes) +
                      0.03 * static_cast<double>(channels) + 17;
    EXPECT_NEAR(static_cast<double>(model.Evaluate(kept)), us * 1e3 + 0.5, 0.51 + us * 1e-6);
  }
}

TEST(LatencyModelTest, AgreesWithBruteForceOnZooNetworks) {
  for (const char* name : {"resnet56", "mobilenetv2", "vgg-small"}) {
    SCOPED_TRACE(name);
    absl::StatusOr<Graph> graph = BuildNetwork(name, {.weightless = true});
    ASSERT_TRUE(graph.ok()) << graph.status();
    ExpectAgreesWithBruteForce(Analyse(*std::move(graph)));
  }
}

TEST(LatencyModelTest, AgreesWithBruteForceOnGroupedAndMultipliedConvolutions) {
  GraphBuilder b;
  const TensorId wide = b.Conv(b.Input({kDynamic, 3, 8, 8}), 24);
  const TensorId grouped = b.Op("Clip", {b.BatchNorm(b.Conv(wide, 36, 3, 2))});
  const TensorId again = b.Conv(grouped, 24, 3, 4);
  const TensorId multiplied = b.Conv(b.Op("Add", {again, wide}), 48, 3, 24);
  const TensorId joined = b.Op("Concat", {multiplied, grouped}, {{"axis", int64_t{1}}});
  b.Output(b.Linear(b.Op("Flatten", {b.Op("Sigmoid", {b.Conv(joined, 6)})}), 5));
  const Network net = Analyse(b.graph);
  const bool has_cells = std::any_of(net.grouping.groups.begin(), net.grouping.groups.end(),
                                     [](const PruneGroup& group) { return group.cells > 1; });
  EXPECT_TRUE(has_cells);
  ExpectAgreesWithBruteForce(net);
}

}  // namespace
}  // namespace amc
