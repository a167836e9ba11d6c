// The interpreter: folding, taps, training mode, what it refuses.
#include "env/exec/torch_network.h"

#include <algorithm>
#include <map>
#include <memory>

#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/exec/run_graph.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::ExpectNear;
using ::amc::testing::GraphBuilder;
using ::amc::testing::Noise;
using ::amc::testing::RunGraph;
using ::testing::HasSubstr;

constexpr ExecOptions kUnfolded = {.fold_batch_norm = false};

std::unique_ptr<TorchNetwork> Make(const Graph& graph, const ExecOptions& options = kUnfolded) {
  absl::StatusOr<std::unique_ptr<TorchNetwork>> network = TorchNetwork::Create(graph, options);
  EXPECT_TRUE(network.ok()) << network.status();
  return network.ok() ? *std::move(network) : nullptr;
}

// Two convolutions with batch norms and a residual connection between them.
Graph ResidualGraph() {
  GraphBuilder builder;
  const TensorId x = builder.Input({kDynamic, 3, 8, 8});
  const TensorId a = builder.Op("Relu", {builder.BatchNorm(builder.Conv(x, 8))});
  const TensorId b = builder.BatchNorm(builder.Conv(a, 8));
  builder.Head(builder.Op("Relu", {builder.Op("Add", {a, b})}));
  return builder.graph;
}

torch::Tensor Images(int64_t count, uint64_t seed = 3) {
  const std::vector<float> values = Noise(count * 3 * 8 * 8, seed);
  return at::tensor(values, at::kFloat).reshape({count, 3, 8, 8});
}

TEST(TorchNetworkTest, FoldingBatchNormsKeepsTheOutput) {
  ZooOptions options;
  options.height = options.width = 16;
  for (const std::string name : {"resnet20", "mobilenetv2"}) {
    Graph graph = BuildNetwork(name, options).value();
    for (Tensor& tensor : graph.tensors) {  // statistics as after training, not 0 and 1
      if (tensor.is_constant && tensor.type == DataType::kFloat && tensor.shape.size() == 1) {
        std::vector<float> values = Noise(tensor.shape[0], tensor.name.size());
        for (float& value : values) value = 1 + 0.2F * std::abs(value);
        tensor.data = MakeFloats("", tensor.shape, values).data;
      }
    }
    const std::vector<float> images = Noise(2 * 3 * 16 * 16);
    const std::vector<float> plain = RunGraph(graph, images, 2);
    const std::vector<float> folded = RunGraph(graph, images, 2, {.fold_batch_norm = true});
    const float largest = *std::max_element(plain.begin(), plain.end());
    ASSERT_GT(largest, 0);
    ASSERT_EQ(plain.size(), folded.size());
    for (size_t i = 0; i < plain.size(); ++i) {
      EXPECT_NEAR(folded[i], plain[i], 1e-4 * largest) << name;
    }
  }
}

TEST(TorchNetworkTest, FoldsIntoLinearLayersOfBothLayouts) {
  for (const bool transposed : {true, false}) {
    GraphBuilder builder;
    const TensorId x = builder.Input({kDynamic, 4});
    builder.Output(builder.BatchNorm(builder.Linear(x, 3, transposed)));
    const std::vector<float> images = Noise(8);
    ExpectNear(RunGraph(builder.graph, images, 2, {.fold_batch_norm = true}),
               RunGraph(builder.graph, images, 2));
  }
}

TEST(TorchNetworkTest, DoesNotFoldWhatOthersReadOrShare) {
  GraphBuilder builder;
  const TensorId x = builder.Input({kDynamic, 3, 8, 8});
  const TensorId weight = builder.Floats({3, 3, 1, 1});
  const TensorId seen_twice = builder.Op("Conv", {x, weight});
  const TensorId same_weight = builder.BatchNorm(builder.Op("Conv", {x, weight}));
  const TensorId norm = builder.BatchNorm(seen_twice);
  builder.Output(builder.Op("Add", {builder.Op("Add", {norm, seen_twice}), same_weight}));
  const std::vector<float> images = Noise(3 * 8 * 8);
  ExpectNear(RunGraph(builder.graph, images, 1, {.fold_batch_norm = true}),
             RunGraph(builder.graph, images, 1));
}

