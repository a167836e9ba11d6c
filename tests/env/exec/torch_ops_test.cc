// Every operator against values from its ONNX definition: small ones by hand, convolutions and
// pools by brute force.
#include "env/exec/torch_ops.h"

#include <algorithm>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/exec/run_graph.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::Attributes;
using ::amc::testing::Counting;
using ::amc::testing::ExpectNear;
using ::amc::testing::GraphBuilder;
using ::amc::testing::Noise;
using ::amc::testing::RunGraph;
using ::testing::HasSubstr;
using Ints = std::vector<int64_t>;
using Floats = std::vector<float>;

// The output of one node whose first input is `values` of shape `shape`.
Floats RunOp(const std::string& op, const Shape& shape, const Floats& values,
             const Attributes& attributes = {}, const std::vector<Ints>& int_inputs = {},
             int64_t opset = 13) {
  GraphBuilder builder(opset);
  std::vector<TensorId> inputs = {builder.Input(shape)};
  for (const Ints& ints : int_inputs) inputs.push_back(builder.Ints(ints));
  builder.Output(builder.Op(op, inputs, attributes));
  return RunGraph(builder.graph, values, shape[0]);
}

TEST(TorchOpsTest, Activations) {
  const Floats x = {-4, -1, 0, 1, 4};
  const Shape shape = {1, 5};
  ExpectNear(RunOp("Relu", shape, x), {0, 0, 0, 1, 4});
  ExpectNear(RunOp("LeakyRelu", shape, x, {{"alpha", 0.5F}}), {-2, -0.5, 0, 1, 4});
  ExpectNear(RunOp("LeakyRelu", shape, x), {-0.04F, -0.01F, 0, 1, 4});
  ExpectNear(RunOp("Sigmoid", shape, x),
             {0.01798621F, 0.26894142F, 0.5F, 0.73105858F, 0.98201379F});
  ExpectNear(RunOp("HardSigmoid", shape, x), {0, 0.3F, 0.5F, 0.7F, 1});
  ExpectNear(RunOp("HardSigmoid", shape, x, {{"alpha", 0.1F}, {"beta", 0.2F}}),
             {0, 0.1F, 0.2F, 0.3F, 0.6F});
  ExpectNear(RunOp("HardSwish", shape, x, {}, {}, 14), {0, -1.0F / 3, 0, 2.0F / 3, 4});
  ExpectNear(RunOp("Identity", shape, x), x);
  ExpectNear(RunOp("Dropout", shape, x), x);
}

TEST(TorchOpsTest, ClipReadsItsBoundsFromInputsOrAttributes) {
  ExpectNear(RunOp("Clip", {1, 3}, {-1, 3, 9}, {{"min", 0.0F}, {"max", 6.0F}}, {}, 6), {0, 3, 6});
  GraphBuilder builder;
  const TensorId x = builder.Input({1, 3});
  const TensorId max = builder.graph.AddTensor(MakeFloats("max", {}, {2.0F}));
  builder.Output(builder.Op("Clip", {x, TensorId::kNone, max}));
  ExpectNear(RunGraph(builder.graph, {-1, 1, 9}), {-1, 1, 2});
}

TEST(TorchOpsTest, ArithmeticBroadcasts) {
  for (const auto& [op, expected] : {std::pair<std::string, Floats>{"Add", {11, 12, 23, 24}},
                                     {"Sub", {-9, -8, -17, -16}},
                                     {"Mul", {10, 20, 60, 80}}}) {
    GraphBuilder builder;
    const TensorId x = builder.Input({1, 2, 1, 2});
    const TensorId c = builder.graph.AddTensor(MakeFloats("c", {2, 1, 1}, {10.0F, 20.0F}));
    builder.Output(builder.Op(op, {x, c}));
    ExpectNear(RunGraph(builder.graph, Counting(4)), expected);
  }
}

