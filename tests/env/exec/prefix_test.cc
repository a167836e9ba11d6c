// Networks that start at a cut: where they may, what is kept for them, and that it shows nowhere.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "env/exec/evaluate.h"
#include "env/exec/prefix_cache.h"
#include "env/exec/prefix_caches.h"
#include "env/exec/prefix_plan.h"
#include "env/graph/zoo.h"
#include "env/prune/surgery.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"
#include "tests/env/prune/random_pack.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::amc::testing::RandomPack;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kPlenty = int64_t{1} << 40;
constexpr int64_t kImages = 6;

// Conv, batch norm, ReLU twice with a residual connection around the second, a pool, a linear
// layer. Nodes: 0 Conv, 1 BN, 2 Relu, 3 Conv, 4 BN, 5 Add, 6 Relu, 7 pool, 8 Flatten, 9 Gemm.
struct Residual {
  Residual() {
    x = builder.Input({kDynamic, 3, 8, 8});
    a = builder.Op("Relu", {builder.BatchNorm(builder.Conv(x, 4))});
    b = builder.BatchNorm(builder.Conv(a, 4));
    sum = builder.Op("Add", {b, a});
    builder.Head(builder.Op("Relu", {sum}));
  }
  GraphBuilder builder;
  TensorId x, a, b, sum;
};

void Double(Graph& graph, TensorId id) {
  std::vector<float> values = *Values<float>(graph, id);
  for (float& value : values) value *= 2;
  graph.tensor(id) = MakeFloats(graph.tensor(id).name, graph.tensor(id).shape, values);
}

TEST(CommonPrefixTest, EndsAtTheFirstNodeWithAnotherConstantOrAttribute) {
  const Graph graph = Residual().builder.graph;
  EXPECT_EQ(CommonPrefix(graph, graph), graph.nodes.size());
  for (const size_t node : {size_t{0}, size_t{3}, size_t{9}}) {
    Graph changed = graph;
    Double(changed, changed.nodes[node].inputs[1]);
    EXPECT_EQ(CommonPrefix(graph, changed), node);
    Double(changed, changed.nodes[9].inputs[2]);  // a later one does not matter
    EXPECT_EQ(CommonPrefix(graph, changed), node);
  }
  Graph copied = graph;  // other buffers, the same bytes
  Tensor& weight = copied.tensor(copied.nodes[0].inputs[1]);
  weight.data = std::make_shared<const Buffer>(*weight.data);
  EXPECT_EQ(CommonPrefix(graph, copied), graph.nodes.size());
  Graph attribute = graph;
  attribute.nodes[3].attributes["group"] = int64_t{2};
  EXPECT_EQ(CommonPrefix(graph, attribute), 3u);
  Graph shorter = graph;
  shorter.nodes.pop_back();
  EXPECT_EQ(CommonPrefix(graph, shorter), 0u);
}

TEST(CommonPrefixTest, ABatchNormTakesTheLayerAlongThatItMayBeFoldedInto) {
  const Graph graph = Residual().builder.graph;
  for (const size_t input : {1, 2, 3, 4}) {
    Graph changed = graph;
    Double(changed, changed.nodes[4].inputs[input]);
    EXPECT_EQ(CommonPrefix(graph, changed), 3u) << input;
  }
}

TEST(FirstNodesTest, AreWhereNetworksWithOneShorterGroupFirstDiffer) {
  for (const std::string name : {"resnet20", "vgg16", "mobilenetv2"}) {
    const Graph graph = BuildNetwork(name, {}).value();
    const Grouping grouping = BuildGroups(graph).value();
    std::vector<size_t> expected;
    for (size_t g = 0; g < grouping.groups.size(); ++g) {
      std::vector<int64_t> kept;
      for (const PruneGroup& group : grouping.groups) kept.push_back(group.channels);
      kept[g] /= 2;
      const Graph shrunk = Shrink(graph, grouping, KeepFirst(grouping, kept)).value();
      Grouping alone;
      alone.groups.push_back(grouping.groups[g]);
      expected.push_back(CommonPrefix(graph, shrunk));
      EXPECT_THAT(FirstNodes(alone), ElementsAre(expected.back()))
          << name << " " << grouping.groups[g].name;
    }
    std::sort(expected.begin(), expected.end());
    expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
    EXPECT_EQ(FirstNodes(grouping), expected) << name;
  }
}

TEST(PrefixPlanTest, KnowsWhatIsAlive) {
  const Residual net;
  const std::vector<size_t> cuts = {3, 5, 6, 7};
  const PrefixPlan plan(net.builder.graph, cuts, 1, kPlenty);
  EXPECT_THAT(plan.cuts(), ElementsAre(3, 5, 6, 7));
  EXPECT_THAT(plan.alive(3), ElementsAre(net.a));
  EXPECT_THAT(plan.alive(5), ElementsAre(net.a, net.b));
  EXPECT_THAT(plan.alive(6), ElementsAre(net.sum));
  EXPECT_EQ(plan.kept().size(), 4u);
  EXPECT_EQ(plan.StartWithin(2), 0u);
  EXPECT_EQ(plan.StartWithin(3), 3u);
  EXPECT_EQ(plan.StartWithin(4), 3u);
  EXPECT_EQ(plan.StartWithin(10), 7u);
}

