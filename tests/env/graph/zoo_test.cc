// The networks of the zoo: their published sizes, weights as promised, refusals.
#include "env/graph/zoo.h"

#include <cmath>
#include <numeric>

#include "env/graph/onnx_export.h"
#include "env/graph/onnx_import.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

Graph Build(absl::string_view name, const ZooOptions& options) {
  absl::StatusOr<Graph> graph = BuildNetwork(name, options);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return graph.ok() ? *std::move(graph) : Graph{};
}

ZooOptions Weightless(int64_t size, int64_t classes) {
  return {.height = size, .width = size, .classes = classes, .weightless = true};
}

int64_t Product(const Shape& shape, size_t first) {
  return std::accumulate(shape.begin() + static_cast<std::ptrdiff_t>(first), shape.end(),
                         int64_t{1}, std::multiplies<>());
}

// By the definition: every output element of a convolution or linear layer costs as many
// multiply-accumulates as its filter has weights.
int64_t CountMacs(const Graph& graph) {
  int64_t macs = 0;
  for (const Node& node : graph.nodes) {
    if (node.op != Op::kConv && node.op != Op::kGemm) continue;
    macs += Product(graph.tensor(node.outputs[0]).shape, 1) *
            Product(graph.tensor(node.inputs[1]).shape, 1);
  }
  return macs;
}

int64_t CountParameters(const Graph& graph) {
  int64_t count = 0;
  for (const Tensor& tensor : graph.tensors) {
    const bool is_statistic = tensor.name.find("running_") != std::string::npos;
    if (tensor.is_constant && tensor.type == DataType::kFloat && !is_statistic &&
        tensor.shape.size() > 0) {
      count += Product(tensor.shape, 0);
    }
  }
  return count;
}

TEST(ZooTest, CifarResNetsHaveTheirPublishedMacs) {
  EXPECT_EQ(CountMacs(Build("resnet20", Weightless(32, 10))), 40'551'040);
  EXPECT_EQ(CountMacs(Build("plain20", Weightless(32, 10))), 40'551'040);
  EXPECT_EQ(CountMacs(Build("resnet56", Weightless(32, 10))), 125'485'696);
}

