#include "env/measure/layer_network.h"

#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "env/graph/op_params.h"
#include "env/graph/shape_inference.h"

namespace amc {
namespace {

using Ints = std::vector<int64_t>;

constexpr int64_t kFed = 3;  // channels that feeders read: an image's, which all have kernels for

// Adds nodes one after the other.
class Chain {
 public:
  Chain(std::string name, Shape input) {
    graph_.name = std::move(name);
    graph_.opsets[""] = 10;
    graph_.producer_name = "amc";
    graph_.batch_symbol = "N";
    Tensor tensor;
    tensor.name = "input";
    tensor.shape_known = true;
    tensor.shape = std::move(input);
    at_ = graph_.AddTensor(std::move(tensor));
    graph_.inputs = {at_};
  }

  // Random weights that keep activations of size 1, so that no denormal or infinite ones slow down.
  TensorId Weight(Shape shape, int64_t inputs) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    const double bound = std::sqrt(3.0 / static_cast<double>(inputs));
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = static_cast<float>(rng_.Uniform(-bound, bound));
    return graph_.AddTensor(
        MakeFloats(absl::StrCat("weight", graph_.tensors.size()), std::move(shape), values));
  }

  void Add(const std::string& op_type, const std::vector<TensorId>& constants,
           std::map<std::string, Attribute> attributes) {
    Node node;
    node.op_type = op_type;
    node.name = absl::StrCat("node", graph_.nodes.size());
    node.inputs = {at_};
    node.inputs.insert(node.inputs.end(), constants.begin(), constants.end());
    node.attributes = std::move(attributes);
    Tensor made;
    made.name = absl::StrCat(node.name, ".out");
    at_ = graph_.AddTensor(std::move(made));
    node.outputs = {at_};
    graph_.AddNode(std::move(node));
  }

  void Conv(const ConvParams& conv, bool bias) {
    const int64_t each = conv.in_channels / conv.groups;
    std::vector<TensorId> constants = {
        Weight({conv.out_channels, each, conv.kernel[0], conv.kernel[1]},
               each * conv.kernel[0] * conv.kernel[1])};
    if (bias) constants.push_back(Weight({conv.out_channels}, 1));
    Add("Conv", constants,
        {{"dilations", Ints{conv.dilation[0], conv.dilation[1]}},
         {"group", conv.groups},
         {"kernel_shape", Ints{conv.kernel[0], conv.kernel[1]}},
         {"pads", Ints{conv.pad_begin[0], conv.pad_begin[1], conv.pad_end[0], conv.pad_end[1]}},
         {"strides", Ints{conv.stride[0], conv.stride[1]}}});
  }

  void Gemm(int64_t in, int64_t out, bool transposed, bool bias) {
    std::vector<TensorId> constants = {Weight(transposed ? Shape{out, in} : Shape{in, out}, in)};
    // Before opset 11 a Gemm must have one.
    constants.push_back(bias ? Weight({out}, 1)
                             : graph_.AddTensor(MakeFloats("zero", {1}, std::vector<float>{0})));
    Add("Gemm", constants, {{"transB", int64_t{transposed}}});
  }

  // One pixel of what is there.
  absl::Status Tap() {
    AMC_RETURN_IF_ERROR(InferShapes(graph_));
    const Shape& shape = graph_.tensor(at_).shape;
    Add("MaxPool", {}, {{"kernel_shape", Ints{1, 1}}, {"strides", Ints{shape[2], shape[3]}}});
    return absl::OkStatus();
  }

  absl::StatusOr<Graph> Finish() && {
    graph_.tensor(at_).name = "output";
    graph_.outputs = {at_};
    AMC_RETURN_IF_ERROR(Annotate(InferShapes(graph_), graph_.name));
    return std::move(graph_);
  }

 private:
  Rng rng_{0};
  Graph graph_;
  TensorId at_ = TensorId::kNone;
};

ConvParams Pointwise(int64_t in, int64_t out) {
  ConvParams conv;
  conv.in_channels = in;
  conv.out_channels = out;
  return conv;
}

bool IsConv(const Graph& graph, const LatencyLayer& layer) {
  return graph.node(layer.node).op == Op::kConv;
}

// A chain that makes what `layer` reads.
absl::StatusOr<Chain> Feed(const Graph& graph, const LatencyLayer& layer, int64_t in,
                           std::string name) {
  const Node& node = graph.node(layer.node);
  Shape shape = graph.tensor(node.inputs[0]).shape;
  if (in < 1 || shape.size() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(NodeLabel(graph, node), ": ", in, " channels of ", ShapeToString(shape)));
  }
  shape[0] = kDynamic;
  const bool is_conv = IsConv(graph, layer);
  (is_conv ? shape[1] : shape.back()) = kFed;
  Chain chain(std::move(name), shape);
  if (is_conv) {
    chain.Conv(Pointwise(kFed, in), /*bias=*/true);
  } else if (shape.size() == 2) {
    chain.Gemm(kFed, in, /*transposed=*/true, /*bias=*/true);
  } else {
    chain.Add("MatMul", {chain.Weight({kFed, in}, kFed)}, {});
  }
  return chain;
}