TEST(PrefixPlanTest, FillsItsMemoryFromTheLatestCutBackwards) {
  const Residual net;
  const Graph& graph = net.builder.graph;
  const std::vector<size_t> cuts = {3, 5, 6};
  // One activation of 5 images: 4 x 8 x 8 values of 4 bytes each. Cut 5 needs two of them, and
  // then cut 3 nothing more.
  const int64_t one = 5 * 4 * 8 * 8 * 4;
  EXPECT_THAT(PrefixPlan(graph, cuts, 5, one - 1).cuts(), IsEmpty());
  EXPECT_THAT(PrefixPlan(graph, cuts, 5, one).cuts(), ElementsAre(6));
  EXPECT_THAT(PrefixPlan(graph, cuts, 5, 2 * one).cuts(), ElementsAre(3, 6));
  EXPECT_THAT(PrefixPlan(graph, cuts, 5, 3 * one).cuts(), ElementsAre(3, 5, 6));
  EXPECT_THAT(PrefixPlan(graph, cuts, 6, 3 * one).cuts(), ElementsAre(3, 6));
  EXPECT_THAT(PrefixPlan(graph, cuts, 0, kPlenty).cuts(), IsEmpty());
}

TEST(PrefixPlanTest, LeavesOutWhatItCannotKeep) {
  Residual net;
  const std::vector<size_t> cuts = {0, 3, 6, 99};
  EXPECT_THAT(PrefixPlan(net.builder.graph, cuts, 1, kPlenty).cuts(), ElementsAre(3, 6));
  net.builder.graph.tensor(net.sum).shape_known = false;
  EXPECT_THAT(PrefixPlan(net.builder.graph, cuts, 1, kPlenty).cuts(), ElementsAre(3));
  net.builder.graph.tensor(net.x).shape[0] = 1;  // batches of one image and no other
  EXPECT_THAT(PrefixPlan(net.builder.graph, cuts, 1, kPlenty).cuts(), IsEmpty());
  GraphBuilder late;  // reads the input again at node 1
  const TensorId x = late.Input({kDynamic, 3, 8, 8});
  late.Head(late.Op("Add", {late.Op("Relu", {x}), x}));
  EXPECT_THAT(PrefixPlan(late.graph, {1, 2}, 1, kPlenty).cuts(), ElementsAre(2));
}

// What Evaluate gives, logits included.
struct Figures {
  Quality quality;
  std::vector<float> logits;
};

Figures Measure(const Graph& graph, const DataPack& pack, const ExecOptions& exec,
                const PrefixStart& start) {
  Figures figures;
  EvaluateOptions options;
  options.exec = exec;
  options.max_images = kImages;
  options.start = start;
  options.logits = &figures.logits;
  const absl::StatusOr<Quality> quality = Evaluate(graph, pack, Split::kReward, options);
  EXPECT_TRUE(quality.ok()) << quality.status();
  if (quality.ok()) figures.quality = *quality;
  return figures;
}

class PrefixCacheTest : public ::testing::TestWithParam<const char*> {};

