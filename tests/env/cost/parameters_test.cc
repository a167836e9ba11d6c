// Which layers a cost is counted from, and which it has to leave out.
#include "env/cost/parameters.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Names(const Graph& graph, const std::vector<NodeId>& nodes) {
  std::vector<std::string> names;
  for (const NodeId id : nodes) names.push_back(graph.node(id).name);
  return names;
}

TEST(UncountedLayersTest, NoneInAnOrdinaryNetwork) {
  GraphBuilder builder;
  builder.Head(builder.BatchNorm(builder.Conv(builder.Input({1, 3, 8, 8}), 4)));
  EXPECT_THAT(UncountedLayers(builder.graph), IsEmpty());
}

TEST(UncountedLayersTest, ProductsOfTwoActivations) {
  GraphBuilder builder;
  const TensorId x = builder.Input({1, 4, 4});
  const TensorId query = builder.Op("MatMul", {x, builder.Floats({4, 4})}, {}, "query");
  builder.Output(builder.Op("MatMul", {query, x}, {}, "attention"));
  EXPECT_THAT(Names(builder.graph, UncountedLayers(builder.graph)), ElementsAre("attention"));
}

TEST(UncountedLayersTest, WhatFollowsAnUnknownShapeAndUnknownLayers) {
  GraphBuilder builder;
  const TensorId upsampled = builder.Op(
      "ConvTranspose", {builder.Input({1, 3, 8, 8}), builder.Floats({3, 4, 2, 2})}, {}, "up");
  const TensorId mystery = builder.Op("Mystery", {upsampled}, {}, "mystery");
  builder.Output(mystery);
  Node after;  // as importing leaves it: its input has no shape
  after.name = "after";
  after.op_type = "Conv";
  after.inputs = {mystery, builder.Floats({4, 4, 1, 1})};
  builder.graph.nodes[Index(builder.graph.AddNode(std::move(after)))].op = Op::kUnknown;
  EXPECT_THAT(Names(builder.graph, UncountedLayers(builder.graph)), ElementsAre("up", "after"));
}

}  // namespace
}  // namespace amc