absl::Status AddActivation(const Graph& graph, const LatencyLayer& layer, Chain& chain) {
  if (layer.activation == NodeId::kNone) return absl::OkStatus();
  const Node& node = graph.node(layer.activation);
  if (node.op == Op::kRelu) {
    chain.Add("Relu", {}, {});
    return absl::OkStatus();
  }
  AMC_ASSIGN_OR_RETURN(const ClipParams clip, GetClipParams(graph, node));
  std::map<std::string, Attribute> bounds;
  if (std::isfinite(clip.min)) bounds["min"] = clip.min;
  if (std::isfinite(clip.max)) bounds["max"] = clip.max;
  chain.Add("Clip", {}, std::move(bounds));
  return absl::OkStatus();
}

absl::Status AddConv(const Graph& graph, const LatencyLayer& layer, int64_t in, int64_t out,
                     bool bias, Chain& chain) {
  const Node& node = graph.node(layer.node);
  AMC_ASSIGN_OR_RETURN(ConvParams conv, GetConvParams(graph, node));
  if (layer.depthwise) {
    const int64_t multiplier = conv.out_channels / conv.in_channels;
    if (in != out) {
      return absl::InvalidArgumentError(absl::StrCat(NodeLabel(graph, node), ": reads ", in,
                                                     " channels, so it does not make ", out));
    }
    conv.groups = conv.in_channels = in;
    conv.out_channels = in * multiplier;
  } else {
    if (in % conv.groups != 0 || out % conv.groups != 0 || out < 1) {
      return absl::InvalidArgumentError(absl::StrCat(NodeLabel(graph, node), ": ", in, " to ", out,
                                                     " channels in ", conv.groups, " groups"));
    }
    conv.in_channels = in;
    conv.out_channels = out;
  }
  chain.Conv(conv, bias);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Graph> MakeLayerNetwork(const Graph& graph, const LatencyLayer& layer, int64_t in,
                                       int64_t out) {
  const Node& node = graph.node(layer.node);
  AMC_ASSIGN_OR_RETURN(Chain chain,
                       Feed(graph, layer, in, absl::StrCat(layer.kind, ", ", in, " to ", out)));
  const bool bias = layer.batch_norm != NodeId::kNone ||
                    (node.inputs.size() > 2 && node.inputs[2] != TensorId::kNone);
  if (IsConv(graph, layer)) {
    AMC_RETURN_IF_ERROR(AddConv(graph, layer, in, out, bias, chain));
  } else if (node.op == Op::kGemm) {
    AMC_ASSIGN_OR_RETURN(const GemmParams gemm, GetGemmParams(graph, node));
    chain.Gemm(in, out, gemm.trans_b, bias);
  } else {
    chain.Add("MatMul", {chain.Weight({in, out}, in)}, {});
  }
  AMC_RETURN_IF_ERROR(AddActivation(graph, layer, chain));
  if (IsConv(graph, layer)) AMC_RETURN_IF_ERROR(chain.Tap());
  return std::move(chain).Finish();
}

absl::StatusOr<Graph> MakeBaselineNetwork(const Graph& graph, const LatencyLayer& layer,
                                          int64_t in) {
  AMC_ASSIGN_OR_RETURN(Chain chain, Feed(graph, layer, in,
                                         absl::StrCat("baseline ", BaselineKey(graph, layer, in))));
  if (IsConv(graph, layer)) AMC_RETURN_IF_ERROR(chain.Tap());
  return std::move(chain).Finish();
}

std::string BaselineKey(const Graph& graph, const LatencyLayer& layer, int64_t in) {
  const Shape& shape = graph.tensor(graph.node(layer.node).inputs[0]).shape;
  if (IsConv(graph, layer)) return absl::StrCat(shape[2], "x", shape[3], " ", in);
  return absl::StrCat(
      "rows ", shape.size() < 3 ? "1" : absl::StrJoin(shape.begin() + 1, shape.end() - 1, "x"), " ",
      in);
}

absl::StatusOr<Graph> MakeReferenceNetwork() {
  ConvParams conv = Pointwise(32, 32);
  conv.kernel = {3, 3};
  conv.pad_begin = conv.pad_end = {1, 1};
  Chain chain("reference", {kDynamic, 32, 28, 28});
  chain.Conv(conv, /*bias=*/true);
  chain.Add("Relu", {}, {});
  AMC_RETURN_IF_ERROR(chain.Tap());
  return std::move(chain).Finish();
}

}  // namespace amc