TEST(TorchOpsTest, BatchNormalizationUsesRunningStatistics) {
  GraphBuilder builder;
  const TensorId x = builder.Input({1, 2, 1, 1});
  const auto constant = [&](const std::string& name, const Floats& values) {
    return builder.graph.AddTensor(MakeFloats(name, {2}, values));
  };
  builder.Output(builder.Op("BatchNormalization",
                            {x, constant("scale", {2, 3}), constant("shift", {1, -1}),
                             constant("mean", {5, 1}), constant("variance", {3, 15})},
                            {{"epsilon", 1.0F}}));
  ExpectNear(RunGraph(builder.graph, {9, 5}), {5, 2});  // 2 (9 - 5) / 2 + 1, 3 (5 - 1) / 4 - 1
}

TEST(TorchOpsTest, ShapesAndOrder) {
  const Floats x = Counting(12);
  ExpectNear(RunOp("Flatten", {1, 3, 2, 2}, x), x);
  ExpectNear(RunOp("Transpose", {1, 2, 3}, Counting(6), {{"perm", Ints{0, 2, 1}}}),
             {1, 4, 2, 5, 3, 6});
  ExpectNear(RunOp("Reshape", {1, 3, 2, 2}, x, {}, {{0, -1}}), x);
  ExpectNear(RunOp("Squeeze", {1, 2, 1, 3}, Counting(6), {}, {{2}}), Counting(6));
  ExpectNear(RunOp("Unsqueeze", {1, 3}, Counting(3), {}, {{1, 3}}), Counting(3));
}

TEST(TorchOpsTest, FlattenOfAStridedActivationKeepsChannelOrder) {
  GraphBuilder builder;
  const TensorId x = builder.Input({1, 2, 2, 2});
  const TensorId identity =
      builder.graph.AddTensor(MakeFloats("w", {2, 2, 1, 1}, {1.0F, 0.0F, 0.0F, 1.0F}));
  builder.Output(builder.Op("Flatten", {builder.Op("Conv", {x, identity})}));
  ExpectNear(RunGraph(builder.graph, Counting(8)), Counting(8));
}

TEST(TorchOpsTest, ConcatAndSplitAreInverse) {
  GraphBuilder builder;
  const TensorId x = builder.Input({1, 4, 1, 2});
  const std::vector<TensorId> parts =
      builder.Ops("Split", {x, builder.Ints({1, 3})}, 2, {{"axis", int64_t{1}}});
  builder.Output(builder.Op("Concat", {parts[1], parts[0]}, {{"axis", int64_t{1}}}));
  ExpectNear(RunGraph(builder.graph, Counting(8)), {3, 4, 5, 6, 7, 8, 1, 2});
}

TEST(TorchOpsTest, Means) {
  ExpectNear(RunOp("GlobalAveragePool", {1, 2, 2, 2}, Counting(8)), {2.5F, 6.5F});
  ExpectNear(RunOp("ReduceMean", {1, 2, 2, 2}, Counting(8), {{"axes", Ints{1}}}), {3, 4, 5, 6});
  ExpectNear(RunOp("ReduceMean", {1, 2, 2, 2}, Counting(8),
                   {{"axes", Ints{2, 3}}, {"keepdims", int64_t{0}}}),
             {2.5F, 6.5F});
}

TEST(TorchOpsTest, SoftmaxRunsOverAllLaterAxesBeforeOpset13) {
  const Floats x = {0, 0, 0, 0};
  ExpectNear(RunOp("Softmax", {1, 2, 2}, x, {{"axis", int64_t{1}}}), {0.5F, 0.5F, 0.5F, 0.5F});
  ExpectNear(RunOp("Softmax", {1, 2, 2}, x, {{"axis", int64_t{1}}}, {}, 11),
             {0.25F, 0.25F, 0.25F, 0.25F});
  ExpectNear(RunOp("Softmax", {1, 2}, {0, 1}), {0.26894142F, 0.73105858F});
}

