// Damaged ONNX files: truncated, with wrong bits and bytes, with extreme numbers. Import must end
// with a Status whatever comes; under AddressSanitizer this finds reads past the end.
#include <algorithm>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "env/graph/onnx_export.h"
#include "env/graph/onnx_import.h"
#include "gtest/gtest.h"
#include "onnx/onnx_pb.h"
#include "tests/env/graph/onnx_builder.h"

namespace amc {
namespace {

using ::amc::testing::AddInitializerInts;
using ::amc::testing::AddInts;
using ::amc::testing::AddNode;
using ::amc::testing::ModelWithReshape;

std::string SmallBytes() {
  onnx::ModelProto model = ModelWithReshape("batch", {0, -1});
  AddInitializerInts(model, "pads", {0, 0, 1, 1, 0, 0, 1, 1});
  AddNode(model, "Pad", "pad", {"r", "pads"}, {"padded"});
  AddInitializerInts(model, "starts", {1});
  AddInitializerInts(model, "ends", {5});
  AddInitializerInts(model, "axes", {2});
  AddNode(model, "Slice", "slice", {"padded", "starts", "ends", "axes"}, {"sliced"});
  AddNode(model, "Shape", "shape", {"sliced"}, {"sizes"});
  AddInitializerInts(model, "zero", {0});
  AddInitializerInts(model, "rest", {-1});
  AddNode(model, "Gather", "gather", {"sizes", "zero"}, {"count"});
  auto* axis = AddNode(model, "Concat", "concat", {"count", "rest"}, {"joined"})->add_attribute();
  axis->set_name("axis");
  axis->set_type(onnx::AttributeProto::INT);
  axis->set_i(0);
  AddNode(model, "Reshape", "reshape", {"sliced", "joined"}, {"flat"});
  AddInts(AddNode(model, "MaxPool", "pool", {"padded"}, {"pooled"}), "kernel_shape", {2, 2});
  return model.SerializeAsString();
}

// Import must end with a graph that can be exported or with a message. Returns whether it did with
// the former, so that tests can see that their damage is not all caught at the door.
bool Survives(const std::string& bytes) {
  const absl::StatusOr<Graph> graph = ImportOnnx(bytes);
  if (!graph.ok()) {
    EXPECT_FALSE(graph.status().message().empty());
    return false;
  }
  const absl::StatusOr<std::string> exported = ExportOnnx(*graph);
  EXPECT_TRUE(exported.ok()) << exported.status();
  return true;
}

TEST(OnnxDamageTest, TheModelToBeDamagedIsSound) {
  const absl::StatusOr<Graph> graph = ImportOnnx(SmallBytes());
  ASSERT_TRUE(graph.ok()) << graph.status();
  for (const Node& node : graph->nodes) {
    EXPECT_NE(node.op, Op::kUnknown) << NodeLabel(*graph, node);
  }
}

TEST(OnnxDamageTest, EveryTruncationGivesAStatus) {
  const std::string bytes = SmallBytes();
  for (size_t size = 0; size < bytes.size(); size += 1 + size / 200) {
    Survives(bytes.substr(0, size));
  }
}

TEST(OnnxDamageTest, FlippedBitsGiveAStatus) {
  const std::string original = SmallBytes();
  Rng rng(1);
  int survivors = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string bytes = original;
    const uint64_t flips = 1 + rng.Below(3);
    for (uint64_t i = 0; i < flips; ++i) {
      bytes[rng.Below(bytes.size())] ^= static_cast<char>(1 << rng.Below(8));
    }
    survivors += Survives(bytes);
  }
  EXPECT_GT(survivors, 100);
}

// Everything but the weights, where most bytes are and the least can go wrong.
TEST(OnnxDamageTest, WrongBytesInTheStructureGiveAStatus) {
  const std::string original = SmallBytes();
  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(original));
  std::vector<bool> is_weight(original.size(), false);
  for (const auto& tensor : model.graph().initializer()) {
    const std::string payload(reinterpret_cast<const char*>(tensor.float_data().data()),
                              sizeof(float) * static_cast<size_t>(tensor.float_data_size()));
    if (payload.empty()) continue;
    const size_t at = original.find(payload);
    if (at != std::string::npos) std::fill_n(is_weight.begin() + at, payload.size(), true);
  }
  ASSERT_GT(std::count(is_weight.begin(), is_weight.end(), true), 3000);
  Rng rng(2);
  int survivors = 0;
  for (int round = 0; round < 6000; ++round) {
    const uint64_t at = rng.Below(original.size());
    if (is_weight[at]) continue;
    std::string bytes = original;
    bytes[at] = static_cast<char>(rng.Below(256));
    survivors += Survives(bytes);
  }
  EXPECT_GT(survivors, 100);
}

// Integers of all sizes in all integer fields.
TEST(OnnxDamageTest, ExtremeIntegersGiveAStatus) {
  const std::vector<int64_t> extremes = {std::numeric_limits<int64_t>::min(),
                                         std::numeric_limits<int64_t>::max(),
                                         int64_t{1} << 32,
                                         -(int64_t{1} << 31),
                                         -1,
                                         0,
                                         2};
  Rng rng(3);
  const auto pick = [&] { return extremes[rng.Below(extremes.size())]; };
  onnx::ModelProto original;
  ASSERT_TRUE(original.ParseFromString(SmallBytes()));
  int survivors = 0;
  for (int round = 0; round < 3000; ++round) {
    onnx::ModelProto model = original;
    for (auto& tensor : *model.mutable_graph()->mutable_initializer()) {
      for (auto& value : *tensor.mutable_int64_data()) {
        if (rng.Below(6) == 0) value = pick();
      }
    }
    for (auto& node : *model.mutable_graph()->mutable_node()) {
      const bool has_window = node.op_type() == "Conv" || node.op_type() == "MaxPool";
      if (has_window && rng.Below(2) == 0) AddInts(&node, "strides", {1, 1});
      if (has_window && rng.Below(2) == 0) AddInts(&node, "pads", {1, 1, 1, 1});
      for (auto& attribute : *node.mutable_attribute()) {
        for (auto& value : *attribute.mutable_ints()) {
          if (rng.Below(4) == 0) value = pick();
        }
      }
    }
    survivors += Survives(model.SerializeAsString());
  }
  EXPECT_GT(survivors, 20);
}

}  // namespace
}  // namespace amc