TEST(TorchNetworkTest, OverwritingActivationsDoesNotShow) {
  // The first convolution feeds a ReLU and two Adds: it must survive them all.
  GraphBuilder builder;
  const TensorId x = builder.Input({kDynamic, 3, 8, 8});
  const TensorId conv = builder.Conv(x, 4);
  const TensorId sum = builder.Op("Add", {builder.Op("Relu", {conv}), conv});
  const TensorId scale = builder.Floats({4, 1, 1});
  const TensorId product = builder.Op("Mul", {sum, scale});
  const TensorId broadcast = builder.Op("Add", {product, scale});
  builder.Head(builder.Op("Relu", {builder.Op("Add", {conv, broadcast})}));
  const std::unique_ptr<TorchNetwork> network = Make(builder.graph);
  const torch::Tensor input = Images(2);
  const torch::Tensor copy = input.clone();
  const torch::Tensor first = network->Forward(input).value();
  network->set_tap([](NodeId, std::vector<torch::Tensor>&) {});  // turns overwriting off
  EXPECT_TRUE(at::equal(first, network->Forward(input).value()));
  EXPECT_TRUE(at::equal(input, copy));
}

TEST(TorchNetworkTest, ForwardFromANodeGoesOnAndKeepsWhatItWasGiven) {
  const Graph graph = ResidualGraph();  // 5 Add, 6 Relu, 7 to 9 the head
  for (const bool fold : {false, true}) {
    const std::unique_ptr<TorchNetwork> network = Make(graph, {.fold_batch_norm = fold});
    std::map<TensorId, torch::Tensor> made;
    network->set_tap([&](NodeId id, std::vector<torch::Tensor>& outputs) {
      made[graph.node(id).outputs[0]] = outputs[0].clone();
    });
    const torch::Tensor expected = network->Forward(Images(2)).value();
    network->set_tap(nullptr);
    // The ReLU that reads the sum alone, and the one that reads the first batch norm's result or,
    // folded, what that passes on, would write over it.
    for (const size_t first : {size_t{1}, size_t{2}, size_t{6}}) {
      const TensorId id = graph.nodes[first].inputs[0];
      const torch::Tensor given = made.at(id).clone();
      ASSERT_LT(given.min().item<float>(), 0);
      const absl::StatusOr<torch::Tensor> output = network->ForwardFrom(first, {{id, given}});
      ASSERT_TRUE(output.ok()) << output.status();
      EXPECT_TRUE(at::equal(*output, expected)) << first;
      EXPECT_TRUE(at::equal(given, made.at(id))) << first;
    }
    const absl::Status missing = network->ForwardFrom(6, {}).status();
    EXPECT_EQ(missing.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(missing.message()), HasSubstr("is not given"));
  }
}

TEST(TorchNetworkTest, TapSeesEveryNodeInOrderAndMayReplaceOutputs) {
  const Graph graph = ResidualGraph();
  const std::unique_ptr<TorchNetwork> network = Make(graph);
  std::vector<NodeId> seen;
  network->set_tap([&](NodeId id, std::vector<torch::Tensor>& outputs) {
    seen.push_back(id);
    ASSERT_EQ(outputs.size(), graph.node(id).outputs.size());
    if (Index(id) + 1 == graph.nodes.size()) outputs[0] = at::full_like(outputs[0], 42);
  });
  const torch::Tensor output = network->Forward(Images(2)).value();
  ASSERT_EQ(seen.size(), graph.nodes.size());
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], graph.node_id(i));
  EXPECT_TRUE(at::equal(output, at::full({2, 2}, 42, at::kFloat)));
}

TEST(TorchNetworkTest, WalkingNodeByNodeEqualsForward) {
  const Graph graph = ResidualGraph();
  for (const bool fold : {false, true}) {
    const std::unique_ptr<TorchNetwork> network = Make(graph, {.fold_batch_norm = fold});
    std::vector<torch::Tensor> values(graph.tensors.size());
    values[Index(graph.inputs[0])] = Images(2).contiguous(at::MemoryFormat::ChannelsLast);
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      std::vector<torch::Tensor> inputs;
      for (const TensorId id : graph.nodes[n].inputs) inputs.push_back(values[Index(id)]);
      values[Index(graph.nodes[n].outputs[0])] =
          network->RunNode(graph.node_id(n), inputs).value()[0];
    }
    EXPECT_TRUE(at::equal(values[Index(graph.outputs[0])], network->Forward(Images(2)).value()));
  }
}