TEST_P(PrefixCacheTest, ARunFromACutGivesTheBitsOfAWholeRun) {
  ZooOptions zoo;
  zoo.height = zoo.width = 32;
  const Graph graph = BuildNetwork(GetParam(), zoo).value();
  const Grouping grouping = BuildGroups(graph).value();
  const RandomPack pack(kImages + 3, 3, 32, 10);
  for (const bool fold : {true, false}) {
    const ExecOptions exec = {.batch_size = 4, .fold_batch_norm = fold};
    PrefixCache cache(graph, FirstNodes(grouping), pack, Split::kReward, kImages, exec, kPlenty);
    size_t started = 0;
    const size_t step = 1 + grouping.groups.size() / 6;
    for (size_t pass = 0; pass < 2; ++pass) {  // the second time nothing has worn off
      for (size_t g = 0; g < grouping.groups.size(); g += step) {
        std::vector<int64_t> kept;
        for (const PruneGroup& group : grouping.groups) kept.push_back(group.channels);
        kept[g] /= 2;
        const Graph shrunk = Shrink(graph, grouping, KeepFirst(grouping, kept)).value();
        const absl::StatusOr<PrefixStart> start = cache.StartOf(shrunk);
        ASSERT_TRUE(start.ok()) << start.status();
        EXPECT_EQ(start->node, CommonPrefix(graph, shrunk));  // there is memory for all
        if (start->cache != nullptr) ++started;
        const Figures whole = Measure(shrunk, pack, exec, {});
        const Figures resumed = Measure(shrunk, pack, exec, *start);
        EXPECT_EQ(resumed.logits, whole.logits) << grouping.groups[g].name;
        EXPECT_EQ(resumed.quality.loss, whole.quality.loss);
      }
    }
    EXPECT_GT(started, 3u);
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, PrefixCacheTest, ::testing::Values("resnet20", "mobilenetv2"));

TEST(PrefixCacheCutTest, MayLieBetweenALayerAndWhatWritesOverItsOutput) {
  // At cut 6 the sum is alive, whose only reader is the ReLU there; at cut 4 the output of a
  // convolution, which its folded batch norm passes on to another.
  GraphBuilder b;
  TensorId x = b.Conv(b.Input({kDynamic, 3, 8, 8}), 4);
  const TensorId a = b.Op("Relu", {x});
  x = b.Op("Relu", {b.BatchNorm(b.Conv(a, 4))});
  b.Head(b.Op("Relu", {b.Op("Add", {x, a})}));  // nodes 5 and 6
  const RandomPack pack(kImages, 3, 8, 2);
  Graph changed = b.graph;
  Double(changed, changed.nodes.back().inputs[1]);
  for (const size_t cut : {3, 4, 6}) {
    PrefixCache cache(b.graph, {cut}, pack, Split::kReward, kImages, {}, kPlenty);
    const PrefixStart start = cache.StartOf(changed).value();
    ASSERT_EQ(start.node, cut);
    const Figures whole = Measure(changed, pack, {}, {});
    for (int pass = 0; pass < 3; ++pass) {
      EXPECT_EQ(Measure(changed, pack, {}, start).logits, whole.logits) << cut;
    }
  }
}

// Counts the images that are read.
class CountingPack : public RandomPack {
 public:
  using RandomPack::RandomPack;
  std::vector<float> Images(Split split, int64_t first, int64_t count) const override {
    read_ += count;
    return RandomPack::Images(split, first, count);
  }
  int64_t TakeRead() const { return std::exchange(read_, 0); }

 private:
  mutable int64_t read_ = 0;
};

TEST(PrefixCachesTest, KeepTheLastUsedOnesThatFitTogether) {
  const Graph graph = Residual().builder.graph;
  Graph early = graph, late = graph;
  Double(early, early.nodes[0].inputs[1]);
  Double(late, late.nodes[9].inputs[1]);
  constexpr int64_t kBytes = 4 * 8 * 8 * 4;  // of one image before the second convolution
  constexpr int64_t kMost = 14 * kBytes;
  const CountingPack pack(8, 3, 8, 2);
  PrefixCaches caches(graph, {3}, pack, Split::kReward, {}, kMost);
  const auto read_for = [&](const Graph& changed, int64_t images) {
    const absl::StatusOr<PrefixStart> start = caches.StartOf(changed, images);
    EXPECT_TRUE(start.ok()) << start.status();
    EXPECT_EQ(start->cache != nullptr, &changed == &late);
    EXPECT_TRUE(start->cache == nullptr || start->cache->images() == images);
    EXPECT_LE(caches.bytes(), kMost);
    return pack.TakeRead();
  };
  EXPECT_EQ(read_for(late, 6), 6);
  EXPECT_EQ(read_for(late, 4), 4);
  EXPECT_EQ(caches.bytes(), 10 * kBytes);
  EXPECT_EQ(read_for(late, 6), 0);
  EXPECT_EQ(read_for(early, 4), 0);  // starts nowhere, which is no use of it
  EXPECT_EQ(read_for(early, 8), 0);  // and pushes nothing out
  EXPECT_EQ(caches.bytes(), 10 * kBytes);
  EXPECT_EQ(read_for(late, 8), 8);  // 18 do not fit: without the 4
  EXPECT_EQ(caches.bytes(), 14 * kBytes);
  EXPECT_EQ(read_for(late, 6), 0);
  EXPECT_EQ(read_for(late, 4), 4);  // without the 8
  EXPECT_EQ(caches.bytes(), 10 * kBytes);
  EXPECT_EQ(read_for(late, 6), 0);
}

TEST(PrefixCacheRefusalTest, NamesBothNumbersOfImages) {
  const Residual net;
  const RandomPack pack(20, 3, 8, 2);
  PrefixCache cache(net.builder.graph, {3}, pack, Split::kReward, 7, {}, kPlenty);
  EvaluateOptions options;
  options.max_images = 8;
  options.start = cache.StartOf(net.builder.graph).value();
  const absl::Status status = Evaluate(net.builder.graph, pack, Split::kReward, options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()), "activations of 7 images are kept, 8 are asked for");
}

}  // namespace
}  // namespace amc
