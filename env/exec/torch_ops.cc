#include "env/exec/torch_ops.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/graph/op_params.h"

namespace amc {
namespace {

using Tensors = std::vector<torch::Tensor>;
using Maker = absl::StatusOr<TorchOp> (*)(const Graph&, const Node&);

// An operator that is one function of its first input.
TorchOp Unary(std::function<torch::Tensor(const torch::Tensor&)> function) {
  return [function = std::move(function)](const Tensors& in, const OpMode&) -> Tensors {
    return {function(in[0])};
  };
}

absl::StatusOr<TorchOp> MakeAdd(const Graph&, const Node&) {
  return TorchOp(
      [](const Tensors& in, const OpMode&) -> Tensors { return {at::add(in[0], in[1])}; });
}

absl::StatusOr<TorchOp> MakeSub(const Graph&, const Node&) {
  return TorchOp(
      [](const Tensors& in, const OpMode&) -> Tensors { return {at::sub(in[0], in[1])}; });
}

absl::StatusOr<TorchOp> MakeMul(const Graph&, const Node&) {
  return TorchOp(
      [](const Tensors& in, const OpMode&) -> Tensors { return {at::mul(in[0], in[1])}; });
}

absl::StatusOr<TorchOp> MakeMatMul(const Graph&, const Node&) {
  return TorchOp(
      [](const Tensors& in, const OpMode&) -> Tensors { return {at::matmul(in[0], in[1])}; });
}

absl::StatusOr<TorchOp> MakeRelu(const Graph&, const Node&) {
  return TorchOp([](const Tensors& in, const OpMode& mode) -> Tensors {
    if (!mode.may_overwrite) return {at::relu(in[0])};
    torch::Tensor x = in[0];
    return {at::relu_(x)};
  });
}

absl::StatusOr<TorchOp> MakeClip(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const ClipParams clip, GetClipParams(graph, node));
  return TorchOp([clip](const Tensors& in, const OpMode& mode) -> Tensors {
    if (!mode.may_overwrite) return {at::clamp(in[0], clip.min, clip.max)};
    torch::Tensor x = in[0];
    return {at::clamp_(x, clip.min, clip.max)};
  });
}

absl::StatusOr<TorchOp> MakeLeakyRelu(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const float alpha, GetFloat(graph, node, "alpha", 0.01F));
  return Unary([alpha](const torch::Tensor& x) { return at::leaky_relu(x, alpha); });
}

absl::StatusOr<TorchOp> MakeSigmoid(const Graph&, const Node&) {
  return Unary([](const torch::Tensor& x) { return at::sigmoid(x); });
}

absl::StatusOr<TorchOp> MakeHardSigmoid(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const float alpha, GetFloat(graph, node, "alpha", 0.2F));
  AMC_ASSIGN_OR_RETURN(const float beta, GetFloat(graph, node, "beta", 0.5F));
  return Unary([alpha, beta](const torch::Tensor& x) { return at::clamp(x * alpha + beta, 0, 1); });
}

absl::StatusOr<TorchOp> MakeHardSwish(const Graph&, const Node&) {
  return Unary([](const torch::Tensor& x) { return at::hardswish(x); });
}

// Statistics and parameters stay in float32 under every precision.
absl::StatusOr<TorchOp> MakeBatchNormalization(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const float epsilon, GetBatchNormEpsilon(graph, node));
  AMC_ASSIGN_OR_RETURN(const int64_t training, GetInt(graph, node, "training_mode", 0));
  if (training != 0) {
    return absl::UnimplementedError(absl::StrCat(NodeLabel(graph, node), ": training_mode is ",
                                                 training, ": export the model for inference"));
  }
  return TorchOp([epsilon](const Tensors& in, const OpMode& mode) -> Tensors {
    const at::ScalarType type = in[0].scalar_type();
    const torch::Tensor y = at::batch_norm(in[0].to(at::kFloat), in[1], in[2], in[3], in[4],
                                           mode.training, mode.batch_norm_momentum, epsilon,
                                           /*cudnn_enabled=*/true);
    return {y.to(type)};
  });
}

absl::StatusOr<TorchOp> MakeConcat(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const int64_t axis, GetAxis(graph, node));
  return TorchOp(
      [axis](const Tensors& in, const OpMode&) -> Tensors { return {at::cat(in, axis)}; });
}

