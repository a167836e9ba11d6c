// Builds small graphs for tests, operator by operator, shapes inferred as it goes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "env/graph/graph.h"
#include "env/graph/shape_inference.h"
#include "gtest/gtest.h"

namespace amc::testing {

using Attributes = std::map<std::string, Attribute>;

// Weights are normal, seeded. Errors of shape inference are test failures.
class GraphBuilder {
 public:
  explicit GraphBuilder(int64_t opset = 13) : rng_(1) { graph.opsets[""] = opset; }

  TensorId Input(Shape shape, const std::string& name = "input") {
    Tensor tensor;
    tensor.name = name;
    tensor.shape_known = true;
    tensor.shape = std::move(shape);
    const TensorId id = graph.AddTensor(std::move(tensor));
    graph.inputs.push_back(id);
    return id;
  }

  TensorId Floats(Shape shape) {
    const absl::StatusOr<int64_t> size = NumElements(shape);
    std::vector<float> values(size.value());
    for (float& value : values) value = static_cast<float>(0.3 * rng_.Normal());
    return graph.AddTensor(MakeFloats(NextName("constant"), std::move(shape), values));
  }
  TensorId Ints(const std::vector<int64_t>& values) {
    return graph.AddTensor(
        MakeInts(NextName("constant"), {static_cast<int64_t>(values.size())}, values));
  }

  // The first output of a new node, which is called `name` or after its operator.
  TensorId Op(const std::string& op_type, std::vector<TensorId> inputs, Attributes attributes = {},
              const std::string& name = "") {
    return Ops(op_type, std::move(inputs), 1, std::move(attributes), name)[0];
  }
  std::vector<TensorId> Ops(const std::string& op_type, std::vector<TensorId> inputs, int outputs,
                            Attributes attributes = {}, const std::string& name = "") {
    Node node;
    node.name = name.empty() ? NextName(op_type) : name;
    node.op_type = op_type;
    node.inputs = std::move(inputs);
    node.attributes = std::move(attributes);
    for (int i = 0; i < outputs; ++i) {
      Tensor tensor;
      tensor.name = absl::StrCat(node.name, "_out", i);
      node.outputs.push_back(graph.AddTensor(std::move(tensor)));
    }
    std::vector<TensorId> ids = node.outputs;
    graph.AddNode(std::move(node));
    const absl::Status inferred = InferShapes(graph);
    EXPECT_TRUE(inferred.ok()) << inferred;
    return ids;
  }

  // A square convolution that keeps the size (odd kernel, stride 1), with bias.
  TensorId Conv(TensorId x, int64_t out, int64_t kernel = 3, int64_t groups = 1,
                const std::string& name = "") {
    const int64_t in = graph.tensor(x).shape[1];
    const int64_t pad = kernel / 2;
    return Op("Conv", {x, Floats({out, in / groups, kernel, kernel}), Floats({out})},
              {{"kernel_shape", std::vector<int64_t>{kernel, kernel}},
               {"pads", std::vector<int64_t>{pad, pad, pad, pad}},
               {"group", groups}},
              name);
  }
  // `transposed` as PyTorch writes linear layers.
  TensorId Linear(TensorId x, int64_t out, bool transposed = true, const std::string& name = "") {
    const int64_t in = graph.tensor(x).shape[1];
    return Op("Gemm", {x, Floats(transposed ? Shape{out, in} : Shape{in, out}), Floats({out})},
              {{"transB", int64_t{transposed}}}, name);
  }
  TensorId BatchNorm(TensorId x) {
    const int64_t channels = graph.tensor(x).shape[1];
    const TensorId variance = graph.AddTensor(MakeFloats(
        NextName("variance"), {channels}, std::vector<float>(static_cast<size_t>(channels), 0.7f)));
    return Op("BatchNormalization",
              {x, Floats({channels}), Floats({channels}), Floats({channels}), variance});
  }
  // Global average, flatten, linear layer to two classes; the network's output.
  void Head(TensorId x) { Output(Linear(Op("Flatten", {Op("GlobalAveragePool", {x})}), 2)); }
  void Output(TensorId x) { graph.outputs.push_back(x); }

  Graph graph;

 private:
  std::string NextName(const std::string& stem) { return absl::StrCat(stem, "_", next_name_++); }

  Rng rng_;
  int next_name_ = 0;
};

}  // namespace amc::testing
