#include "env/exec/layer_inputs.h"

#include <vector>

#include "env/exec/network.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

TEST(LayerInputsTest, TheFirstLayerReadsTheImageAndTheLastWhatTheRestMakes) {
  const Graph graph = BuildNetwork("plain20", {.height = 8, .width = 8, .seed = 1}).value();
  const NodeId first = graph.node_id(0), last = graph.node_id(graph.nodes.size() - 1);
  ASSERT_EQ(graph.node(last).op, Op::kGemm);
  std::vector<float> image(3 * 8 * 8);
  for (size_t i = 0; i < image.size(); ++i) image[i] = static_cast<float>(i % 7) - 3;
  const auto inputs = LayerInputs(graph, {first, last}, image, {});
  ASSERT_TRUE(inputs.ok()) << inputs.status();
  EXPECT_EQ(inputs->at(first), image);
  const std::vector<float>& features = inputs->at(last);
  ASSERT_EQ(features.size(), 64u);

  // What the last layer makes of them is the network's output.
  const std::vector<float> logits = Network::Create(graph, {}).value()->Run(image, 1).value();
  const std::vector<float> weight = Values<float>(graph, graph.node(last).inputs[1]).value();
  const std::vector<float> bias = Values<float>(graph, graph.node(last).inputs[2]).value();
  for (size_t o = 0; o < logits.size(); ++o) {
    double sum = bias[o];
    for (size_t i = 0; i < features.size(); ++i)
      sum += weight[o * features.size() + i] * features[i];
    EXPECT_NEAR(logits[o], sum, 1e-4 * (1 + std::abs(sum)));
  }
}

TEST(LayerInputsTest, RefusesAnImageOfAnotherSize) {
  const Graph graph = BuildNetwork("plain20", {}).value();
  EXPECT_THAT(LayerInputs(graph, {}, std::vector<float>(5), {}).status().message(),
              HasSubstr("an image of 5 values, want 3072 (1x3x32x32)"));
}

}  // namespace
}  // namespace amc