// A Constant that is left over after import, for its consumer was no candidate for folding.
absl::StatusOr<TorchOp> MakeConstant(const Graph& graph, const Node& node) {
  const auto value = node.attributes.find("value");
  const TensorValue* const tensor =
      value == node.attributes.end() ? nullptr : std::get_if<TensorValue>(&value->second);
  if (tensor == nullptr || tensor->type != DataType::kFloat || tensor->data == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat(NodeLabel(graph, node), ": only a float32 tensor \"value\" can be run"));
  }
  AMC_ASSIGN_OR_RETURN(const int64_t elements, NumElements(tensor->shape));
  if (tensor->data->size() != static_cast<size_t>(elements) * sizeof(float)) {
    return absl::InvalidArgumentError(absl::StrCat(
        NodeLabel(graph, node), ": ", tensor->data->size(), " bytes for ", elements, " values"));
  }
  const torch::Tensor constant = at::empty(tensor->shape, at::kFloat);
  std::memcpy(constant.data_ptr<float>(), tensor->data->data(), tensor->data->size());
  return TorchOp([constant](const Tensors&, const OpMode&) -> Tensors { return {constant}; });
}

absl::StatusOr<TorchOp> MakeDropout(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(float ratio, GetFloat(graph, node, "ratio", 0.5F));
  if (node.inputs.size() > 1 && node.inputs[1] != TensorId::kNone) {
    AMC_ASSIGN_OR_RETURN(const std::vector<float> values, Values<float>(graph, node.inputs[1]));
    if (values.size() == 1) ratio = values[0];
  }
  if (!(ratio >= 0 && ratio < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat(NodeLabel(graph, node), ": ratio ", ratio, " is outside [0, 1)"));
  }
  return TorchOp([ratio](const Tensors& in, const OpMode& mode) -> Tensors {
    return {mode.training ? at::dropout(in[0], ratio, /*train=*/true) : in[0]};
  });
}

absl::StatusOr<TorchOp> MakeFlatten(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const int64_t axis, GetAxis(graph, node));
  return Unary([axis](const torch::Tensor& x) {
    const at::IntArrayRef sizes = x.sizes();
    int64_t rows = 1;
    int64_t columns = 1;
    for (size_t i = 0; i < sizes.size(); ++i) {
      (static_cast<int64_t>(i) < axis ? rows : columns) *= sizes[i];
    }
    return x.reshape({rows, columns});
  });
}

absl::StatusOr<TorchOp> MakeGemm(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const GemmParams gemm, GetGemmParams(graph, node));
  return TorchOp([gemm](const Tensors& in, const OpMode&) -> Tensors {
    const torch::Tensor a = gemm.trans_a ? in[0].t() : in[0];
    const torch::Tensor b = gemm.trans_b ? in[1].t() : in[1];
    if (in.size() > 2 && in[2].defined()) return {at::addmm(in[2], a, b, gemm.beta, gemm.alpha)};
    const torch::Tensor product = at::mm(a, b);
    return {gemm.alpha == 1 ? product : product * gemm.alpha};
  });
}

absl::StatusOr<TorchOp> MakeGlobalAveragePool(const Graph&, const Node&) {
  return Unary([](const torch::Tensor& x) {
    std::vector<int64_t> axes;
    for (int64_t axis = 2; axis < x.dim(); ++axis) axes.push_back(axis);
    return x.mean(axes, /*keepdim=*/true);
  });
}

absl::StatusOr<TorchOp> MakeIdentity(const Graph&, const Node&) {
  return Unary([](const torch::Tensor& x) { return x; });
}

absl::StatusOr<TorchOp> MakeReduceMean(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const ReduceParams reduce, GetReduceParams(graph, node));
  return Unary([reduce](const torch::Tensor& x) { return x.mean(reduce.axes, reduce.keep_dims); });
}

absl::StatusOr<TorchOp> MakeReshape(const Graph& graph, const Node& node) {
  if (node.inputs.size() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(NodeLabel(graph, node), ": ", node.inputs.size(), " inputs, want 2"));
  }
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> target, Values<int64_t>(graph, node.inputs[1]));
  AMC_ASSIGN_OR_RETURN(const int64_t allow_zero, GetInt(graph, node, "allowzero", 0));
  return Unary([target, allow_zero](const torch::Tensor& x) {
    std::vector<int64_t> sizes = target;
    for (size_t i = 0; i < sizes.size() && allow_zero == 0; ++i) {
      if (sizes[i] == 0) sizes[i] = x.size(static_cast<int64_t>(i));
    }
    return x.reshape(sizes);
  });
}

// Until opset 12, Softmax ran over all axes from `axis` on.
absl::StatusOr<TorchOp> MakeSoftmax(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const int64_t axis, GetAxis(graph, node));
  if (graph.opset() >= 13) {
    return Unary([axis](const torch::Tensor& x) { return at::softmax(x, axis); });
  }
  return Unary([axis](const torch::Tensor& x) {
    if (axis == x.dim()) return at::ones_like(x);  // over nothing but single values
    return at::softmax(x.flatten(axis), axis).reshape(x.sizes());
  });
}