TEST(TorchOpsTest, GemmScalesAndTransposes) {
  GraphBuilder builder;
  const TensorId x = builder.Input({1, 2});
  const TensorId b = builder.graph.AddTensor(MakeFloats("b", {2, 2}, {1.0F, 2.0F, 3.0F, 4.0F}));
  const TensorId c = builder.graph.AddTensor(MakeFloats("c", {2}, {10.0F, 20.0F}));
  const TensorId plain = builder.Op("Gemm", {x, b, c});  // x B + c
  builder.Output(
      builder.Op("Gemm", {plain, b, c}, {{"transB", int64_t{1}}, {"alpha", 2.0F}, {"beta", 0.5F}}));
  // [1 1] B + c = [14 26]; 2 [14 26] B^T + c / 2 = 2 [66 146] + [5 10]
  ExpectNear(RunGraph(builder.graph, {1, 1}), {137, 302});
}

TEST(TorchOpsTest, MatMul) {
  GraphBuilder builder;
  const TensorId x = builder.Input({1, 2});
  const TensorId b = builder.graph.AddTensor(MakeFloats("b", {2, 2}, {1.0F, 2.0F, 3.0F, 4.0F}));
  builder.Output(builder.Op("MatMul", {x, b}));
  ExpectNear(RunGraph(builder.graph, {1, 1}), {4, 6});
}

TEST(TorchOpsTest, PadModes) {
  const Floats x = {1, 2, 3};
  const Ints amounts = {0, 0, 0, 2, 0, 0, 0, 1};
  const auto pad = [&](const std::string& mode) {
    return RunOp("Pad", {1, 1, 1, 3}, x, {{"mode", mode}}, {amounts});
  };
  ExpectNear(pad("constant"), {0, 0, 1, 2, 3, 0});
  ExpectNear(pad("reflect"), {3, 2, 1, 2, 3, 2});
  ExpectNear(pad("edge"), {1, 1, 1, 2, 3, 3});
}

TEST(TorchOpsTest, PadExtendsChannelsAndCrops) {
  ExpectNear(RunOp("Pad", {1, 2, 1, 1}, {5, 6}, {}, {{0, 1, 0, 0, 0, 2, 0, 0}}), {0, 5, 6, 0, 0});
  ExpectNear(RunOp("Pad", {1, 1, 1, 4}, Counting(4), {}, {{0, 0, 0, -1, 0, 0, 0, -2}}), {2});
  ExpectNear(RunOp("Pad", {1, 2, 1, 1}, {5, 6}, {{"mode", std::string("edge")}},
                   {{0, 1, 0, 0, 0, 1, 0, 0}}),
             {5, 5, 6, 6});
}

TEST(TorchOpsTest, SliceStepsForwardsAndBackwards) {
  const Floats x = Counting(6);
  const auto slice = [&](int64_t start, int64_t end, int64_t step) {
    return RunOp("Slice", {1, 1, 1, 6}, x, {}, {{start}, {end}, {3}, {step}});
  };
  ExpectNear(slice(0, 6, 2), {1, 3, 5});
  ExpectNear(slice(1, -1, 3), {2, 5});
  ExpectNear(slice(-1, -100, -2), {6, 4, 2});
  ExpectNear(slice(5, 0, -1), {6, 5, 4, 3, 2});
}

struct Window {
  int64_t size, kernel, stride, pad_begin, pad_end, dilation;
  bool ceil_mode = false, count_include_pad = false;
};

// Positions that window `i` covers, from -pad_begin on.
Ints Covered(const Window& w, int64_t i) {
  Ints positions;
  for (int64_t k = 0; k < w.kernel; ++k) {
    positions.push_back(i * w.stride - w.pad_begin + k * w.dilation);
  }
  return positions;
}

// Windows along one axis: all that fit, and with ceil_mode one more if it starts on data.
int64_t Windows(const Window& w) {
  const int64_t reach = w.dilation * (w.kernel - 1) + 1;
  int64_t count = 0;
  while (count * w.stride + reach <= w.size + w.pad_begin + w.pad_end) ++count;
  const bool rest = (count - 1) * w.stride + reach < w.size + w.pad_begin + w.pad_end;
  if (w.ceil_mode && rest && count * w.stride < w.size + w.pad_begin) ++count;
  return count;
}