TEST(TorchNetworkTest, EditedConstantsTakeEffectAndReachTheGraph) {
  const Graph graph = ResidualGraph();
  const std::unique_ptr<TorchNetwork> network = Make(graph);
  const TensorId bias = graph.nodes.back().inputs[2];
  const torch::Tensor before = network->Forward(Images(1)).value();
  network->constant(bias).add_(5);
  EXPECT_TRUE(at::allclose(network->Forward(Images(1)).value(), before + 5));
  const Graph edited = network->ToGraph().value();
  EXPECT_NEAR(Values<float>(edited, bias).value()[0], Values<float>(graph, bias).value()[0] + 5,
              1e-5);
  const TensorId weight = graph.nodes[0].inputs[1];
  EXPECT_EQ(edited.tensor(weight).data, graph.tensor(weight).data) << "unchanged, so shared";
}

TEST(TorchNetworkTest, TrainingModeUpdatesRunningStatistics) {
  GraphBuilder builder;
  const TensorId x = builder.Input({kDynamic, 1, 1, 1});
  const TensorId scale = builder.graph.AddTensor(MakeFloats("scale", {1}, {1.0F}));
  const TensorId shift = builder.graph.AddTensor(MakeFloats("shift", {1}, {0.0F}));
  const TensorId mean = builder.graph.AddTensor(MakeFloats("mean", {1}, {10.0F}));
  const TensorId variance = builder.graph.AddTensor(MakeFloats("variance", {1}, {1.0F}));
  builder.Output(builder.Op("BatchNormalization", {x, scale, shift, mean, variance}));
  const std::unique_ptr<TorchNetwork> network = Make(builder.graph);
  network->Train(true, 0.5);
  const torch::Tensor images =
      at::tensor(std::vector<float>{1, 3}, at::kFloat).reshape({2, 1, 1, 1});
  const torch::Tensor output = network->Forward(images).value();
  EXPECT_NEAR(output[0][0].item<float>(), -1, 1e-4);  // by the batch: mean 2, deviation 1
  EXPECT_NEAR(output[1][0].item<float>(), 1, 1e-4);
  EXPECT_NEAR(network->constant(mean).item<float>(), 6, 1e-6);
  EXPECT_NEAR(network->constant(variance).item<float>(), 1.5, 1e-6);  // unbiased: 2
}

TEST(TorchNetworkTest, GradientsReachEveryParameter) {
  const Graph graph = ResidualGraph();
  const std::unique_ptr<TorchNetwork> network = Make(graph);
  // Two convolutions and a linear layer with biases, two batch norms with scale and shift.
  EXPECT_EQ(network->parameters().size(), 3 * 2 + 2 * 2);
  network->Train(true);
  network->Forward(Images(4)).value().square().sum().backward();
  for (const TensorId id : network->parameters()) {
    EXPECT_TRUE(network->constant(id).grad().defined()) << graph.tensor(id).name;
  }
  network->Train(false);
  EXPECT_FALSE(network->Forward(Images(4)).value().requires_grad());
}

TEST(TorchNetworkTest, SameInputSameBits) {
  const Graph graph = ResidualGraph();
  const torch::Tensor first = Make(graph)->Forward(Images(4)).value();
  EXPECT_TRUE(at::equal(first, Make(graph)->Forward(Images(4)).value()));
}

TEST(TorchNetworkTest, Bfloat16IsCloseAndComesBackAsFloat) {
  const Graph graph = ResidualGraph();
  for (const bool fold : {false, true}) {
    const torch::Tensor exact = Make(graph)->Forward(Images(2)).value();
    const torch::Tensor rounded =
        Make(graph, {.precision = Precision::kBfloat16, .fold_batch_norm = fold})
            ->Forward(Images(2))
            .value();
    EXPECT_EQ(rounded.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::allclose(exact, rounded, 0.05, 0.05));
    EXPECT_FALSE(at::equal(exact, rounded));
  }
}