absl::StatusOr<TorchOp> MakeSplit(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const int64_t axis, GetAxis(graph, node));
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, GetSplitSizes(graph, node));
  return TorchOp([axis, sizes](const Tensors& in, const OpMode&) -> Tensors {
    return at::split_with_sizes(in[0], sizes, axis);
  });
}

absl::StatusOr<TorchOp> MakeSqueeze(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> axes, GetSqueezeAxes(graph, node));
  return Unary([axes](torch::Tensor x) {
    for (size_t i = axes.size(); i-- > 0;) {
      TORCH_CHECK(x.size(axes[i]) == 1, "axis ", axes[i], " has ", x.size(axes[i]), " positions");
      x = x.squeeze(axes[i]);
    }
    return x;
  });
}

absl::StatusOr<TorchOp> MakeUnsqueeze(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> axes, GetSqueezeAxes(graph, node));
  return Unary([axes](torch::Tensor x) {
    for (const int64_t axis : axes) x = x.unsqueeze(axis);
    return x;
  });
}

absl::StatusOr<TorchOp> MakeTranspose(const Graph& graph, const Node& node) {
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> order, GetPermutation(graph, node));
  return Unary([order](const torch::Tensor& x) { return x.permute(order); });
}

struct TableRow {
  Op op;
  size_t min_inputs;
  Maker make;
};

constexpr TableRow kTable[] = {
    {Op::kAdd, 2, MakeAdd},
    {Op::kAveragePool, 1, MakeAveragePool},
    {Op::kBatchNormalization, 5, MakeBatchNormalization},
    {Op::kClip, 1, MakeClip},
    {Op::kConcat, 1, MakeConcat},
    {Op::kConstant, 0, MakeConstant},
    {Op::kConv, 2, MakeConv},
    {Op::kDropout, 1, MakeDropout},
    {Op::kFlatten, 1, MakeFlatten},
    {Op::kGemm, 2, MakeGemm},
    {Op::kGlobalAveragePool, 1, MakeGlobalAveragePool},
    {Op::kHardSigmoid, 1, MakeHardSigmoid},
    {Op::kHardSwish, 1, MakeHardSwish},
    {Op::kIdentity, 1, MakeIdentity},
    {Op::kLeakyRelu, 1, MakeLeakyRelu},
    {Op::kMatMul, 2, MakeMatMul},
    {Op::kMaxPool, 1, MakeMaxPool},
    {Op::kMul, 2, MakeMul},
    {Op::kPad, 1, MakePad},
    {Op::kReduceMean, 1, MakeReduceMean},
    {Op::kRelu, 1, MakeRelu},
    {Op::kReshape, 1, MakeReshape},
    {Op::kSigmoid, 1, MakeSigmoid},
    {Op::kSlice, 1, MakeSlice},
    {Op::kSoftmax, 1, MakeSoftmax},
    {Op::kSplit, 1, MakeSplit},
    {Op::kSqueeze, 1, MakeSqueeze},
    {Op::kSub, 2, MakeSub},
    {Op::kTranspose, 1, MakeTranspose},
    {Op::kUnsqueeze, 1, MakeUnsqueeze},
};

// Whether anybody reads outputs of `node` after the first.
bool ReadsExtraOutputs(const Graph& graph, const Node& node) {
  if (node.outputs.size() < 2) return false;
  const auto is_extra = [&](TensorId id) {
    return id != TensorId::kNone &&
           std::find(node.outputs.begin() + 1, node.outputs.end(), id) != node.outputs.end();
  };
  if (std::any_of(graph.outputs.begin(), graph.outputs.end(), is_extra)) return true;
  for (const Node& reader : graph.nodes) {
    if (std::any_of(reader.inputs.begin(), reader.inputs.end(), is_extra)) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<TorchOp> MakeTorchOp(const Graph& graph, const Node& node) {
  for (const TableRow& row : kTable) {
    if (row.op != node.op) continue;
    if (node.inputs.size() < row.min_inputs || node.outputs.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(NodeLabel(graph, node), ": ", node.inputs.size(), " inputs and ",
                       node.outputs.size(), " outputs, want at least ", row.min_inputs, " and 1"));
    }
    for (size_t i = 0; i < row.min_inputs; ++i) {
      if (node.inputs[i] == TensorId::kNone) {
        return absl::InvalidArgumentError(
            absl::StrCat(NodeLabel(graph, node), ": input ", i, " is missing"));
      }
    }
    if (node.op != Op::kSplit && ReadsExtraOutputs(graph, node)) {
      return absl::UnimplementedError(
          absl::StrCat(NodeLabel(graph, node), ": its optional outputs cannot be run"));
    }
    return row.make(graph, node);
  }
  return absl::UnimplementedError(absl::StrCat(
      NodeLabel(graph, node), ": operator ",
      node.domain.empty() ? "" : absl::StrCat(node.domain, "."), node.op_type, " cannot be run"));
}

}  // namespace amc