// He et al. 2016, table 6: 0.27M and 0.85M.
TEST(ZooTest, CifarResNetsHaveTheirPublishedParameters) {
  EXPECT_EQ(CountParameters(Build("resnet20", Weightless(32, 10))), 269'722);
  EXPECT_EQ(CountParameters(Build("resnet56", Weightless(32, 10))), 853'018);
}

TEST(ZooTest, ImageNetNetworksHaveTheirPublishedMacs) {
  EXPECT_EQ(CountMacs(Build("vgg16", Weightless(224, 1000))), 15'470'264'320);
  EXPECT_EQ(CountMacs(Build("mobilenetv1", Weightless(224, 1000))), 568'740'352);
  EXPECT_EQ(CountMacs(Build("mobilenetv2", Weightless(224, 1000))), 300'774'272);
}

// torchvision's vgg16 and mobilenet_v2.
TEST(ZooTest, ImageNetNetworksHaveTheParametersOfTorchvision) {
  ZooOptions options = Weightless(224, 1000);
  EXPECT_EQ(CountParameters(Build("mobilenetv2", options)), 3'504'872);
  options.batch_norm = false;
  EXPECT_EQ(CountParameters(Build("vgg16", options)), 138'357'544);
}

TEST(ZooTest, EveryNetworkTakesCifarImagesAndGoesThroughOnnx) {
  for (const std::string& name : ZooNames()) {
    SCOPED_TRACE(name);
    for (const bool batch_norm : {true, false}) {
      const Graph graph = Build(name, {.batch_norm = batch_norm});
      ASSERT_EQ(graph.inputs.size(), 1u);
      EXPECT_EQ(graph.tensor(graph.inputs[0]).name, "input");
      EXPECT_EQ(graph.tensor(graph.outputs[0]).name, "logits");
      EXPECT_EQ(graph.tensor(graph.outputs[0]).shape, (Shape{kDynamic, 10}));
      EXPECT_EQ(graph.opset(), 13);
      const absl::StatusOr<std::string> bytes = ExportOnnx(graph);
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      const absl::StatusOr<Graph> back = ImportOnnx(*bytes);
      ASSERT_TRUE(back.ok()) << back.status();
      EXPECT_EQ(CountMacs(*back), CountMacs(graph));
    }
  }
}

TEST(ZooTest, VggSmallTakesFashionMnistImages) {
  const Graph graph =
      Build("vgg-small", {.in_channels = 1, .height = 28, .width = 28, .weightless = true});
  const TensorId weight = graph.FindTensor("fc1.weight");
  ASSERT_NE(weight, TensorId::kNone);
  EXPECT_EQ(graph.tensor(weight).shape, (Shape{256, 128 * 3 * 3}));
}

TEST(ZooTest, SmallVgg16HasOneLinearLayer) {
  const Graph graph = Build("vgg16", Weightless(32, 10));
  const TensorId weight = graph.FindTensor("classifier.weight");
  ASSERT_NE(weight, TensorId::kNone);
  EXPECT_EQ(graph.tensor(weight).shape, (Shape{10, 512}));
}

TEST(ZooTest, WeightsAreHeNormal) {
  const Graph graph = Build("resnet20", {});
  const auto weights = Values<float>(graph, graph.FindTensor("layer3.2.conv2.weight"));
  ASSERT_TRUE(weights.ok()) << weights.status();
  ASSERT_EQ(weights->size(), 64u * 64 * 9);
  double sum = 0;
  double squares = 0;
  for (const float w : *weights) {
    sum += w;
    squares += static_cast<double>(w) * w;
  }
  const auto n = static_cast<double>(weights->size());
  const double deviation = std::sqrt(2.0 / (64 * 9));
  EXPECT_NEAR(sum / n, 0, 4 * deviation / std::sqrt(n));
  EXPECT_NEAR(std::sqrt(squares / n), deviation, 0.01 * deviation);
}

TEST(ZooTest, BatchNormStartsAsTheIdentity) {
  const Graph graph = Build("resnet20", {});
  const auto values = [&](const std::string& name) {
    const auto found = Values<float>(graph, graph.FindTensor(name));
    EXPECT_TRUE(found.ok()) << found.status();
    return found.value_or(std::vector<float>{});
  };
  EXPECT_THAT(values("bn1.weight"), AllOf(::testing::SizeIs(16), Each(1.0f)));
  EXPECT_THAT(values("bn1.bias"), Each(0.0f));
  EXPECT_THAT(values("bn1.running_mean"), Each(0.0f));
  EXPECT_THAT(values("bn1.running_var"), Each(1.0f));
}

TEST(ZooTest, SeedDecidesTheWeights) {
  const auto bytes = [](uint64_t seed) {
    return ExportOnnx(Build("plain20", {.seed = seed})).value();
  };
  EXPECT_EQ(bytes(1), bytes(1));
  EXPECT_NE(bytes(1), bytes(2));
}

TEST(ZooTest, RefusesWhatItCannotBuild) {
  const auto message = [](absl::string_view name, const ZooOptions& options) {
    const absl::StatusOr<Graph> graph = BuildNetwork(name, options);
    EXPECT_EQ(graph.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(graph.status().message());
  };
  EXPECT_THAT(message("resnet21", {}), AllOf(HasSubstr("resnet21"), HasSubstr("mobilenetv2")));
  EXPECT_THAT(message("vgg16", {.height = 16}), AllOf(HasSubstr("height is 16"), HasSubstr("32")));
  EXPECT_THAT(message("resnet20", {.width = int64_t{1} << 40}), HasSubstr("width"));
  EXPECT_THAT(message("resnet20", {.classes = 0}), HasSubstr("classes is 0"));
  EXPECT_THAT(message("resnet20", {.in_channels = -1}), HasSubstr("in_channels is -1"));
}

}  // namespace
}  // namespace amc