// Both axes alike; x is one channel of size x size.
Floats BruteForcePool(const Window& w, const Floats& x, bool average) {
  Floats out;
  for (int64_t i = 0; i < Windows(w); ++i) {
    for (int64_t j = 0; j < Windows(w); ++j) {
      double sum = 0, highest = -std::numeric_limits<double>::infinity();
      int64_t counted = 0;
      for (const int64_t y : Covered(w, i)) {
        for (const int64_t z : Covered(w, j)) {
          const bool inside = y >= 0 && z >= 0 && y < w.size && z < w.size;
          const bool in_padding = y < w.size + w.pad_end && z < w.size + w.pad_end;
          if (inside || (w.count_include_pad && in_padding)) ++counted;
          if (!inside) continue;
          const double value = x[static_cast<size_t>(y * w.size + z)];
          sum += value;
          highest = std::max(highest, value);
        }
      }
      out.push_back(static_cast<float>(average ? sum / static_cast<double>(counted) : highest));
    }
  }
  return out;
}

class PoolTest : public ::testing::TestWithParam<Window> {};

TEST_P(PoolTest, EqualsBruteForce) {
  const Window w = GetParam();
  Attributes attributes = {{"kernel_shape", Ints{w.kernel, w.kernel}},
                           {"strides", Ints{w.stride, w.stride}},
                           {"pads", Ints{w.pad_begin, w.pad_begin, w.pad_end, w.pad_end}},
                           {"ceil_mode", int64_t{w.ceil_mode}}};
  const Floats x = Noise(w.size * w.size);
  const Shape shape = {1, 1, w.size, w.size};
  Attributes average = attributes;
  average["count_include_pad"] = int64_t{w.count_include_pad};
  if (w.dilation != 1) {
    attributes["dilations"] = Ints{w.dilation, w.dilation};
    average["dilations"] = Ints{w.dilation, w.dilation};
  }
  ExpectNear(RunOp("MaxPool", shape, x, attributes), BruteForcePool(w, x, false));
  ExpectNear(RunOp("AveragePool", shape, x, average, {}, w.dilation == 1 ? 13 : 19),
             BruteForcePool(w, x, true));
}

INSTANTIATE_TEST_SUITE_P(
    Windows, PoolTest,
    ::testing::Values(Window{8, 2, 2, 0, 0, 1}, Window{7, 3, 2, 1, 1, 1},
                      Window{7, 3, 2, 1, 1, 1, false, true}, Window{8, 3, 2, 0, 0, 1, true},
                      Window{8, 3, 2, 1, 1, 1, true, true}, Window{6, 2, 2, 0, 1, 1},
                      Window{6, 3, 2, 0, 1, 1, false, true}, Window{6, 3, 2, 0, 1, 1, true, true},
                      Window{5, 2, 2, 1, 0, 1, true}, Window{6, 3, 1, 2, 2, 1, false, true},
                      Window{9, 3, 2, 1, 1, 2}, Window{9, 3, 2, 2, 1, 2, true, true},
                      Window{5, 1, 3, 0, 0, 1, true}, Window{4, 2, 3, 1, 1, 1, true}));

struct ConvCase {
  int64_t in, out, size, groups;
  std::vector<int64_t> kernel, stride, dilation, pads;  // pads: top, left, bottom, right
};