TEST(TorchNetworkTest, RefusesInputsThatDoNotFit) {
  const std::unique_ptr<TorchNetwork> network = Make(ResidualGraph());
  const auto output = network->Forward(at::zeros({2, 3, 9, 8}));
  EXPECT_EQ(output.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(output.status().message()), HasSubstr("2x3x9x8, want Nx3x8x8"));
}

TEST(TorchNetworkTest, RefusesWeightlessGraphs) {
  ZooOptions options;
  options.weightless = true;
  const auto network = TorchNetwork::Create(BuildNetwork("resnet20", options).value(), {});
  EXPECT_EQ(network.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(network.status().message()), HasSubstr("has no weights"));
}

TEST(TorchNetworkTest, FoldedNetworksHaveNoGraph) {
  const auto graph = Make(ResidualGraph(), {.fold_batch_norm = true})->ToGraph();
  EXPECT_EQ(graph.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(TorchNetworkTest, CudaWithoutDeviceIsAClearError) {
  if (CheckDevice(Device::kCuda).ok()) GTEST_SKIP() << "there is a CUDA device";
  const auto network = TorchNetwork::Create(ResidualGraph(), {.device = Device::kCuda});
  EXPECT_EQ(network.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(network.status().message()), HasSubstr("cuda asked for"));
}

TEST(NetworkTest, BatchesDoNotShow) {
  const Graph graph = ResidualGraph();
  const std::vector<float> images = Noise(5 * 3 * 8 * 8);
  const std::vector<float> whole = RunGraph(graph, images, 5);
  ExpectNear(RunGraph(graph, images, 5, {.batch_size = 2, .fold_batch_norm = false}), whole);
}

TEST(NetworkTest, FixedBatchNetworksTakeAnyNumberOfImages) {
  GraphBuilder builder;
  builder.Head(builder.Conv(builder.Input({4, 3, 8, 8}), 2));
  const std::vector<float> images = Noise(6 * 3 * 8 * 8);
  const std::vector<float> all = RunGraph(builder.graph, images, 6);
  ASSERT_EQ(all.size(), 12);
  const std::vector<float> last(images.end() - 3 * 8 * 8, images.end());
  ExpectNear(RunGraph(builder.graph, last, 1), {all[10], all[11]});
}

TEST(NetworkTest, RefusesSizesThatDoNotFit) {
  const auto network = Network::Create(ResidualGraph(), {}).value();
  for (const int64_t batch : {0, -1, 2}) {
    const auto output = network->Run(std::vector<float>(3 * 8 * 8), batch);
    EXPECT_EQ(output.status().code(), absl::StatusCode::kInvalidArgument) << batch;
  }
  EXPECT_FALSE(Network::Create(ResidualGraph(), {.batch_size = 0}).ok());
}

TEST(ExecOptionsTest, NumericsIdNamesWhatMayChangeBits) {
  TuneProcess(1);
  EXPECT_EQ(NumThreads(), 1);
  const std::string id = NumericsId({});
  EXPECT_THAT(
      id,
      ::testing::MatchesRegex(
          "cpu:[a-z0-9_]+:torch[0-9.+a-z]+(:openblas[0-9.]+-[A-Za-z0-9]+)?:threads1:batch64:fp32"));
  EXPECT_NE(id, NumericsId({.batch_size = 32}));
  EXPECT_NE(id, NumericsId({.precision = Precision::kBfloat16}));
  EXPECT_NE(id, NumericsId({.device = Device::kCuda}));
}

TEST(ExecOptionsTest, ParsesNames) {
  EXPECT_EQ(ParseDevice("cuda").value(), Device::kCuda);
  EXPECT_EQ(ParsePrecision("bf16").value(), Precision::kBfloat16);
  EXPECT_THAT(std::string(ParseDevice("tpu").status().message()), HasSubstr("tpu"));
  EXPECT_FALSE(ParsePrecision("fp8").ok());
}

}  // namespace
}  // namespace amc
