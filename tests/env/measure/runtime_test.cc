// Every runtime that is installed, on the same checks; AMC_REQUIRE=1 wants all of them.
#include "env/measure/runtime.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "env/graph/zoo.h"
#include "env/measure/sampler.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"
#include "tests/require.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::SizeIs;

RuntimeOptions TestOptions() {
  RuntimeOptions options;
  options.helpers = AMC_HELPERS;
  if (std::getenv("AMC_ONNXRUNTIME_DIR") == nullptr) options.onnxruntime = AMC_ONNXRUNTIME;
  return options;
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// Two convolutions of `channels` channels; four times as many are sixteen times the MACs.
Graph Network(int64_t channels) {
  GraphBuilder builder;
  builder.graph.name = "network of " + std::to_string(channels);
  TensorId x = builder.Input({kDynamic, channels, 28, 28});
  x = builder.Op("Relu", {builder.Conv(builder.Op("Relu", {builder.Conv(x, channels)}), channels)});
  builder.Head(x);
  return builder.graph;
}

class RuntimeTest : public ::testing::TestWithParam<std::string> {};

#define AMC_RUNTIME_OR_SKIP(variable, options)                                  \
  auto variable##_or = CreateRuntime(GetParam(), options);                      \
  if (variable##_or.status().code() == absl::StatusCode::kFailedPrecondition) { \
    AMC_SKIP_WITHOUT(variable##_or.status());                                   \
  }                                                                             \
  ASSERT_TRUE(variable##_or.ok()) << variable##_or.status();                    \
  Runtime& variable = **variable##_or

TEST_P(RuntimeTest, SaysWhatItIs) {
  AMC_RUNTIME_OR_SKIP(runtime, TestOptions());
  EXPECT_EQ(runtime.setting().runtime, GetParam());
  EXPECT_EQ(runtime.setting().device, DeviceName());
  EXPECT_EQ(runtime.setting().threads, 1);
  EXPECT_TRUE(runtime.setting().version[0] >= '0' && runtime.setting().version[0] <= '9')
      << runtime.setting().version;
}

TEST_P(RuntimeTest, TakesLongerForSixteenTimesTheMacs) {
  AMC_RUNTIME_OR_SKIP(runtime, TestOptions());
  const auto small = runtime.Load(Network(16));
  const auto large = runtime.Load(Network(64));
  ASSERT_TRUE(small.ok()) << small.status();
  ASSERT_TRUE(large.ok()) << large.status();
  std::vector<double> small_us, large_us;
  for (int i = 0; i < 5; ++i) {  // interleaved, so that both see the same neighbours
    for (const auto& [network, us] : {std::pair{&small, &small_us}, std::pair{&large, &large_us}}) {
      const auto times = (**network)->Time(20);
      ASSERT_TRUE(times.ok()) << times.status();
      ASSERT_THAT(*times, AllOf(SizeIs(20), Each(Gt(0))));
      us->push_back(Median(*times));
    }
  }
  EXPECT_GT(*std::min_element(large_us.begin(), large_us.end()),
            1.5 * *std::min_element(small_us.begin(), small_us.end()));
}

TEST_P(RuntimeTest, RunsWholeNetworksInBatches) {
  RuntimeOptions options = TestOptions();
  options.batch = 3;
  AMC_RUNTIME_OR_SKIP(runtime, options);
  for (const char* const name : {"resnet20", "vgg-small"}) {
    const auto network = runtime.Load(BuildNetwork(name, {}).value());
    ASSERT_TRUE(network.ok()) << network.status();
    EXPECT_THAT((*network)->Time(2).value(), SizeIs(2));
  }
  Graph fixed = Network(8);
  fixed.tensor(fixed.inputs[0]).shape[0] = 2;
  const absl::Status refused = runtime.Load(fixed).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(refused), HasSubstr("takes 2 images at a time, not 3"));
}

TEST_P(RuntimeTest, RefusesABadNetworkByNameAndGoesOn) {
  AMC_RUNTIME_OR_SKIP(runtime, TestOptions());
  GraphBuilder builder;
  const TensorId x = builder.Input({kDynamic, 3, 8, 8});
  Tensor made;
  made.name = "made";
  made.shape_known = true;
  made.shape = {kDynamic, 3, 8, 8};
  Node node;
  node.name = "strange";
  node.op_type = "FooBar";
  node.domain = "nowhere";
  node.inputs = {x};
  node.outputs = {builder.graph.AddTensor(made)};
  builder.graph.opsets["nowhere"] = 1;
  builder.graph.AddNode(node);
  builder.Output(node.outputs[0]);
  builder.graph.name = "foobar.onnx";
  const absl::Status refused = runtime.Load(builder.graph).status();
  EXPECT_FALSE(refused.ok());
  EXPECT_NE(refused.code(), absl::StatusCode::kUnavailable) << refused;
  EXPECT_THAT(Message(refused), ::testing::AnyOf(HasSubstr("strange"), HasSubstr("foobar.onnx")));
  const auto network = runtime.Load(Network(8));
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_TRUE((*network)->Time(1).ok());
}

TEST_P(RuntimeTest, HoldsManyNetworksAndLetsThemGo) {
  AMC_RUNTIME_OR_SKIP(runtime, TestOptions());
  for (int round = 0; round < 2; ++round) {
    std::vector<std::unique_ptr<LoadedNetwork>> networks;
    for (int64_t channels = 1; channels <= 20; ++channels) {
      auto network = runtime.Load(Network(channels));
      ASSERT_TRUE(network.ok()) << network.status();
      networks.push_back(*std::move(network));
    }
    for (const auto& network : networks) EXPECT_TRUE(network->Time(1).ok());
  }
}

INSTANTIATE_TEST_SUITE_P(All, RuntimeTest, ::testing::ValuesIn(RuntimeNames()),
                         [](const auto& info) { return info.param; });

TEST(CreateRuntimeTest, RefusesUnknownNamesAndSettings) {
  const absl::Status unknown = CreateRuntime("tflite", {}).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(unknown), HasSubstr("libtorch, onnxruntime, opencv"));
  RuntimeOptions options;
  options.threads = 0;
  EXPECT_THAT(Message(CreateRuntime("libtorch", options).status()), HasSubstr("threads is 0"));
  options.threads = 1;
  options.batch = -1;
  EXPECT_THAT(Message(CreateRuntime("libtorch", options).status()), HasSubstr("batch is -1"));
}

TEST(CreateRuntimeTest, SaysWhatIsMissing) {
  RuntimeOptions options = TestOptions();
  options.node = "/no/such/node";
  const absl::Status no_node = CreateRuntime("onnxruntime", options).status();
  EXPECT_EQ(no_node.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(no_node), AllOf(HasSubstr("/no/such/node"), HasSubstr("install nodejs")));
  options = TestOptions();
  options.onnxruntime = "/no/such/folder";
  const absl::Status no_package = CreateRuntime("onnxruntime", options).status();
  EXPECT_EQ(no_package.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(no_package), AllOf(HasSubstr("/no/such/folder"), HasSubstr("npm install")));
  options.helpers = "/no/such/folder";
  const absl::Status no_helper = CreateRuntime("opencv", options).status();
  EXPECT_EQ(no_helper.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(no_helper), HasSubstr("libopencv-dnn-dev"));
}

TEST(DeviceNameTest, IsTheProcessors) {
  EXPECT_EQ(DeviceNameFrom("processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC  9R14\n"),
            "AMD EPYC 9R14");
  EXPECT_EQ(DeviceNameFrom("processor\t: 0\nHardware\t: BCM2835\n"), "BCM2835");
  EXPECT_EQ(DeviceNameFrom("processor\t: 0\nmodel name\t:\n"), "");
  EXPECT_FALSE(DeviceName().empty());
}

}  // namespace
}  // namespace amc