Floats BruteForceConv(const ConvCase& c, const Floats& x, const Floats& w, const Floats& bias) {
  int64_t sizes[2];
  for (size_t d = 0; d < 2; ++d) {
    const int64_t reach = c.dilation[d] * (c.kernel[d] - 1) + 1;
    sizes[d] = (c.size + c.pads[d] + c.pads[d + 2] - reach) / c.stride[d] + 1;
  }
  const int64_t in_per_group = c.in / c.groups;
  Floats out;
  for (int64_t o = 0; o < c.out; ++o) {
    const int64_t group = o / (c.out / c.groups);
    for (int64_t i = 0; i < sizes[0]; ++i) {
      for (int64_t j = 0; j < sizes[1]; ++j) {
        double sum = bias[static_cast<size_t>(o)];
        for (int64_t n = 0; n < in_per_group; ++n) {
          for (int64_t p = 0; p < c.kernel[0]; ++p) {
            for (int64_t q = 0; q < c.kernel[1]; ++q) {
              const int64_t y = i * c.stride[0] - c.pads[0] + p * c.dilation[0];
              const int64_t z = j * c.stride[1] - c.pads[1] + q * c.dilation[1];
              if (y < 0 || z < 0 || y >= c.size || z >= c.size) continue;
              const int64_t channel = group * in_per_group + n;
              const int64_t weight = ((o * in_per_group + n) * c.kernel[0] + p) * c.kernel[1] + q;
              sum +=
                  static_cast<double>(x[static_cast<size_t>((channel * c.size + y) * c.size + z)]) *
                  w[static_cast<size_t>(weight)];
            }
          }
        }
        out.push_back(static_cast<float>(sum));
      }
    }
  }
  return out;
}

class ConvTest : public ::testing::TestWithParam<ConvCase> {};

TEST_P(ConvTest, EqualsBruteForce) {
  const ConvCase& c = GetParam();
  GraphBuilder builder;
  const TensorId x = builder.Input({1, c.in, c.size, c.size});
  const TensorId weight = builder.Floats({c.out, c.in / c.groups, c.kernel[0], c.kernel[1]});
  const TensorId bias = builder.Floats({c.out});
  builder.Output(builder.Op("Conv", {x, weight, bias},
                            {{"kernel_shape", c.kernel},
                             {"strides", c.stride},
                             {"dilations", c.dilation},
                             {"pads", c.pads},
                             {"group", c.groups}}));
  const Floats input = Noise(c.in * c.size * c.size);
  ExpectNear(RunGraph(builder.graph, input),
             BruteForceConv(c, input, Values<float>(builder.graph, weight).value(),
                            Values<float>(builder.graph, bias).value()),
             1e-4);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, ConvTest,
    ::testing::Values(ConvCase{3, 8, 9, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
                      ConvCase{4, 6, 9, 2, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}},
                      ConvCase{8, 8, 9, 8, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
                      ConvCase{8, 16, 9, 8, {5, 5}, {2, 2}, {1, 1}, {2, 2, 2, 2}},
                      ConvCase{3, 4, 9, 1, {3, 3}, {2, 2}, {1, 1}, {0, 0, 1, 1}},
                      ConvCase{3, 4, 11, 1, {3, 3}, {1, 2}, {2, 3}, {2, 1, 0, 3}},
                      ConvCase{5, 7, 6, 1, {1, 1}, {2, 2}, {1, 1}, {0, 0, 0, 0}},
                      ConvCase{2, 3, 7, 1, {1, 5}, {1, 1}, {1, 1}, {0, 2, 0, 2}}));

TEST(TorchOpsTest, UnknownOperatorsAreRefusedByName) {
  GraphBuilder builder;
  Node node;
  node.name = "odd";
  node.domain = "com.example";
  node.op_type = "Frobnicate";
  node.inputs = {builder.Input({1, 3})};
  Tensor y;
  y.name = "y";
  node.outputs = {builder.graph.AddTensor(y)};
  builder.graph.AddNode(node);
  builder.Output(node.outputs[0]);
  const auto network = Network::Create(builder.graph, {});
  EXPECT_EQ(network.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(network.status().message()), HasSubstr("com.example.Frobnicate"));
  EXPECT_THAT(std::string(network.status().message()), HasSubstr("odd"));
}

TEST(TorchOpsTest, BatchNormExportedForTrainingIsRefused) {
  GraphBuilder builder(14);
  const TensorId y = builder.BatchNorm(builder.Input({1, 2, 2, 2}));
  builder.graph.nodes[0].attributes["training_mode"] = int64_t{1};
  builder.Output(y);
  EXPECT_EQ(Network::Create(builder.graph, {}).status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace amc
