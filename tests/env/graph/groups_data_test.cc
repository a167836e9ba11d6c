// Groups of networks that PyTorch's exporter wrote: shortcuts by strided slices and channel pads.
#include <algorithm>

#include "env/graph/groups.h"
#include "env/graph/onnx_import.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/test_data.h"

namespace amc {
namespace {

using ::testing::ElementsAre;

struct Case {
  const char* file;
  size_t blocks;
};

class CifarResNetGroupsTest : public ::testing::TestWithParam<Case> {};

TEST_P(CifarResNetGroupsTest, ResidualPathIsThreeGroups) {
  AMC_TEST_DATA_OR_SKIP(path, std::string("models/") + GetParam().file);
  const absl::StatusOr<Graph> graph = LoadOnnx(path);
  ASSERT_TRUE(graph.ok()) << graph.status();
  const absl::StatusOr<Grouping> grouping = BuildGroups(*graph);
  ASSERT_TRUE(grouping.ok()) << grouping.status();
  std::vector<int64_t> residual;
  for (const PruneGroup& group : grouping->groups) {
    if (group.producers.size() > 1) residual.push_back(group.channels);
  }
  EXPECT_THAT(residual, ElementsAre(16, 16, 32));
  EXPECT_EQ(grouping->groups.size(), GetParam().blocks + 3);
  // Only the image's and the logits' channels stay whole.
  EXPECT_EQ(grouping->barriers.size(), 2);
  // The linear layer reads all 64 features: channel i of the first stage is feature i + 24.
  for (const Node& node : graph->nodes) {
    if (node.op != Op::kGemm) continue;
    const ChannelAxis* axis = grouping->FindAxis(node.inputs[1], 1);
    ASSERT_NE(axis, nullptr);
    ASSERT_EQ(axis->slots.size(), 64);
    const ChannelRef first = axis->slots[24];
    EXPECT_EQ(grouping->groups[first.group].consumers.size(), 1 + GetParam().blocks);
    for (int32_t i = 0; i < 16; ++i) {
      EXPECT_EQ(axis->slots[24 + i], (ChannelRef{first.group, i}));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shared, CifarResNetGroupsTest,
                         ::testing::Values(Case{"resnet20-cifar10.onnx", 9},
                                           Case{"resnet20-cifar10-folded.onnx", 9},
                                           Case{"resnet56-cifar10.onnx", 27},
                                           Case{"resnet56-cifar10-folded.onnx", 27}));

}  // namespace
}  // namespace amc
